"""About as many orders as on the same weekday before: an odd day warns, an outage fails."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from ecommerce.sensors import VolumeSensor
from tests.integration.support import Loader

MONDAY = date(2024, 3, 4)
Sold = Callable[[date, int], None]


@pytest.fixture
def sold(loader: Loader) -> Sold:
    """So many orders on a day."""

    def sold(day: date, n: int) -> None:
        loader.connection.execute(
            "insert into raw.sales_fact (order_id, product_id, customer_id, order_date, order_amount, created_at,"
            " _batch_id, _loaded_at) select %(day)s || '-' || n, 'P', 'C', %(day)s::date, 1, %(day)s::date, 0, now()"
            " from generate_series(1, %(n)s) as n",
            {"day": str(day), "n": n},
        )

    return sold


@pytest.fixture
def history(sold: Sold) -> None:
    """Eight weeks of 20 orders a day, 40 on Mondays, before the Monday of the tests."""
    for back in range(1, 57):
        day = MONDAY - timedelta(days=back)
        sold(day, 40 if day.weekday() == 0 else 20)


def test_a_shop_without_a_past_passes(judge, sold: Sold) -> None:
    sold(MONDAY, 3)
    assert judge(VolumeSensor, str(MONDAY)) == [
        ("raw.sales_fact", "pass", "no day of 2024-03-04 has 4 earlier weeks to compare with")
    ]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("orders", "status"), [(40, "pass"), (16, "pass"), (15, "warn"), (100, "pass"), (101, "warn")])
def test_a_day_against_its_own_weekday(judge, sold: Sold, orders: int, status: str) -> None:
    sold(MONDAY, orders)
    odd = f": 2024-03-04: {orders} of about 40" if status == "warn" else ""
    assert judge(VolumeSensor, str(MONDAY)) == [
        ("raw.sales_fact", status, f"{len(odd) > 0:d} of 1 days have an unusual number of orders{odd}"),
        ("raw.sales_fact last days", "pass", f"{orders} orders in the last 1 days, about 40 expected"),
    ]


@pytest.mark.usefixtures("history")
def test_a_day_is_never_compared_with_itself_or_later_ones(judge, loader: Loader, sold: Sold) -> None:
    # Three Mondays before the one that is judged, and one after it.
    loader.connection.execute("delete from raw.sales_fact where order_date < %s", [MONDAY - timedelta(days=29)])
    sold(MONDAY, 40)
    ((_, status, message),) = judge(VolumeSensor, str(MONDAY - timedelta(days=7)))
    assert (status, message) == ("pass", "no day of 2024-02-26 has 4 earlier weeks to compare with")


@pytest.mark.usefixtures("history")
def test_one_odd_week_before_does_not_change_what_is_expected(judge, loader: Loader, sold: Sold) -> None:
    loader.connection.execute("delete from raw.sales_fact where order_date = %s", [MONDAY - timedelta(days=7)])
    sold(MONDAY - timedelta(days=7), 5000)
    sold(MONDAY, 40)
    assert judge(VolumeSensor, str(MONDAY))[0][1] == "pass"


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("closed", "statuses"),
    [(1, ["warn", "pass"]), (2, ["warn", "pass"]), (3, ["warn", "fail"]), (4, ["warn", "fail"])],
)
def test_some_days_without_an_order(judge, sold: Sold, closed: int, statuses: list[str]) -> None:
    last = MONDAY + timedelta(days=6)
    for ahead in range(7 - closed):
        day = MONDAY + timedelta(days=ahead)
        sold(day, 40 if day.weekday() == 0 else 20)
    judged = judge(VolumeSensor, str(MONDAY), str(last))
    assert [status for _, status, _ in judged] == statuses
    assert judged[0][2].startswith(f"{closed} of 7 days have an unusual number of orders: ")
    expected = f"{max(3 - closed, 0) * 20} orders in the last 3 days, about 60 expected"
    assert judged[1] == ("raw.sales_fact last days", statuses[1], expected)


@pytest.fixture
def loaded(loader: Loader) -> Callable[[date], None]:
    """Note in the ledger that a day's sales were loaded."""

    def loaded(day: date) -> None:
        loader.connection.execute(
            "insert into ops.load_batch (source, window_start, window_end, status, started_at)"
            " values ('sales_fact', %s, %s, 'loaded', now())",
            [day, day + timedelta(days=1)],
        )

    return loaded


@pytest.mark.usefixtures("history")
def test_daily_runs_find_an_outage_on_its_third_day(judge, loaded: Callable[[date], None]) -> None:
    statuses = []
    for ahead in range(4):
        day = MONDAY + timedelta(days=ahead)
        loaded(day)
        statuses.append([status for _, status, _ in judge(VolumeSensor, str(day))])
    # The day before was sold on and had been loaded long ago, so it is not in this ledger.
    assert statuses == [["warn", "pass"], ["warn", "pass"], ["warn", "fail"], ["warn", "fail"]]


@pytest.mark.usefixtures("history")
def test_days_before_the_run_that_were_never_loaded_are_no_outage(judge) -> None:
    judged = judge(VolumeSensor, str(MONDAY + timedelta(days=5)))
    assert [status for _, status, _ in judged] == ["warn", "pass"]


def test_a_small_shop_may_sell_nothing_for_days(judge, sold: Sold) -> None:
    for back in range(1, 57):
        sold(MONDAY - timedelta(days=back), 2)
    judged = judge(VolumeSensor, str(MONDAY), str(MONDAY + timedelta(days=2)))
    assert [status for _, status, _ in judged] == ["warn", "pass"]
