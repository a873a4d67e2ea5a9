"""
Compute the expected marts independently of the warehouse, to compare them with the published ones (a test oracle).

The marts are computed from the CSV files of a shop by DuckDB SQL that follows the data contract alone and shares no
code with the warehouse.
"""
