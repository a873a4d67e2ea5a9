"""Compare a DAG run with the `dbt build` in it, in each mode of running dbt."""
