"""The only code that writes `raw` and the load tables of `ops`: one load of one source, in one transaction."""
