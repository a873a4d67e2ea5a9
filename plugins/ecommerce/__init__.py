"""The Airflow parts of the warehouse: sources, windows, extraction, loading, checks and publishing."""
