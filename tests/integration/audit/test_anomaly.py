"""About as many orders as on the same weekday before: an odd day warns, an outage fails."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from tests.integration.support import Loader

MONDAY = date(2024, 3, 4)
Sold = Callable[..., None]


@pytest.fixture
def sold(loader: Loader) -> Sold:
    """So many orders on each of some days, of so much."""

    def sold(orders: dict[date, int], amount: float = 1) -> None:
        with loader.connection.cursor() as cursor:
            cursor.executemany(
                "insert into raw.sales_fact (order_id, product_id, customer_id, order_date, order_amount, created_at,"
                " _batch_id, _loaded_at) select %(day)s || '-' || n, 'P', 'C', %(day)s::date, %(amount)s,"
                " %(day)s::date, 0, now() from generate_series(1, %(n)s) as n",
                [{"day": str(day), "n": n, "amount": amount} for day, n in orders.items()],
            )

    return sold


def usual(day: date) -> int:
    return 40 if day.weekday() == 0 else 20


@pytest.fixture
def history(sold: Sold) -> None:
    """Eight weeks of 20 orders a day, 40 on Mondays, before the Monday of the tests."""
    sold({day: usual(day) for day in (MONDAY - timedelta(days=back) for back in range(1, 57))})


def test_a_shop_without_a_past_passes(judge, sold: Sold) -> None:
    sold({MONDAY: 3})
    assert judge("volume", str(MONDAY)) == [
        ("raw.sales_fact", "pass", "no day of 2024-03-04 has 4 earlier weeks to compare with")
    ]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("orders", "z"), [(40, None), (15, None), (14, "-4.1"), (65, None), (66, "+4.1"), (4000, "+626.1")]
)
def test_a_day_against_its_own_weekday(judge, sold: Sold, orders: int, z: str | None) -> None:
    sold({MONDAY: orders})
    odd = f": 2024-03-04: {orders:,} of about 40 (z {z})" if z else ""
    assert judge("volume", str(MONDAY)) == [
        ("raw.sales_fact", "warn" if z else "pass", f"{len(odd) > 0:d} of 1 days are unusual in rows{odd}"),
        ("raw.sales_fact last days", "pass", f"{orders} rows in the last 1 days, about 40 expected"),
    ]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("closed", "statuses"),
    [(1, ["warn", "pass"]), (2, ["warn", "pass"]), (3, ["warn", "fail"]), (4, ["warn", "fail"])],
)
def test_some_days_without_an_order(judge, sold: Sold, closed: int, statuses: list[str]) -> None:
    last = MONDAY + timedelta(days=6)
    sold({day: usual(day) for day in (MONDAY + timedelta(days=ahead) for ahead in range(7 - closed))})
    judged = judge("volume", str(MONDAY), str(last))
    assert [status for _, status, _ in judged] == statuses
    assert judged[0][2].startswith(f"{closed} of 7 days are unusual in rows: ")
    expected = f"{max(3 - closed, 0) * 20} rows in the last 3 days, about 60 expected"
    assert judged[1] == ("raw.sales_fact last days", statuses[1], expected)


def test_a_big_shop_is_out_on_its_first_day(judge, sold: Sold) -> None:
    """The outage: of 400 orders none came, and no holiday does that."""
    sold({MONDAY - timedelta(weeks=back): 400 for back in range(1, 9)})
    ((_, status, message), _) = judge("volume", str(MONDAY))
    assert status == "fail"
    assert "2024-03-04: 0 of about 400 (z -20.0)" in message


def test_a_day_that_is_over_holds_no_range_back(judge, sold: Sold) -> None:
    """Christmas in the middle of a year that is loaded at once: it warns, as it would fail on the day itself."""
    sold({day: 1000 for day in (MONDAY + timedelta(days=n) for n in range(-56, 5)) if day != MONDAY})
    last = MONDAY + timedelta(days=2)
    assert judge("volume", str(MONDAY), str(last))[0][1] == "fail"
    assert judge("volume", str(MONDAY), str(last + timedelta(days=1)))[0][1] == "warn"


@pytest.mark.usefixtures("history")
def test_black_friday_warns_and_passes_once_it_is_known(judge, only: Callable[..., str], sold: Sold) -> None:
    sold({MONDAY + timedelta(days=4): 300})
    settings = "kind: volume, table: raw.sales_fact, day: order_date, warn_beyond: 4, fail_below: -12"
    check = only(settings)
    assert [status for _, status, _ in judge(check, "2024-03-08")] == ["warn"]
    check = only(settings, incidents="[{name: Black Friday, day: 2024-03-08}]")
    assert judge(check, "2024-03-08") == [("raw.sales_fact", "pass", "2024-03-08 is Black Friday")]
    # Neither does it teach what a Friday is like.
    check = only(f"{settings}, weeks: 1, minimum_weeks: 1", incidents="[{name: Black Friday, day: 2024-03-08}]")
    assert judge(check, "2024-03-15")[0][2] == "no day of 2024-03-15 has 1 earlier weeks to compare with"


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
        statuses.append([status for _, status, _ in judge("volume", str(day))])
    # The day before was sold on and had been loaded long ago, so it is not in this ledger.
    assert statuses == [["warn", "pass"], ["warn", "pass"], ["warn", "fail"], ["warn", "fail"]]


@pytest.mark.usefixtures("history")
def test_days_before_the_run_that_were_never_loaded_are_no_outage(judge) -> None:
    judged = judge("volume", str(MONDAY + timedelta(days=5)))
    assert [status for _, status, _ in judged] == ["warn", "pass"]


def test_a_small_shop_may_sell_nothing_for_days(judge, sold: Sold) -> None:
    sold({MONDAY - timedelta(days=back): 2 for back in range(1, 57)})
    judged = judge("volume", str(MONDAY), str(MONDAY + timedelta(days=2)))
    assert [status for _, status, _ in judged] == ["pass", "pass"]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("amount", "status"), [(1, "pass"), (1.5, "pass"), (3, "warn"), (100, "fail")])
def test_amounts_that_are_a_hundred_times_too_high_fail(judge, sold: Sold, amount: float, status: str) -> None:
    """As many orders as ever, and a price feed that has lost its decimal point."""
    sold({MONDAY: 40}, amount)
    assert judge("volume", str(MONDAY))[0][1] == "pass"
    ((subject, found, _),) = judge("amount", str(MONDAY))
    assert (subject, found) == ("raw.sales_fact order_amount", status)
