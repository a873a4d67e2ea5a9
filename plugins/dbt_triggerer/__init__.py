"""How a run builds the dbt project: one `dbt build`, each of its nodes a task that lives in the triggerer."""
