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

from include.demo.shop.generate import SMALLEST, generate
from include.demo.shop.shop_folder import COLUMNS

Row = dict[str, str]
SMALL: dict[str, Any] = {**SMALLEST}
FIRST, DAYS = date(2024, 1, 1), 60
END = FIRST + timedelta(days=DAYS)
SIZES: dict[str, Any] = {"days": DAYS, "orders": 2000, "customers": 300, "products": 80, "events": 9000}


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


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    generate(folder, first=FIRST, **SIZES)
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
    assert digest(tmp_path) == "40866b6de18f87a07eb3e7f126b4c6d5c79094d39093cc93d2c0292673044fd3"


def test_default_shop_has_full_size(tmp_path: Path) -> None:
    generate(tmp_path)
    shop = Shop(tmp_path)
    counts = {table: len(rows) for table, rows in shop.tables.items()}
    assert counts == {
        "kafka_stream": 110_045,
        "product": 320,
        "product_category": 319,
        "sales_fact": 24_002,
        "customer": 2_394,
        "subscription_data": 930,
        "weather_data": 358,
    }
    # Every tier of customers is populated.
    value: defaultdict[str, float] = defaultdict(float)
    for row in shop["sales_fact"]:
        value[row["customer_id"]] += float(row["order_amount"] or 0)
    tiers = Counter(
        "high" if value[row["customer_id"]] >= 1000 else "medium" if value[row["customer_id"]] >= 500 else "low"
        for row in shop["customer"]
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
    assert len(Shop(tmp_path)["sales_fact"]) == SMALLEST["orders"] + 2


def test_tables_have_requested_sizes_and_columns(shop: Shop) -> None:
    for table, columns in COLUMNS.items():
        assert list(shop[table][0]) == list(columns)
    assert len(shop["sales_fact"]) == SIZES["orders"] + 2
    assert SIZES["events"] < len(shop["kafka_stream"]) < SIZES["events"] * 1.01
    assert sorted(shop.opening) == ["customer", "product", "product_category", "subscription_data"]


# Consistency


def test_orders_are_within_the_days(shop: Shop) -> None:
    lags = Counter[int]()
    recorded = [datetime.fromisoformat(row["created_at"]) for row in shop["sales_fact"]]
    assert recorded == sorted(recorded)
    for row, at in zip(shop["sales_fact"], recorded, strict=True):
        day = date.fromisoformat(row["order_date"])
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
        if product is None:
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


def test_two_orders_are_sent_twice(shop: Shop) -> None:
    times: dict[str, list[str]] = {}
    for row in shop["sales_fact"]:
        if row["order_id"]:
            times.setdefault(row["order_id"], []).append(row["created_at"])
    doubles = [[date.fromisoformat(at[:10]) for at in twice] for twice in times.values() if len(twice) > 1]
    assert len(doubles) == 2
    assert any(later - earlier == timedelta(days=1) for earlier, later in doubles)


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
