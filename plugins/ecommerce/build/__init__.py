"""Decide what a run builds: the lease, the days to rebuild, the models it excludes, the dbt project."""
