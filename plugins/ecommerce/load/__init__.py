"""
The only code that writes `raw` and the load tables of `ops`: one load of one source is one transaction.

`loader.py` has the steps of a load in order; `strategies.py` the ways to read and to write; each other module is a step
or an operator.
"""
