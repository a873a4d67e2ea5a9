"""One incident, one alert: what is recorded of it in `ops.alert`, what is said of it, and to whom (docs/alerts.md)."""
