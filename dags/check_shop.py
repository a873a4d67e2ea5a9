"""
### Check the shop

Reads a window of each source of the shop's profile, and logs a table for each: where it lies, its columns and their
types, a value of each, and how many rows would be rejected, and why. Nothing is changed. Fails if a source cannot be
loaded: no connection, a template that Postgres does not accept, a missing column.

Without days: the seven days up to the newest order. `make shop-check` does the same on the command line.
"""

import pendulum
from airflow.sdk import dag

from ecommerce.common.shop import shop
from ecommerce.common.windows import days_params
from ecommerce.dag_defaults import ALONE_ARGS
from ecommerce.load.shop_check import CheckShop

PARAMS = days_params(when_empty="the seven days up to the newest order")


@dag(
    schedule=None,
    is_paused_upon_creation=False,
    start_date=pendulum.datetime(2010, 1, 1, tz=shop().time_zone),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args=ALONE_ARGS,
    doc_md=__doc__,
    tags=["ecommerce", "shop"],
)
def check_shop() -> None:
    CheckShop(task_id="check")


check_shop()
