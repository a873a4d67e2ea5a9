"""One alert an incident: `ops.alert` records incidents, and two Airflow connections receive them (docs/alerts.md)."""
