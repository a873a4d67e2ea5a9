"""Build the warehouse a second time from raw and compare it with the warehouse."""
