"""The shop behind the demo's warehouse: a folder of CSV files, its generator, and the servers filled from it."""
