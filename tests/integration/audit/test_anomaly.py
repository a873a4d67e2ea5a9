"""Kinds `volume` and `amount`: an unusual day warns, a much too low or high one and an outage fail."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from tests.integration.support import Loader

MONDAY = date(2024, 3, 4)
Sold = Callable[..., None]


@pytest.fixture
def sold(loader: Loader) -> Sold:
    """Insert a number of orders for each day, all of the same amount."""

    def sold(orders: dict[date, int], amount: float = 1) -> None:
        with loader.connection.cursor() as cursor:
            cursor.executemany(
                """
                insert into raw.sales_fact (
                    order_id, line_number, product_id, customer_id, order_date, order_amount, created_at, _batch_id,
                    _loaded_at
                )
                select %(day)s || '-' || n, 1, 'P', 'C', %(day)s::date, %(amount)s, %(day)s::date, 0, now()
                from generate_series(1, %(n)s) as n
                """,
                [{"day": str(day), "n": n, "amount": amount} for day, n in orders.items()],
            )

    return sold


def usual(day: date) -> int:
    return 40 if day.weekday() == 0 else 20


@pytest.fixture
def history(sold: Sold) -> None:
    """Eight weeks of 20 orders a day, 40 on Mondays, before the Monday of the tests."""
    sold({day: usual(day) for day in (MONDAY - timedelta(days=back) for back in range(1, 57))})


def test_volume_passes_without_history(evaluate, sold: Sold) -> None:
    sold({MONDAY: 3})
    assert evaluate("volume", str(MONDAY)) == [
        ("raw.sales_fact", "pass", "2024-03-04 is not compared: fewer than 4 weeks before it have rows")
    ]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("orders", "difference", "z"),
    [
        (40, "", None),
        (15, " (62 % fewer)", None),
        (14, " (65 % fewer)", -4.11),
        (65, " (62 % more)", None),
        (66, " (65 % more)", 4.11),
        (4000, " (9,900 % more)", 626.13),
    ],
)
def test_volume_compares_a_day_with_its_weekday(
    evaluate, sold: Sold, loader: Loader, orders: int, difference: str, z: float | None
) -> None:
    sold({MONDAY: orders})
    sentence = f"4 Mar 2024: {orders:,} rows, about 40 expected{difference}"
    assert evaluate("volume", str(MONDAY)) == [
        ("raw.sales_fact", "warn" if z else "pass", sentence if z else f"{sentence}, not unusual"),
        ("raw.sales_fact last days", "pass", f"{orders} rows on the last day, about 40 expected"),
    ]
    kept = [{"day": "2024-03-04", "observed": orders, "expected": 40.0, "z": z}] if z else []
    assert loader.rows("select bad_row from ops.check_failure") == [(row,) for row in kept]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("closed", "statuses"),
    [(1, ["warn", "pass"]), (2, ["warn", "pass"]), (3, ["warn", "fail"]), (4, ["warn", "fail"])],
)
def test_volume_fails_after_three_days_without_orders(evaluate, sold: Sold, closed: int, statuses: list[str]) -> None:
    last = MONDAY + timedelta(days=6)
    sold({day: usual(day) for day in (MONDAY + timedelta(days=ahead) for ahead in range(7 - closed))})
    results = evaluate("volume", str(MONDAY), str(last))
    assert [status for _, status, _ in results] == statuses
    assert results[0][2].startswith(f"{closed} of 7 days are unusual. ")
    assert results[0][2].count(": 0 rows, about 20 expected (100 % fewer)") == closed
    expected = f"{max(3 - closed, 0) * 20} rows in the last 3 days, about 60 expected"
    assert results[1] == ("raw.sales_fact last days", statuses[1], expected)


def test_volume_fails_at_once_for_large_shop_without_orders(evaluate, sold: Sold, loader: Loader) -> None:
    """No holiday takes away all of 400 orders."""
    sold({MONDAY - timedelta(weeks=back): 400 for back in range(1, 9)})
    ((_, status, message), _) = evaluate("volume", str(MONDAY))
    assert status == "fail"
    assert message == "4 Mar 2024: 0 rows, about 400 expected (100 % fewer)"
    assert loader.value("select (bad_row ->> 'z')::float from ops.check_failure") == -20


def test_volume_only_warns_for_day_before_the_last_ones(evaluate, sold: Sold) -> None:
    """Christmas in a year that is loaded at once warns; in the run of that day it would fail."""
    sold({day: 1000 for day in (MONDAY + timedelta(days=n) for n in range(-56, 5)) if day != MONDAY})
    last = MONDAY + timedelta(days=2)
    assert evaluate("volume", str(MONDAY), str(last))[0][1] == "fail"
    assert evaluate("volume", str(MONDAY), str(last + timedelta(days=1)))[0][1] == "warn"


@pytest.mark.usefixtures("history")
def test_volume_ignores_known_incident(evaluate, only: Callable[..., str], sold: Sold) -> None:
    sold({MONDAY + timedelta(days=4): 300})
    settings = "kind: volume, table: raw.sales_fact, day: order_date, warn_beyond: 4, fail_below: -12"
    check = only(settings)
    assert [status for _, status, _ in evaluate(check, "2024-03-08")] == ["warn"]
    check = only(settings, incidents="[{name: Black Friday, day: 2024-03-08}]")
    assert evaluate(check, "2024-03-08") == [("raw.sales_fact", "pass", "8 Mar 2024 is Black Friday")]
    # Nor is it what later Fridays are compared with.
    check = only(f"{settings}, weeks: 1, minimum_weeks: 1", incidents="[{name: Black Friday, day: 2024-03-08}]")
    assert evaluate(check, "2024-03-15")[0][2] == "2024-03-15 is not compared: fewer than 1 weeks before it have rows"


@pytest.fixture
def loaded(loader: Loader) -> Callable[[date], None]:
    """Record a successful load of a day's sales."""

    def loaded(day: date) -> None:
        loader.connection.execute(
            """
            insert into ops.load_batch (source, window_start, window_end, status, started_at)
            values ('sales_fact', %s, %s, 'loaded', now())
            """,
            [day, day + timedelta(days=1)],
        )

    return loaded


