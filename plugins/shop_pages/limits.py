"""Limits and names of the pages: each timeout, size and role in one place."""

from __future__ import annotations

import os

from ecommerce.build import dag_files

#: The DAG of the warehouse: whoever may see its runs may see the pages, and the pages fill in its trigger form.
WAREHOUSE_DAG = dag_files.WAREHOUSE_DAG

#: Airflow connections: the reader reads `marts` only; the inspector also reads `ops`, `raw` and `core`.
READER = "warehouse_reader"
INSPECTOR = "warehouse_inspector"
#: The reviewer adds what a person says of an order to `ops.review`, and may do nothing else.
REVIEWER = "warehouse_reviewer"

#: Days after which the last day of the data is old: the daily run brings yesterday, and may fail once.
OLD_DATA_DAYS = 2
#: Hours after a publication at which `/health` says `late`: a day, and two hours for the run.
LATE_AFTER_HOURS = float(os.environ.get("ECOMMERCE_LATE_AFTER_HOURS", "26"))
#: Characters that the token of a monitor needs to have; a shorter one is as good as none.
MONITOR_TOKEN_CHARACTERS = 20
#: Seconds that a page waits for the warehouse before it shows cached rows or an error.
RESPONSE_TIMEOUT = 0.8
#: Seconds that a page without cached rows waits while the warehouse still answers other queries.
BUSY_TIMEOUT = 5.0
#: Seconds after which Postgres cancels a statement. Results that come after `RESPONSE_TIMEOUT` serve the next reader.
STATEMENT_TIMEOUT = 2.0
#: Seconds that the start of a run waits until Airflow has read files that have changed, and that its form waits.
READ_FILES_SECONDS, FORM_READ_FILES_SECONDS = 20.0, 8.0
#: Seconds between two looks whether it has, and after which it is asked again.
READ_FILES_POLL_SECONDS, READ_FILES_AGAIN_SECONDS = 0.3, 5.0
#: Seconds for which a result is reused without a query. Results of marts are then checked for a new publication.
FRESH_SECONDS = 10.0
#: Seconds after which a publication that the pages' replica has not got is said to be missing. More than
#: `FRESH_SECONDS`, since its last publication is asked for that seldom.
REPLICA_LAG_SECONDS = 30.0
#: Seconds after a failed connection during which no new one is tried.
RETRY_AFTER = 3.0
#: Connections of each role in each process of the API server.
MAX_CONNECTIONS = 4
#: Rows of a table that a page shows; it says of how many, and the CSV file has all.
PAGE_ROWS = 100
#: Rows of a table of operations, or behind a figure, that are sorted and searched while a page waits. Of a longer one
#: the CSV file is sorted and searched.
SORTED_ROWS = 50_000
#: Runs, publications, loads … of which such a table has the newest.
NEWEST_ROWS = 500
#: The last page of a table that can be opened: Postgres reads all rows before it.
LAST_TABLE_PAGE = 10_000
#: Rows of a result that a page reads whole, such as those of a chart. With more, it shows an error and leaves none out.
MAX_ROWS = 20_000
#: Points of time of a chart; a longer range is drawn by weeks, months or years.
CHART_POINTS = 400
#: Categories, products … of a chart that are drawn one by one; all others are added up as "Other".
CHART_SERIES = 11
#: Bars of a ranking; the line below the chart says how many it leaves out.
RANKED_BARS = 15
#: CSV files that each process sends at the same time. Each has a connection of its own.
MAX_DOWNLOADS = 4
#: Rows of a CSV file that are in memory at once.
DOWNLOAD_BATCH = 1_000
#: Seconds that a file may take to its first row; that a client may take no row; and that a whole file may take.
DOWNLOAD_FIRST_ROW_TIMEOUT = 60.0
DOWNLOAD_IDLE_TIMEOUT = 60.0
DOWNLOAD_TIMEOUT = 1_800.0
#: Files of one user among them.
MAX_DOWNLOADS_OF_USER = 2
#: Bytes of a CSV file: some ten million rows.
DOWNLOAD_BYTES = 2_000_000_000
#: Characters of a text that a page shows, and those of a rejected row and of a message.
SHOWN_CHARACTERS = 2_000
#: Bytes of a page. None comes near; one that does is replaced by a page that says so.
PAGE_BYTES = 5_000_000
#: Pages that each process renders at the same time, beside the event loop that serves all of Airflow.
RENDERERS = 2
#: Characters of the part of an address after its "?"; the longest of the pages' own has a fifth of them.
ADDRESS_CHARACTERS = 4_000
#: Bytes, roughly, of all cached results, and compressed bytes of all cached pages and files, in each process.
CACHED_ROWS_BYTES = 64_000_000
CACHED_BYTES = 16_000_000
