"""The generated shop: always the same, of the requested size, consistent, with each kind of change and dirty data."""

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from include.demo.shop.generate import ORDERS, SMALLEST, generate
from include.demo.shop.generator import effects
from include.demo.shop.generator.random_draws import between_months
from include.demo.shop.shop_folder import COLUMNS

Row = dict[str, str]
SMALL: dict[str, Any] = {**SMALLEST}
FIRST, DAYS = date(2024, 1, 1), 60
END = FIRST + timedelta(days=DAYS)
SIZES: dict[str, Any] = {"days": DAYS, "orders": 1200, "customers": 300, "products": 80, "events": 9000}


class Shop:
    """The rows of a shop folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables = {table: self.read(table) for table in COLUMNS}
        self.opening = {path.stem: self.read(f"opening/{path.stem}") for path in (folder / "opening").glob("*.csv")}

    def read(self, name: str) -> list[Row]:
        with (self.folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def __getitem__(self, table: str) -> list[Row]:
        return self.tables[table]

    def changed(self, table: str, key: str) -> list[tuple[Row, Row]]:
        """The rows whose key is in the opening and the final state, but whose values differ: (before, after)."""
        after = {row[key]: row for row in self[table]}
        return [(row, after[row[key]]) for row in self.opening[table] if row[key] in after and after[row[key]] != row]

    def baskets(self) -> dict[str, list[Row]]:
        """The lines of each order, without the orders that have a dirty or corrected line."""
        lines: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self["sales_fact"]:
            lines[row["order_id"]].append(row)
        return {order_id: rows for order_id, rows in lines.items() if all(map(is_clean, rows)) and not repeats(rows)}


def is_clean(row: Row) -> bool:
    """Whether no column of a row of `sales_fact` has a dirty value."""
    numbers = [row[name] for name in ("order_amount", "order_quantity", "line_number")]
    others = [row[name] for name in ("discount_applied", "shipping_cost", "tax_amount")]
    return (
        all(row[name].strip() for name in ("order_id", "product_id", "payment_method", "order_status"))
        and all(text and Decimal(text) > 0 for text in numbers)
        and all(text and Decimal(text) >= 0 for text in others)
        and Decimal(row["discount_applied"]) <= 1
        and row["order_date"] >= "1970"
    )


def repeats(rows: list[Row]) -> bool:
    """Whether a line number comes twice in an order."""
    return len({row["line_number"] for row in rows}) < len(rows)


def orders_of(rows: list[Row]) -> dict[str, Row]:
    """The first row of each order, by its id; a row without id belongs to none."""
    result: dict[str, Row] = {}
    for row in rows:
        result.setdefault(row["order_id"], row)
    result.pop("", None)
    return result


def is_guests(row: Row) -> bool:
    return not row["customer_id"].strip()


def is_cancelled(row: Row) -> bool:
    return row["order_status"].strip().lower() in ("cancelled", "canceled", "voided", "failed")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    generate(folder, first=FIRST, **SIZES)
    return Shop(folder)


@pytest.fixture(scope="module")
def full_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop of the demo, with its default size: large enough to measure shares."""
    folder = tmp_path_factory.mktemp("full_shop")
    generate(folder)
    return Shop(folder)


def digest(folder: Path) -> str:
    """Hash the names and contents of all files."""
    result = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        result.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return result.hexdigest()