@pytest.mark.usefixtures("history")
def test_volume_finds_outage_on_third_daily_run(evaluate, loaded: Callable[[date], None]) -> None:
    statuses = []
    for ahead in range(4):
        day = MONDAY + timedelta(days=ahead)
        loaded(day)
        statuses.append([status for _, status, _ in evaluate("volume", str(day))])
    # The day before the first has orders; it was loaded long ago and is not in this ledger.
    assert statuses == [["warn", "pass"], ["warn", "pass"], ["warn", "fail"], ["warn", "fail"]]


@pytest.mark.usefixtures("history")
def test_volume_ignores_days_that_were_never_loaded(evaluate) -> None:
    results = evaluate("volume", str(MONDAY + timedelta(days=5)))
    assert [status for _, status, _ in results] == ["warn", "pass"]


def test_volume_passes_for_small_shop_without_orders(evaluate, sold: Sold) -> None:
    sold({MONDAY - timedelta(days=back): 2 for back in range(1, 57)})
    results = evaluate("volume", str(MONDAY), str(MONDAY + timedelta(days=2)))
    assert [status for _, status, _ in results] == ["pass", "pass"]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("amount", "status"), [(1, "pass"), (1.5, "pass"), (3, "warn"), (100, "fail")])
def test_amount_fails_for_hundredfold_prices(evaluate, sold: Sold, amount: float, status: str) -> None:
    """As many orders as always, and prices that have lost their decimal point."""
    sold({MONDAY: 40}, amount)
    assert evaluate("volume", str(MONDAY))[0][1] == "pass"
    ((subject, actual, message),) = evaluate("amount", str(MONDAY))
    assert (subject, actual) == ("raw.sales_fact order_amount", status)
    assert message.startswith(f"4 Mar 2024: order_amount {40 * amount:,.0f}, about 40 expected")
