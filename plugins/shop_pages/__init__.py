"""Pages in the Airflow UI: the marts as charts, where a figure comes from, and how the data is doing."""
