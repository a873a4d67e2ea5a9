"""Where the API server serves the shop's pages; alerts link to them."""

#: Path of the pages below Airflow's own.
PAGES_PREFIX = "/shop"
