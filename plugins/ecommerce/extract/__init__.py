"""Read the source systems. Nothing here knows how raw stores what was read."""
