"""What every step uses: the registry of sources, windows, connections, errors."""
