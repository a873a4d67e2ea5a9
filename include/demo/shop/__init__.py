"""A stand-in for the shop behind the warehouse: a folder of seven CSV files, and what serves it."""
