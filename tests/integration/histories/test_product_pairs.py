"""
Pairs of products after random histories in which months become complete and orders of earlier months change: they are
those of a full refresh, and those that are counted here in another way.
"""

import os
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import permutations

import psycopg
import pytest

from tests.integration.dbt_runs import Dbt, dbt_on
from tests.integration.histories.history import Build, Load, Place, Put, Remove, Step, play

FIRST, LAST = date(2023, 11, 1), date(2024, 2, 12)
PRODUCTS = [f"P{n}" for n in range(1, 8)]
CUSTOMERS = [None, *(f"C{n}" for n in range(1, 9))]
#: Small enough that each limit leaves something out.
LIMITS = {
    "affinity_months": 2,
    "affinity_days": 20,
    "affinity_products": 5,
    "affinity_customers": 2,
    "affinity_pairs": 3,
}
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]


@pytest.fixture(scope="module")
def dbt(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    folder = tmp_path_factory.mktemp("dbt")
    with dbt_on(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], folder, LIMITS) as dbt:
        dbt.run("--select", "staging")
        yield dbt


@pytest.fixture
def place(connection: psycopg.Connection, dbt: Dbt) -> Place:
    return Place(connection, dbt)


def history(seed: int) -> list[Step]:
    """Orders of some more days, now and then a change of any earlier one, a load of everything, a build."""
    rng = random.Random(seed)
    steps: list[Step] = []
    covered, orders = FIRST, 0
    while covered < LAST:
        last = min(LAST, covered + timedelta(days=rng.choice((1, 6, 13))))
        for _ in range(6 * (last - covered).days):
            orders += 1
            day = covered + timedelta(days=rng.randint(0, (last - covered).days))
            steps.append(Put("sales_fact", line(rng, f"O{orders}", day)))
        for _ in range(rng.choice((0, 0, 1, 3))):
            order_id = f"O{rng.randint(1, orders)}"
            day = FIRST + timedelta(days=rng.randint(0, (covered - FIRST).days))
            changed: list[Step] = [
                Put("sales_fact", line(rng, order_id, day), is_correction=True),
                Put("sales_fact", {"order_id": order_id, "line_number": "1", "order_status": "voided"}, True),
                Remove("sales_fact", (order_id, "1")),
            ]
            steps.append(rng.choice(changed))
        at = datetime.combine(last + timedelta(days=1), datetime.min.time(), tzinfo=UTC)
        steps += [Load(at, "sales_fact", FIRST, last), Build(at)]
        covered = last
    return steps


def line(rng: random.Random, order_id: str, day: date) -> dict[str, str | None]:
    # The first products and customers come more often.
    product, customer = (
        choices[min(rng.randrange(len(choices)), rng.randrange(len(choices)))] for choices in (PRODUCTS, CUSTOMERS)
    )
    return {
        "order_id": order_id, "line_number": "1", "product_id": product, "customer_id": customer,
        "order_date": str(day), "order_amount": rng.choice(("10", "10", "10", "0")), "order_quantity": "1",
        "payment_method": "card", "discount_applied": "0", "shipping_cost": "0", "tax_amount": "0",
        "order_status": "paid", "created_at": f"{day} 10:00:00",
    }  # fmt: skip


def expected_pairs(place: Place, months: tuple[date, date]) -> set[tuple]:
    """Product, other product, customers of both, customers who bought the other one next."""
    bought: dict[str, dict[str, set[date]]] = {}
    for row in place.shop.tables["sales_fact"].values():
        day, customer = date.fromisoformat(str(row["order_date"])), row["customer_id"]
        if customer and row["order_amount"] != "0" and row["order_status"] == "paid" and months[0] <= day <= months[1]:
            bought.setdefault(str(row["product_id"]), {}).setdefault(customer, set()).add(day)
    most = sorted(bought, key=lambda product: (-len(bought[product]), product))[: LIMITS["affinity_products"]]
    pairs: dict[str, list[tuple]] = {}
    for product, other in permutations(most, 2):
        both = next_ = 0
        for customer in bought[product].keys() & bought[other].keys():
            gaps = {(b - a).days for a in bought[product][customer] for b in bought[other][customer]}
            both += any(abs(gap) <= LIMITS["affinity_days"] for gap in gaps)
            next_ += any(0 < gap <= LIMITS["affinity_days"] for gap in gaps)
        if both >= LIMITS["affinity_customers"]:
            pairs.setdefault(product, []).append((both / len(bought[other]), both, other, next_))
    return {
        (product, other, both, next_)
        for product, found in pairs.items()
        for _, both, other, next_ in sorted(found, key=lambda pair: (-pair[0], -pair[1], pair[2]))[
            : LIMITS["affinity_pairs"]
        ]
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_product_pairs_are_those_of_the_last_complete_months(place: Place, seed: int) -> None:
    difference = play(history(seed), place)
    assert difference is None, str(difference)
    pairs = place.connection.execute(
        "select product_id, other_product_id, customers, customers_next from marts.product_affinity"
    ).fetchall()
    expected = expected_pairs(place, (date(2023, 12, 1), date(2024, 1, 31)))
    assert set(pairs) == expected
    assert len(pairs) == len(expected) > 5
    months = place.connection.execute("select distinct counted_month from core.int_product_pair_sales").fetchall()
    assert months == [(date(2024, 1, 1),)]
