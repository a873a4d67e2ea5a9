"""
The rules for orders find what breaks them in a generated shop, and nothing else: precision and recall of each.

The shop has orders that break a rule on purpose, as many of each rule, beside those that customers and prices bring
about. Which those are is computed from the shop's files, without SQL.
"""

from datetime import date

import pytest

from include.demo.shop.generator.violations import MANY_ORDERS
from tests.truth.expected_rules import ExpectedRules
from tests.truth.findings import find
from tests.truth.warehouse import BuiltShop, ShopSize

EACH = 25
RULES_SHOP = ShopSize("rules", date(2024, 1, 1), date(2024, 6, 30), orders=9_000, violations=EACH)

#: Per cent. A row that is dirty besides, such as a product without a price, may cost an order; a rule that is broken
#: costs half of them.
LEAST_PRECISION = LEAST_RECALL = 99.0
#: Two rules of amounts take everything from the median, so an order too many or too few before changes no result.
RULES = (
    "high_discount",
    "high_shipping",
    "below_cost",
    "price_off_list",
    "unusual_amount",
    "many_orders",
    "first_order_large",
    "discontinued_product",
    "gone_customer",
    "dated_back",
)

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("shop", [pytest.param(RULES_SHOP, id="rules")], indirect=True)]


def found_orders(shop: BuiltShop, rule: str) -> set[str]:
    rows = shop.rows("select order_id from marts.order_for_reviews where %s = any(broken_rules)", rule)
    return {order_id for (order_id,) in rows}


def expected_orders(shop: BuiltShop) -> dict[str, set[str]]:
    return ExpectedRules(
        shop.generated,
        shop.counted_lines,
        shop.file("product_category"),
        shop.file("opening/product_category"),
    ).violations()


def test_every_rule_is_planted_at_its_rate(shop: BuiltShop) -> None:
    planted = shop.generated.violations
    assert set(planted) == set(RULES)
    numbers = {rule: len(ids) for rule, ids in planted.items()}
    assert numbers == {**dict.fromkeys(RULES, EACH), "many_orders": MANY_ORDERS * EACH}


@pytest.mark.parametrize("rule", RULES)
def test_rule_finds_what_was_planted(shop: BuiltShop, rule: str) -> None:
    missed = shop.generated.violations[rule] - found_orders(shop, rule)
    assert missed == set()


@pytest.mark.parametrize("rule", RULES)
def test_rule_has_precision_and_recall(shop: BuiltShop, rule: str) -> None:
    put_in, found = expected_orders(shop)[rule], found_orders(shop, rule)
    right = len(put_in & found)
    precision, recall = 100 * right / len(found), 100 * right / len(put_in)
    find(RULES_SHOP.name, f"precision of {rule}, {len(found)} found", 100, precision, (LEAST_PRECISION, 100))
    find(RULES_SHOP.name, f"recall of {rule}, {len(put_in)} put in", 100, recall, (LEAST_RECALL, 100))
    assert precision >= LEAST_PRECISION, sorted(found - put_in)[:5]
    assert recall >= LEAST_RECALL, sorted(put_in - found)[:5]


def test_compliance_counts_each_violation(shop: BuiltShop) -> None:
    rows = dict(shop.rows("select rule, sum(violations) from marts.rule_compliance_daily group by rule"))
    assert rows == {rule: len(found_orders(shop, rule)) for rule in RULES}
    checked = set(
        shop.rows("select sum(orders_checked), count(*) from marts.rule_compliance_daily group by rule"),
    )
    [(orders, _)] = checked
    assert orders == len({row["order_id"] for row in shop.counted_lines})
