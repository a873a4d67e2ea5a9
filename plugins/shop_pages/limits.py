"""Limits and names of the pages: each timeout, size and role in one place."""

from __future__ import annotations

#: The DAG of the warehouse: whoever may see its runs may see the pages, and the pages fill in its trigger form.
WAREHOUSE_DAG = "ecommerce_warehouse"

#: Airflow connections: the reader reads `marts` only; the inspector also reads `ops`, `raw` and `core`.
READER = "warehouse_reader"
INSPECTOR = "warehouse_inspector"

#: Seconds that a page waits for the warehouse before it shows cached rows or an error.
RESPONSE_TIMEOUT = 0.8
#: Seconds that a page without cached rows waits while the warehouse still answers other queries.
BUSY_TIMEOUT = 5.0
#: Seconds after which Postgres cancels a statement. Results that come after `RESPONSE_TIMEOUT` serve the next reader.
STATEMENT_TIMEOUT = 2.0
#: Seconds for which a result is reused without a query. Results of marts are then checked for a new publication.
FRESH_SECONDS = 10.0
#: Seconds after a failed connection during which no new one is tried.
RETRY_AFTER = 3.0
#: Connections of each role in each process of the API server.
MAX_CONNECTIONS = 4
#: Rows that one query may return, and rows of them that a page shows; a CSV file has all that the query returned.
ROW_CAP = 5_000
PAGE_ROWS = 100
#: Rows of all cached results, and compressed bytes of all cached pages and files, in each process.
CACHED_ROWS = 50_000
CACHED_BYTES = 16_000_000