def instant(text: str) -> datetime | None:
    """Convert to naive UTC; None if the text is no time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=None) - (at.utcoffset() or timedelta())


# Determinism and size


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        generate(tmp_path / name, seed=seed, **SMALL)
    assert digest(tmp_path / "one") == digest(tmp_path / "two") != digest(tmp_path / "other")


def test_bytes_are_the_same_on_all_pythons_and_platforms(tmp_path: Path) -> None:
    generate(tmp_path, seed=7, **SMALL)
    assert digest(tmp_path) == "c9930cc26da1977436d5e7c204bfe50f0cf9c416ba38b47ebad430ca3c156eee"


def test_default_shop_has_full_size(full_shop: Shop) -> None:
    counts = {table: len(rows) for table, rows in full_shop.tables.items()}
    assert counts == {
        "kafka_stream": 110_045,
        "product": 320,
        "product_category": 319,
        "sales_fact": 24_068,
        "refund": 708,
        "customer": 2_394,
        "subscription_data": 930,
        "weather_data": 358,
    }
    # Every tier of customers is populated.
    value: defaultdict[str, float] = defaultdict(float)
    for row in full_shop["sales_fact"]:
        value[row["customer_id"]] += float(row["order_amount"] or 0)
    tiers = Counter(
        "high" if value[row["customer_id"]] >= 1000 else "medium" if value[row["customer_id"]] >= 500 else "low"
        for row in full_shop["customer"]
    )
    assert set(tiers) == {"high", "medium", "low"}
    assert min(tiers.values()) > 200


@pytest.mark.parametrize("size", SMALLEST)
def test_shop_too_small_for_its_dirty_rows_is_an_error(tmp_path: Path, size: str) -> None:
    with pytest.raises(ValueError, match=f"{size} = {SMALLEST[size] - 1}"):
        generate(tmp_path, **SMALL | {size: SMALLEST[size] - 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(12))
def test_smallest_shop_can_be_generated_from_any_seed(tmp_path: Path, seed: int) -> None:
    generate(tmp_path, seed=seed, first=date(2023, 7, 13), **SMALL)
    orders = orders_of(Shop(tmp_path)["sales_fact"])
    assert len(orders) == SMALLEST["orders"] - 1  # one order has lost its id


def test_tables_have_requested_sizes_and_columns(shop: Shop) -> None:
    for table, columns in COLUMNS.items():
        assert list(shop[table][0]) == list(columns)
    assert len(orders_of(shop["sales_fact"])) == SIZES["orders"] - 1
    assert 1.7 < len(shop["sales_fact"]) / SIZES["orders"] < 1.9
    assert SIZES["events"] < len(shop["kafka_stream"]) < SIZES["events"] * 1.01
    assert sorted(shop.opening) == ["customer", "product", "product_category", "subscription_data"]


# Consistency


def test_orders_are_within_the_days(shop: Shop) -> None:
    lags = Counter[int]()
    recorded = [datetime.fromisoformat(row["created_at"]) for row in shop["sales_fact"]]
    assert recorded == sorted(recorded)
    for row, at in zip(shop["sales_fact"], recorded, strict=True):
        day = date.fromisoformat(row["order_date"])
        if day.year == 1969:
            continue
        assert FIRST <= day <= at.date() < END
        lags[(at.date() - day).days] += 1
    assert set(lags) == set(range(10))
    assert lags[0] > 0.9 * len(recorded)


def test_order_amount_is_quantity_times_price_of_the_day_less_discount(shop: Shop) -> None:
    before = {row["product_id"]: row for row in shop.opening["product_category"]}
    after = {row["product_id"]: row for row in shop["product_category"]}
    checked = Counter[str]()
    for row in shop["sales_fact"]:
        product, quantity, discount = row["product_id"], row["order_quantity"], row["discount_applied"]
        if not (quantity and discount and row["order_amount"]) or product not in after:
            continue
        final, first = after[product], before.get(product, after[product])
        changed = final["retail_price"] != first["retail_price"]
        is_old = changed and row["order_date"] < final["last_updated"]
        price = (first if is_old else final)["retail_price"]
        if not price:
            continue
        exact = Decimal(price) * int(quantity) * (1 - Decimal(discount))
        is_right = Decimal(row["order_amount"]) == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
        kind = "steady price" if not changed else "old price" if is_old else "new price"
        checked[kind if is_right else "wrong"] += 1
    assert checked["wrong"] <= 8  # dirty quantities, discounts and amounts
    assert min(checked["steady price"], checked["old price"], checked["new price"]) > 50


def test_products_are_not_sold_before_launch_or_after_their_end(shop: Shop) -> None:
    final = {row["product_id"]: row for row in shop["product_category"]}
    for row in shop["sales_fact"]:
        product = final.get(row["product_id"])
        if product is None or row["order_date"] < "1970":
            continue
        assert product["launch_date"] <= row["order_date"]
        if product["discontinued"] == "true":
            assert row["order_date"] < product["last_updated"]


def test_purchase_follows_cart_and_view_and_belongs_to_an_order(shop: Shop) -> None:
    orders = {(row["customer_id"], row["product_id"], row["order_date"]) for row in shop["sales_fact"]}
    seen: dict[str, set[tuple[str, str, date]]] = {"view": set(), "add_to_cart": set(), "purchase": set()}
    before = {"add_to_cart": "view", "purchase": "add_to_cart"}
    for row in shop["kafka_stream"]:
        at, kind = instant(row["timestamp"]), row["interaction_type"]
        if at is None or kind not in seen:
            continue
        assert FIRST <= at.date() < END
        click = (row["customer_id"], row["product_id"], at.date())
        if kind in before:
            assert click in seen[before[kind]]
        if kind == "purchase":
            assert (*click[:2], click[2].isoformat()) in orders
        seen[kind].add(click)
    assert len(seen["view"]) > 2 * len(seen["add_to_cart"]) > 2 * len(seen["purchase"]) > 500


def test_events_are_sorted_by_time_in_several_notations(shop: Shop) -> None:
    times = [instant(row["timestamp"]) for row in shop["kafka_stream"]]
    readable = [at for at in times if at is not None]
    assert readable == sorted(readable)
    texts = [row["timestamp"] for row in shop["kafka_stream"]]
    assert sum(text.endswith("Z") for text in texts) > 500
    assert sum(text.endswith("+02:00") for text in texts) > 300


def test_number_of_events_does_not_change_other_tables(tmp_path: Path) -> None:
    generate(tmp_path / "few", **SMALL)
    generate(tmp_path / "many", **SMALL | {"events": 2000})
    for table in set(COLUMNS) - {"kafka_stream"}:
        assert (tmp_path / f"few/{table}.csv").read_bytes() == (tmp_path / f"many/{table}.csv").read_bytes()


# Baskets, guests and cancelled orders


def test_line_numbers_have_no_gap_and_no_product_comes_twice(full_shop: Shop) -> None:
    sizes = Counter[int]()
    for rows in full_shop.baskets().values():
        assert sorted(int(row["line_number"]) for row in rows) == list(range(1, len(rows) + 1))
        assert len({row["product_id"] for row in rows}) == len(rows)
        sizes[len(rows)] += 1
    assert set(sizes) == set(effects.LINES_PER_ORDER)
    for size, percent in effects.LINES_PER_ORDER.items():
        assert sizes[size] / sizes.total() * 100 == pytest.approx(percent, abs=1.5)


@pytest.mark.parametrize("column", ["customer_id", "order_date", "payment_method", "order_status", "created_at"])
def test_lines_of_an_order_agree(full_shop: Shop, column: str) -> None:
    baskets = full_shop.baskets().values()
    assert len(baskets) > 0.98 * ORDERS
    assert all(len({row[column] for row in rows}) == 1 for rows in baskets)


def test_shipping_is_on_the_first_line_alone(full_shop: Shop) -> None:
    paid = 0
    for rows in full_shop.baskets().values():
        for row in rows:
            if row["line_number"] != "1":
                assert row["shipping_cost"] == "0.00"
            elif row["shipping_cost"] != "0.00":
                paid += 1
    assert paid > 1000


def test_tax_is_a_share_of_each_lines_amount(full_shop: Shop) -> None:
    for rows in full_shop.baskets().values():
        for row in rows:
            exact = Decimal(row["order_amount"]) * effects.TAX_RATE
            assert Decimal(row["tax_amount"]) == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


def test_shares_of_guests_and_cancelled_orders(full_shop: Shop) -> None:
    orders = orders_of(full_shop["sales_fact"]).values()
    guests = [row for row in orders if is_guests(row)]
    assert len(guests) / len(orders) == pytest.approx(effects.GUEST_SHARE, abs=0.01)
    blank = [row for row in guests if row["customer_id"]]
    assert len(blank) / len(guests) == pytest.approx(effects.BLANK_GUEST_SHARE, abs=0.03)
    cancelled = [row for row in orders if is_cancelled(row)]
    assert len(cancelled) / len(orders) == pytest.approx(effects.CANCELLED_SHARE, abs=0.004)
    statuses = {row["order_status"] for row in cancelled}
    assert {status.strip().lower() for status in statuses} == {"cancelled", "canceled", "voided", "failed"}
    assert len(statuses) > 5


def test_orders_a_day_follow_the_effects(full_shop: Shop) -> None:
    rain: defaultdict[str, float] = defaultdict(float)
    for row in full_shop["weather_data"]:
        rain[row["date"]] = max(rain[row["date"]], float(row["precipitation"] or 0))
    counts = Counter(row["order_date"] for row in orders_of(full_shop["sales_fact"]).values())
    # How the day compares with what it would be without rain.
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for number in range(180):
        day = FIRST + timedelta(days=number)
        expected = (
            (1 + effects.GROWTH_A_YEAR * number / 365)
            * between_months(day, effects.MONTHS)
            * effects.WEEKDAYS[day.weekday()]
        )
        is_wet = rain[day.isoformat()] >= effects.WET_DAY_PRECIPITATION
        ratios[is_wet].append(counts[day.isoformat()] / expected)
    wet, dry = (sum(values) / len(values) for values in (ratios[True], ratios[False]))
    assert wet / dry == pytest.approx(effects.RAIN_LIFT, abs=0.02)
    lowest, highest = effects.DAILY_NOISE
    for mean, values in ((wet, ratios[True]), (dry, ratios[False])):
        assert min(values) / mean > lowest - 0.03
        assert max(values) / mean < highest + 0.03


@pytest.mark.parametrize("number", [0, 100, 364, 365, 800])
def test_level_grows_by_the_rate_of_a_year_in_365_days(number: int) -> None:
    demand = effects.Demand(growth_a_year=0.5)
    assert demand.level(number + 365) == pytest.approx(1.5 * demand.level(number))
    assert demand.level(number + 1) > demand.level(number)


def test_demand_of_the_demo_is_that_of_the_constants() -> None:
    wet, dry = (effects.DEMAND.of_day(0, FIRST, is_wet=is_wet) for is_wet in (True, False))
    assert dry == pytest.approx(between_months(FIRST, effects.MONTHS) * effects.WEEKDAYS[FIRST.weekday()])
    assert wet == pytest.approx(effects.RAIN_LIFT * dry)


def test_orders_follow_a_demand_of_ones_own(tmp_path: Path) -> None:
    even = effects.Demand(growth_a_year=0, months=[1] * 12, weekdays=[1] * 7, rain_lift=1, noise=(1, 1))
    shop = generate(tmp_path, **SMALL | {"days": 20}, demand=even)
    orders = Counter(order.ordered_at.date() for order in shop.orders)
    assert set(orders.values()) == {SMALLEST["orders"] // 20}


# Refunds


def valid_refunds(shop: Shop) -> list[Row]:
    """The refunds without a dirty value, and without the pair of which one corrects the other."""
    ids = Counter(row["refund_id"] for row in shop["refund"])
    orders = orders_of(shop["sales_fact"])
    return [
        row
        for row in shop["refund"]
        if row["refund_id"]
        and ids[row["refund_id"]] == 1
        and row["refund_amount"]
        and Decimal(row["refund_amount"]) > 0
        and row["refund_date"] >= "1970"
        and row["refund_quantity"] != "-1"
        and (not row["order_id"] or row["order_id"] in orders)
    ]


def test_refund_is_never_more_than_what_it_refunds(full_shop: Shop) -> None:
    baskets = full_shop.baskets()
    kinds = Counter[str]()
    refunded: defaultdict[str, Decimal] = defaultdict(Decimal)
    for refund in valid_refunds(full_shop):
        amount = Decimal(refund["refund_amount"])
        if not refund["order_id"]:
            assert refund["product_id"]
            kinds["no order"] += 1
            continue
        lines = baskets[refund["order_id"]]
        assert not is_cancelled(lines[0])
        assert refund["customer_id"] == lines[0]["customer_id"]
        refunded[refund["order_id"]] += amount
        if not refund["line_number"]:
            assert amount == sum(Decimal(line["order_amount"]) for line in lines)
            kinds["whole order"] += 1
            continue
        (line,) = (line for line in lines if line["line_number"] == refund["line_number"])
        assert refund["product_id"] == line["product_id"]
        assert amount <= Decimal(line["order_amount"])
        assert int(refund["refund_quantity"] or 0) <= int(line["order_quantity"])
        kinds["line" if amount == Decimal(line["order_amount"]) else "part"] += 1
    for order_id, amount in refunded.items():
        assert amount <= sum(Decimal(line["order_amount"]) for line in baskets[order_id])
    assert kinds["line"] > kinds.total() / 2
    assert min(kinds[kind] for kind in ("part", "whole order", "no order")) >= 10


def test_share_of_refunded_lines(full_shop: Shop) -> None:
    latest = max(row["order_date"] for row in full_shop["sales_fact"])
    longest = timedelta(days=effects.REFUND_DAYS[1])
    before = (date.fromisoformat(latest) - longest).isoformat()
    old = [
        row
        for rows in full_shop.baskets().values()
        for row in rows
        if row["order_date"] < before and not is_cancelled(row)
    ]
    old_orders = {row["order_id"] for row in old}
    refunds = [row for row in valid_refunds(full_shop) if row["order_id"] in old_orders]
    assert len(refunds) / len(old) == pytest.approx(effects.REFUND_SHARE, abs=0.005)


def test_refund_is_made_days_after_the_order_and_recorded_on_its_day(full_shop: Shop) -> None:
    orders = orders_of(full_shop["sales_fact"])
    lags = Counter[int]()
    for refund in valid_refunds(full_shop):
        assert refund["created_at"][:10] == refund["refund_date"] < "2024-06-29"
        if order := orders.get(refund["order_id"]):
            assert refund["created_at"] > order["created_at"]
            lags[(date.fromisoformat(refund["refund_date"]) - date.fromisoformat(order["order_date"])).days] += 1
    shortest, longest = effects.REFUND_DAYS
    assert set(lags) == set(range(shortest, longest + 1))
    recorded = [row["created_at"] for row in full_shop["refund"]]
    assert recorded == sorted(recorded)


def test_refunds_have_reasons(full_shop: Shop) -> None:
    reasons = {row["reason"].strip() for row in full_shop["refund"]}
    assert reasons == {reason or "" for reason in effects.REASONS}


# Changes over time


def test_prices_change_within_the_days(shop: Shop) -> None:
    repriced = [
        (before, after)
        for before, after in shop.changed("product_category", "product_id")
        if before["retail_price"] != after["retail_price"]
    ]
    assert len(repriced) >= 10
    for before, after in repriced:
        assert before["last_updated"] < FIRST.isoformat() <= after["last_updated"] < END.isoformat()


def test_some_products_change_only_their_stock(shop: Shop) -> None:
    differences = [
        {column for column in before if before[column] != after[column]}
        for before, after in shop.changed("product_category", "product_id")
    ]
    assert differences.count({"stock_level", "last_updated"}) >= 10
    assert any("discontinued" in difference for difference in differences)


@pytest.mark.parametrize("column", ["customer_email", "customer_name", "status", "end_date"])
def test_customers_change_each_column(shop: Shop, column: str) -> None:
    assert any(before[column] != after[column] for before, after in shop.changed("customer", "customer_id"))


@pytest.mark.parametrize(
    ("table", "key"),
    [("customer", "customer_id"), ("product", "product_id"), ("product_category", "product_id")],
)
def test_some_keys_appear_and_some_vanish(shop: Shop, table: str, key: str) -> None:
    before, after = ({row[key] for row in rows} for rows in (shop.opening[table], shop[table]))
    assert before - after
    assert after - before - {""}


def test_subscriptions_start_end_and_are_cancelled(shop: Shop) -> None:
    rows = shop["subscription_data"]
    assert {row["plan_type"].strip() for row in rows} == {"Basic", "Plus", "Premium"}
    starts = [row["subscription_start_date"] for row in rows]
    assert min(starts) < "2022-01-01"
    assert max(starts) > FIRST.isoformat()
    assert {row["status"].lower() for row in rows} >= {"active", "cancelled", "expired"}
    cancelled = [
        after
        for before, after in shop.changed("subscription_data", "subscription_id")
        if before["status"] == "active" and after["status"].lower() == "cancelled"
    ]
    assert cancelled
    for row in cancelled:
        assert FIRST.isoformat() <= row["subscription_end_date"] < END.isoformat()
    for row in rows:
        assert not row["subscription_end_date"] or row["subscription_start_date"] < row["subscription_end_date"]


def test_dirty_values_are_already_in_the_opening_state(shop: Shop) -> None:
    for table, key in (("product_category", "product_id"), ("customer", "customer_id")):
        for before, after in shop.changed(table, key):
            assert {column for column in before if not before[column]} >= {
                column for column in after if not after[column]
            }


# Dirty data


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("sales_fact", lambda row: row["order_quantity"] == ""),
        ("sales_fact", lambda row: row["order_quantity"] == "0"),
        ("sales_fact", lambda row: row["order_quantity"].startswith("-")),
        ("sales_fact", lambda row: row["discount_applied"] == ""),
        ("sales_fact", lambda row: float(row["discount_applied"] or 0) > 1),
        ("sales_fact", lambda row: float(row["discount_applied"] or 0) < 0),
        ("sales_fact", lambda row: row["shipping_cost"] == ""),
        ("sales_fact", lambda row: float(row["shipping_cost"] or 0) < 0),
        ("sales_fact", lambda row: row["order_amount"] == ""),
        ("sales_fact", lambda row: float(row["order_amount"] or 0) < 0),
        ("sales_fact", lambda row: row["order_amount"] == "0.00"),
        ("sales_fact", lambda row: row["payment_method"] == ""),
        ("sales_fact", lambda row: row["payment_method"].isspace()),
        ("sales_fact", lambda row: row["payment_method"].isupper()),
        ("sales_fact", lambda row: row["payment_method"] != row["payment_method"].strip() != ""),
        ("sales_fact", lambda row: row["order_id"] == ""),
        ("sales_fact", lambda row: row["product_id"] == ""),
        ("sales_fact", lambda row: row["customer_id"] == ""),
        ("sales_fact", lambda row: row["customer_id"].isspace()),
        ("sales_fact", lambda row: row["line_number"] == ""),
        ("sales_fact", lambda row: row["line_number"] == "-1"),
        ("sales_fact", lambda row: row["order_date"] == "1969-12-31"),
        ("sales_fact", lambda row: row["tax_amount"] == ""),
        ("sales_fact", lambda row: float(row["tax_amount"] or 0) < 0),
        ("sales_fact", lambda row: row["order_status"] == ""),
        ("sales_fact", lambda row: row["order_status"].isspace()),
        ("sales_fact", lambda row: row["order_status"] == " Cancelled "),
        ("refund", lambda row: row["refund_amount"] == "0.00"),
        ("refund", lambda row: float(row["refund_amount"] or 0) < 0),
        ("refund", lambda row: row["refund_amount"] == ""),
        ("refund", lambda row: row["refund_date"] == "1969-12-31"),
        ("refund", lambda row: row["refund_id"] == ""),
        ("refund", lambda row: row["refund_quantity"] == "-1"),
        ("refund", lambda row: row["reason"].isspace()),
        ("refund", lambda row: row["order_id"] == "ORD900000"),
        ("sales_fact", lambda row: row["customer_id"] == f"CUST{SIZES['customers'] + 7000}"),
        ("sales_fact", lambda row: row["product_id"] == f"PROD{SIZES['products'] + 7000}"),
        ("customer", lambda row: row["customer_id"] == ""),
        ("customer", lambda row: row["customer_email"] == ""),
        ("customer", lambda row: row["customer_email"].isspace()),
        ("customer", lambda row: row["customer_email"] and "@" not in row["customer_email"]),
        ("customer", lambda row: row["customer_email"].count("@") == 2),
        ("customer", lambda row: row["customer_email"].endswith("@localhost")),
        ("customer", lambda row: row["customer_email"].startswith("@")),
        ("customer", lambda row: row["customer_name"] != row["customer_name"].strip()),
        ("customer", lambda row: "  " in row["customer_name"].strip()),
        ("customer", lambda row: row["customer_id"] and row["customer_name"] == ""),
        ("product", lambda row: row["product_id"] == ""),
        ("product", lambda row: row["product_name"] != row["product_name"].strip()),
        ("product", lambda row: row["product_category_id"] == ""),
        ("product_category", lambda row: row["stock_level"] == ""),
        ("product_category", lambda row: row["stock_level"] == "0"),
        ("product_category", lambda row: row["reorder_point"] == ""),
        ("product_category", lambda row: row["cost_price"] == ""),
        ("product_category", lambda row: row["retail_price"] == ""),
        ("product_category", lambda row: row["cost_price"].startswith("-")),
        ("subscription_data", lambda row: row["monthly_fee"] == ""),
        ("subscription_data", lambda row: row["status"] == ""),
        ("subscription_data", lambda row: int(row["customer_id"]) > 999),
        ("weather_data", lambda row: row["temperature"] == ""),
        ("weather_data", lambda row: row["precipitation"] == ""),
        ("kafka_stream", lambda row: row["customer_id"] == ""),
        ("kafka_stream", lambda row: row["product_id"] == ""),
        ("kafka_stream", lambda row: row["interaction_type"] == ""),
        ("kafka_stream", lambda row: instant(row["timestamp"]) is None),
        ("kafka_stream", lambda row: row["interaction_type"] == "wishlist"),
        ("kafka_stream", lambda row: row["interaction_type"] == "review"),
        ("kafka_stream", lambda row: row["customer_id"] == f"CUST{SIZES['customers'] + 7000}"),
        ("kafka_stream", lambda row: row["product_id"] == f"PROD{SIZES['products'] + 7000}"),
    ],
)
def test_each_kind_of_dirty_value_occurs_rarely(shop: Shop, table: str, kind: Callable[[Row], bool]) -> None:
    found = sum(1 for row in shop[table] if kind(row))
    assert 0 < found <= max(3, 0.15 * len(shop[table]))


def lines_that_come_twice(shop: Shop, table: str, key: tuple[str, ...]) -> list[tuple[Row, Row]]:
    """The pairs of rows with the same key, each in the order in which they were recorded."""
    lines: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in shop[table]:
        if all(row[column] for column in key):
            lines[tuple(row[column] for column in key)].append(row)
    return [(rows[0], rows[1]) for rows in lines.values() if len(rows) > 1]


def test_two_lines_are_sent_twice_and_one_line_number_comes_twice(shop: Shop) -> None:
    pairs = lines_that_come_twice(shop, "sales_fact", ("order_id", "line_number"))
    assert all(first["created_at"] < second["created_at"] for first, second in pairs)
    corrected = [(first, second) for first, second in pairs if first["product_id"] == second["product_id"]]
    assert all(int(second["order_quantity"]) == int(first["order_quantity"]) + 1 for first, second in corrected)
    days = [[date.fromisoformat(row["created_at"][:10]) for row in pair] for pair in corrected]
    assert len(days) == 2
    assert any(later - earlier == timedelta(days=1) for earlier, later in days)
    assert len(pairs) - len(corrected) == 1


def test_one_refund_is_sent_twice(shop: Shop) -> None:
    ((first, second),) = lines_that_come_twice(shop, "refund", ("refund_id",))
    assert first["created_at"] < second["created_at"]
    assert Decimal(second["refund_amount"]) < Decimal(first["refund_amount"])


def test_some_events_are_duplicated_in_same_and_other_notation(shop: Shop) -> None:
    texts: dict[tuple[object, ...], list[str]] = {}
    for row in shop["kafka_stream"]:
        at = instant(row["timestamp"])
        if at:
            key = (row["customer_id"], row["product_id"], row["interaction_type"], at)
            texts.setdefault(key, []).append(row["timestamp"])
    doubles = [notations for notations in texts.values() if len(notations) > 1]
    assert any(len(set(notations)) == 1 for notations in doubles)
    assert any(len(set(notations)) == 2 for notations in doubles)


def test_weather_has_two_cities_with_one_missing_day_each(shop: Shop) -> None:
    days = Counter(row["city"] for row in shop["weather_data"])
    assert days == {"Berlin": DAYS - 1, "Hamburg": DAYS - 1}
    dates = {row["date"] for row in shop["weather_data"]}
    assert (min(dates), max(dates)) == (FIRST.isoformat(), (END - timedelta(days=1)).isoformat())


def test_summer_is_warmer_than_winter(tmp_path: Path) -> None:
    generate(tmp_path, **SMALL | {"days": 366})
    sums: dict[str, list[float]] = {"01": [], "07": []}
    for row in Shop(tmp_path)["weather_data"]:
        if row["date"][5:7] in sums and row["temperature"]:
            sums[row["date"][5:7]].append(float(row["temperature"]))
    january, july = (sum(values) / len(values) for values in sums.values())
    assert january < 6 < 14 < july


def test_messages_have_each_kind_that_a_csv_cannot_hold(shop: Shop) -> None:
    lines = (shop.folder / "messages.jsonl").read_text(encoding="utf-8").splitlines()
    messages = [json.loads(line) for line in lines]
    published = [message["published_at"] for message in messages]
    assert published == sorted(published)
    kinds: Counter[str] = Counter()
    for message in messages:
        if "value_base64" in message:
            kinds["bytes"] += 1
            continue
        if message["value"] is None:
            kinds["tombstone"] += 1
            continue
        try:
            value = json.loads(message["value"])
        except ValueError:
            kinds["no JSON"] += 1
            continue
        if not isinstance(value, dict):
            kinds["no object"] += 1
        elif set(value) != set(COLUMNS["kafka_stream"]):
            kinds["missing key"] += 1
        elif not isinstance(value["timestamp"], str) or instant(value["timestamp"]) is None:
            kinds["bad time"] += 1
        elif not all(isinstance(field, str) for field in value.values()):
            kinds["bad type"] += 1
        elif "\0" in value["customer_id"] or "\ud800" in value["product_id"]:
            kinds["text Postgres rejects"] += 1
        else:
            kinds["late"] += 1
    assert kinds == {
        "bytes": 1,
        "tombstone": 1,
        "no JSON": 3,
        "no object": 2,
        "missing key": 4,
        "bad time": 3,
        "bad type": 2,
        "text Postgres rejects": 2,
        "late": 3,
    }
