"""
Orders of several years that come late, change and go: what is unusual, and whose first order is large, is in the end
what one full refresh says, also where the order that decides it is of another year.
"""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.integration.histories.history import Build, Load, Place, Put, Remove, Step, play
from tests.integration.histories.shop import FIRST, LAST

START = datetime.combine(FIRST, datetime.min.time(), tzinfo=UTC)


def order(order_id: str, customer: str | None, day: date, amount: str, recorded: date, line: str = "1") -> Put:
    return Put(
        "sales_fact",
        {
            "order_id": order_id, "line_number": line, "product_id": "P01", "customer_id": customer,
            "order_date": str(day), "order_amount": amount, "created_at": f"{recorded} 10:00:00",
        },
    )  # fmt: skip


def load(hours: int) -> Load:
    return Load(START + timedelta(hours=hours), "sales_fact", FIRST, LAST)


def reasons(place: Place) -> dict[str, list[str]]:
    return dict(place.connection.execute("select order_id, broken_rules from marts_build.order_for_reviews").fetchall())


def test_order_of_another_year_decides_which_is_the_first(place: Place) -> None:
    """Two years lie between them: the day of the large order is not among those after the day that changed."""
    place.open()
    for number in range(3):
        order(f"usual {number}", None, date(2023, 6, 1), "10.00", FIRST).happen(place)
    order("large", "CUST001", date(2023, 12, 1), "60.00", FIRST).happen(place)
    for step in (load(1), Build(START + timedelta(hours=1))):
        step.happen(place)
    assert reasons(place) == {"large": ["first_order_large"]}
    order("earlier", "CUST001", date(2021, 1, 1), "1.00", FIRST).happen(place)
    for step in (load(2), Build(START + timedelta(hours=2))):
        step.happen(place)
    assert reasons(place) == {"earlier": ["dated_back"]}
    Remove("sales_fact", ("earlier", "1")).happen(place)
    for step in (load(3), Build(START + timedelta(hours=3))):
        step.happen(place)
    assert reasons(place) == {"large": ["first_order_large"]}
    days = place.connection.execute(
        "select order_date::text, violations from marts_build.rule_compliance_daily where rule = 'first_order_large'"
    )
    assert sorted(days) == [("2023-06-01", 0), ("2023-12-01", 1)]


def invent(seed: int) -> Iterator[Step]:
    """Few customers, amounts from small to large, days of four years; some orders have lines on two days."""
    rng = random.Random(seed)
    for hours in range(1, 6):
        for _ in range(rng.randrange(5, 30)):
            number = rng.randrange(40)
            customer = rng.choice(("CUST001", "CUST002", "CUST003", None))
            amount = rng.choice(("1.00", "5.00", "9.99", "10.00", "50.00", "60.00", "100.00", "120.00", "999.00"))
            line = rng.choice(("1", "1", "1", "2"))
            day = date(2021, 1, 1) + timedelta(days=rng.randrange(1_150))
            recorded = FIRST + timedelta(days=rng.randrange((LAST - FIRST).days))
            yield order(f"O{number}", customer, day, amount, recorded, line)
            if rng.random() < 0.2:
                yield Remove("sales_fact", (f"O{rng.randrange(40)}", "1"))
        yield load(hours)
        yield Build(START + timedelta(hours=hours))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_rules_of_any_history_are_those_of_a_full_refresh(place: Place, seed: int) -> None:
    difference = play(list(invent(seed)), place)
    assert difference is None, difference
