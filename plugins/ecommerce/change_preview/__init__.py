"""Show what a change of the dbt project does to the marts, on the warehouse's own rows, before it is merged."""
