"""
Random shops whose orders and refunds change while they are loaded: in the end the marts are those that are computed
from the shop's files by other means, days in any order make one warehouse, and the laws of money and counts hold.
"""

import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.histories.history import Build, Load, Place, Put, play
from tests.integration.histories.invent import CATALOGUE, SALES, day_loads, invent_sales, invent_shop, zone_of
from tests.integration.histories.laws import LAWS, broken_laws
from tests.integration.histories.shop import FIRST, LAST, Shop
from tests.integration.histories.shop_files import write_shop_files
from tests.oracle.compare import compare
from tests.oracle.compute import TimeZones

#: Each seed is a history; ECOMMERCE_TEST_HISTORIES=100 for the long form.
HISTORIES = max(1, int(os.environ.get("ECOMMERCE_TEST_HISTORIES", "10")) // 2)
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, HISTORIES))]

AT = datetime(2024, 3, 1, tzinfo=UTC)

#: Table, a wrong value in one of its rows, and the law that it breaks.
WRONG_ROWS = (
    ("marts.product_category_revenue_monthly", "net_revenue = net_revenue + 0.01",
     "net revenue of a category is its revenue less its refunds"),
    ("marts.product_category_revenue_monthly", "refunded_amount = refunded_amount + 0.01",
     "each refund is in one month and category"),
    ("marts.product_category_revenue_monthly", "total_revenue = total_revenue + 0.01",
     "guests and customers make the whole revenue"),
    ("marts.product_performance_monthly", "net_revenue = net_revenue + 0.01",
     "net revenue of a product is its revenue less its refunds"),
    ("marts.product_performance_monthly", "refunded_amount = refunded_amount + 0.01",
     "each refund of a product is in one of its months"),
    ("marts.revenue_trend", "net_revenue = net_revenue + 0.01",
     "net revenue of a period is its revenue less its refunds"),
    ("marts.revenue_trend",
     "category_name = 'All categories', period_start = '2000-01-01', revenue = revenue + 0.01",
     "each grain of the trend adds up to the days"),
    ("marts.revenue_trend", "revenue = revenue + 0.01", "the categories of a period make its total"),
    ("marts.revenue_trend", "orders = orders + 999",
     "a period has at most the orders of its categories, and at least those of the largest"),
    ("marts.revenue_trend", "customers = customers + 999",
     "a period has at most the customers of its categories, and at least those of the largest"),
    ("marts.margin_bridge_monthly", "contribution = coalesce(contribution, 0) + 0.01",
     "a month's contribution is that of its groups"),
    ("marts.margin_bridge_monthly", "mix_effect = coalesce(mix_effect, 0) + 0.01",
     "the bridge leads from one contribution to the other"),
    ("marts.order_profitability_monthly", "discount_amount = list_amount - revenue - 0.01",
     "list price less discount is the revenue, where the list price is known"),
    ("marts.order_profitability_monthly", "known_cost_percent = 100, cost_amount = revenue, gross_profit = 0.01",
     "profit is revenue less cost, and contribution profit less shipping"),
    ("marts.product_performance_monthly", "is_complete = false, category_rank = 1", "only complete months are ranked"),
    ("marts.daily_revenue", "net_revenue = net_revenue + 0.01",
     "net revenue of a day is its revenue less its refunds"),
    ("marts.daily_revenue", "refunded_amount = refunded_amount + 0.01",
     "each refund is on its day, from the first order to the as-of date"),
    ("marts.daily_revenue", "daily_orders = daily_orders + 1",
     "no day counts an order that is not there, and each order is on a day"),
    ("marts.daily_revenue", "guest_revenue = guest_revenue + 0.01", "guests and customers make a day's revenue"),
    ("marts.daily_revenue", "guest_orders = daily_orders + 1", "guests and customers make a day's orders"),
    ("marts.customer_segments", "lifetime_value = lifetime_value + 0.01",
     "a customer's value is the revenue less the refunds"),
    ("marts.customer_segments", "refunded_amount = refunded_amount + 0.01",
     "each refund of a customer is in the customer's value"),
    ("marts.customer_segments", "customer_id = ' '", "no guest is a customer"),
)  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_marts_equal_those_computed_from_shop_files(
    place: Place, warehouse_dsn: str, tmp_path: Path, seed: int
) -> None:
    zone = zone_of(seed)
    history = invent_sales(seed, zone)
    difference = play(history.steps, place)
    assert difference is None, str(difference)
    opening = Shop()
    for step in history.opening:
        if isinstance(step, Put):
            opening.put(step.table, step.row)
    write_shop_files(opening, tmp_path / "opening", CATALOGUE)
    write_shop_files(place.shop, tmp_path)
    differences = compare(tmp_path, FIRST, LAST, warehouse_dsn, TimeZones(shop=zone))
    assert not differences, "\n".join(map(str, differences))
    assert broken_laws(place.connection) == set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_days_in_any_order_make_one_warehouse(place: Place, seed: int) -> None:
    """Without builds in between, and with one after half of the days."""
    in_order = load_days(place, seed, order=None)
    assert load_days(place, seed, order=1) == in_order
    assert load_days(place, seed, order=2, builds=2) == in_order


def test_each_law_detects_one_wrong_row(place: Place) -> None:
    load_days(place, seed=1, order=1)
    published = place.connection
    assert broken_laws(published) == set()
    for table, change, law in WRONG_ROWS:
        with published.transaction(force_rollback=True):
            one_row = f"(select min(ctid) from {table})"
            assert published.execute(f"update {table} set {change} where ctid = {one_row}".encode()).rowcount == 1
            assert law in broken_laws(published), (table, change)


def test_every_law_has_a_row_that_breaks_it() -> None:
    assert {law for _, _, law in WRONG_ROWS} == LAWS.keys()


def load_days(place: Place, seed: int, *, order: int | None, builds: int = 1) -> dict[str, list[str]]:
    """
    Load a shop day by day and publish.

    :param order: of the days, a seed; None: as they come
    :param builds: the first of two is after half of the days
    :return: every row of raw, without batch and time, and of the marts
    """
    place.open()
    for step in invent_shop(seed, zone_of(seed)):
        step.happen(place)
    for source in (*CATALOGUE, "weather_data", "kafka_stream"):
        Load(AT, source, FIRST, LAST).happen(place)
    loads = day_loads(random.Random(order), AT)
    if order is None:
        loads.sort(key=lambda load: load.first)
    middle = len(loads) // 2 if builds == 2 else 0
    for load in loads[:middle]:
        load.happen(place)
    if builds == 2:
        Build(AT).happen(place)
    for load in loads[middle:]:
        load.happen(place)
    Build(AT).happen(place)
    marts = {name: rows for name, rows in place.tables().items() if name.startswith("marts.")}
    return marts | {f"raw.{source}": _raw_rows(place, source) for source in SALES}


def _raw_rows(place: Place, source: str) -> list[str]:
    query = f"select (to_jsonb(held) - '_batch_id' - '_loaded_at')::text from raw.{source} as held order by 1"
    return [row for (row,) in place.connection.execute(query.encode())]
