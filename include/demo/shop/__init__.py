"""The shop behind the demo's warehouse: a folder of seven CSV files, its generator, and the servers filled from it."""
