"""The path under which the API server serves the shop's pages; alerts link to it."""

#: Path of the pages below Airflow's own.
PAGES_PREFIX = "/shop"
