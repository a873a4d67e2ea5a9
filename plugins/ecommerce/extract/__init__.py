"""Read the source systems: rows out, nothing about `raw`."""
