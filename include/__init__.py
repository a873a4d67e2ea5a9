"""What the DAGs work with: SQL, the dbt project, the demo stack."""
