"""What a DAG run costs over the `dbt build` in it, in several ways of running dbt, side by side."""
