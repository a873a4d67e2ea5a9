"""
### Check the shop

Reads a window of each source of the shop's profile, and logs a table for each: where it lies, its columns and their
types, a value of each, and how many rows would be rejected, and why. Nothing is changed. Fails if a source cannot be
loaded: no connection, a template that Postgres does not accept, a missing column.

Without days: the seven days up to the newest order. `make shop-check` does the same on the command line.
"""

from airflow.sdk import dag

from ecommerce.common.windows import days_params
from ecommerce.dag_defaults import started_by_hand
from ecommerce.load.shop_check import CheckShop

PARAMS = days_params(when_empty="the seven days up to the newest order")


@dag(
    **started_by_hand(),
    params=PARAMS,
    doc_md=__doc__,
    tags=["ecommerce", "shop"],
)
def check_shop() -> None:
    CheckShop(task_id="check")


check_shop()
