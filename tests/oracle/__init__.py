"""
An independent answer to "what should the marts hold?".

The marts, computed from the seven files a shop consists of by plain DuckDB SQL that is written from
the data contract alone: it shares no code with the warehouse it judges.
"""
