"""What the pages call things and what they stop at; one place for each number."""

from __future__ import annotations

import os
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.configuration import conf

#: The DAG whose readers may see the pages, and whose trigger form they fill in.
WAREHOUSE_DAG = "ecommerce_warehouse"

#: Reads `marts` and nothing else; and the one that also reads ops, raw and core, for where a figure comes from.
READER = "warehouse_reader"
INSPECTOR = "warehouse_inspector"

#: Seconds after which a page is answered without what the warehouse has not answered.
PATIENCE = 0.8
#: Seconds after which a reader who has nothing else to look at is told so, while the warehouse answers others.
BUSY_PATIENCE = 5.0
#: Seconds after which the warehouse gives up a statement; what comes after `PATIENCE` is there for the next reader.
STATEMENT_TIMEOUT = 2.0
#: Seconds for which a result is shown again without asking; of marts, without asking for a new publication.
FRESH_FOR = 10.0
#: Seconds after a failed connection in which none is tried.
RETRY_AFTER = 3.0
#: Connections of each role, in each process of the API server.
CONNECTIONS = 4
#: Rows that one query may bring, and that a page shows of them; a CSV has all that the query brought.
ROW_CAP = 5_000
PAGE_ROWS = 100
#: Rows that all kept results may hold together, and compressed bytes of all kept pages and files, a process.
KEPT_ROWS = 50_000
KEPT_BYTES = 16_000_000


def base_path() -> str:
    """The path under which Airflow itself is served: empty, or as in `/airflow`."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


def shop_time_zone() -> ZoneInfo:
    """
    The time zone of the shop's people, by `ECOMMERCE_SHOP_TIME_ZONE`; days are UTC everywhere.

    :raises ValueError: there is no such time zone
    """
    name = os.environ.get("ECOMMERCE_SHOP_TIME_ZONE") or "UTC"
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"ECOMMERCE_SHOP_TIME_ZONE={name} is no time zone such as Europe/Berlin") from error
