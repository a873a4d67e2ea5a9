"""An incremental build rebuilds only what changed, records why, and gives the result of a full refresh."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecommerce.build import lease
from ecommerce.common.connections import postgres
from ecommerce.publish.publication import publish
from tests.integration.dbt_runs import Dbt, dbt_on
from tests.integration.support import Loader, Row, checks_passed

pytestmark = pytest.mark.slow

#: Built whole by every run: their rows are few, whatever the history.
WHOLE = {
    "customer_cohorts_monthly", "customer_segments", "daily_revenue", "dim_customer", "dim_date", "dim_products",
    "fact_subscriptions", "int_category_period_sales", "int_comparable_daily_sales", "int_customer_sales",
    "int_order_reviews", "int_periods", "int_stock_spells", "int_subscription_fees", "inventory_status",
    "payment_method_preference", "product_affinity", "product_category_revenue_monthly",
    "product_revenue_payment_analysis", "repeat_purchases", "revenue_trend", "seasonal_index",
    "seasonal_sales_analysis", "subscription_customers",
    "subscription_performance_monthly", "weather_correlation", "weather_sales_impact",
}  # fmt: skip


def order(
    order_id: str,
    day: str,
    customer: str | None,
    product: str = "P1",
    created: str | None = None,
    *,
    line: int = 1,
    amount: str = "100",
    discount: str = "0.4",
    paid_by: str = "card",
    status: str = "paid",
) -> Row:
    """A line of an order."""
    return {
        "order_id": order_id, "line_number": str(line), "product_id": product, "customer_id": customer,
        "order_date": day, "order_amount": amount, "order_quantity": "1", "payment_method": paid_by,
        "discount_applied": discount, "shipping_cost": "1", "tax_amount": "19", "order_status": status,
        "created_at": f"{created or day} 10:00:00",
    }  # fmt: skip


def refund(
    refund_id: str,
    day: str,
    order_id: str | None = None,
    line: int | None = None,
    *,
    product: str | None = None,
    customer: str | None = None,
    created: str | None = None,
) -> Row:
    return {
        "refund_id": refund_id, "order_id": order_id, "line_number": str(line) if line else None, "product_id": product,
        "customer_id": customer, "refund_date": day, "refund_amount": "10", "refund_quantity": "1",
        "reason": "too small", "created_at": f"{created or day} 11:00:00",
    }  # fmt: skip


def category(product: str, cost: str, updated: str) -> Row:
    return {
        "product_id": product, "category_id": "C", "category_name": f"Category {product}", "cost_price": cost,
        "retail_price": "9", "last_updated": updated,
    }  # fmt: skip


def tables(loader: Loader) -> dict[str, set[tuple[str, str]]]:
    """Every row of core and `marts_build`, with the id of the transaction that wrote it."""
    names = loader.rows(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('core', 'marts_build')"
    )
    return {
        name: set(loader.rows(f"select to_jsonb(content)::text, xmin::text from {name} as content"))
        for (name,) in names
    }


class Warehouse:
    """A warehouse that is loaded and built in the same steps as by the DAG."""

    def __init__(self, loader: Loader, dbt: Dbt, folder: Path) -> None:
        self.loader = loader
        self.dbt = dbt
        self.compiled = folder / "compiled" / "ecommerce" / "models"

    def build(self, run_id: str, *, full_refresh: bool = False) -> None:
        """Claim, build, test and publish. Whether it is a full refresh is decided by the claim alone."""
        connection = self.loader.connection
        claim = lease.take(connection, "a_dag", run_id, project="p", full_refresh=full_refresh)
        assert claim is not None
        # Only the tests of one incremental model.
        selected = ("resource_type:seed", "resource_type:model", "fact_sales")
        self.dbt.build("--exclude-resource-type", "unit_test", "--select", *selected)
        with checks_passed(connection, run_id):
            publish(connection, run_id)

    def compiled_test(self) -> str:
        """The SQL of a test of `fact_sales`, as the last build ran it."""
        (path,) = self.compiled.glob("core/fact_sales.yml/expression_is_true_fact_sales_*.sql")
        return path.read_text()


@pytest.fixture(scope="module")
def after(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["After"]:
    folder = tmp_path_factory.mktemp("dbt")
    with postgres("warehouse") as connection, dbt_on(warehouse_dsn, folder) as dbt:
        yield After(Warehouse(Loader(connection), dbt, folder))


class After:
    """The tables after building a history, then the changes of a day, then a full refresh; tests only read it."""

    def __init__(self, place: Warehouse) -> None:
        load, self.loader = place.loader.load, place.loader
        load("sales_fact", "2023-11-01", "2024-02-10", rows=[
            order("O1", "2023-11-05", "C1"), order("O2", "2024-01-05", "C1"), order("O3", "2024-01-05", "C2"),
            order("O4", "2024-02-01", "C1"), order("O5", "2024-02-09", "C3", "P2"), order("O6", "2024-02-10", "C1"),
            # An order of two products, two months and two payment methods; a guest's; a cancelled one.
            order("L1", "2024-01-31", "C2", amount="30"), order("L1", "2024-01-31", "C2", "P2", line=2, amount="40"),
            order("L1", "2024-02-01", "C2", line=3, amount="50", created="2024-01-31"),
            order("L1", "2024-02-01", "C2", line=4, amount="60", paid_by="cash", created="2024-01-31"),
            order("G1", "2024-01-20", None), order("X1", "2024-01-21", "C1", status="Cancelled"),
        ])  # fmt: skip
        load("refund", "2023-11-01", "2024-02-10", rows=[
            refund("R1", "2024-01-25", "G1", 1), refund("R2", "2023-12-24", "O1"),
            refund("R3", "2024-02-05", "L1", 2), refund("R4", "2024-02-05", "U1", 1, product="P7", customer="C7"),
        ])  # fmt: skip
        self.customers: list[Row] = [{"customer_id": f"C{n}", "customer_name": f"Name {n}"} for n in (1, 2)]
        load("customer", "2024-02-10", rows=self.customers)
        load("product", "2024-02-10", rows=[{"product_id": p, "product_name": p} for p in ("P1", "P2")])
        load(
            "product_category",
            "2024-02-10",
            rows=[category("P1", "5", "2023-01-01"), category("P2", "5", "2023-01-01")],
        )
        place.build("history")
        self.first_test = place.compiled_test()
        self.before = tables(self.loader)

        # A new day with a late order in it, a price that reaches back to 8 February, a new name.
        load("sales_fact", "2024-02-11", rows=[
            order("O7", "2024-02-11", "C2"), order("O8", "2023-11-05", "C2", created="2024-02-11"),
            # O2 goes on in another month, and the order of R4 arrives, of another customer and product.
            order("O2", "2024-02-11", "C1", line=2), order("U1", "2024-02-11", "C2", "P2"),
        ])  # fmt: skip
        load("refund", "2024-02-11", rows=[refund("R5", "2024-02-11", "O3", 1)])
        load(
            "product_category",
            "2024-02-11",
            rows=[category("P1", "5", "2023-01-01"), category("P2", "6", "2024-02-08")],
        )
        load("customer", "2024-02-11", rows=[{"customer_id": "C1", "customer_name": "Renamed"}, self.customers[1]])
        place.build("day")
        self.day_test = place.compiled_test()
        self.incremental = tables(self.loader)

        # The source now delivers the inferred customer, and two discounts as it had not: equal, but other values.
        load("sales_fact", "2024-02-11", rows=[
            order("O7", "2024-02-11", "C2", discount="0.40"), order("O8", "2023-11-05", "C2", created="2024-02-11"),
            order("O2", "2024-02-11", "C1", line=2), order("U1", "2024-02-11", "C2", "P2", discount="0.400"),
        ])  # fmt: skip
        load("customer", "2024-02-12", rows=[
            {"customer_id": "C1", "customer_name": "Renamed"}, self.customers[1],
            {"customer_id": "C3", "customer_name": "Name 3"},
        ])  # fmt: skip
        place.build("arrival")
        self.arrived = tables(self.loader)
        place.build("whole", full_refresh=True)
        self.whole_test = place.compiled_test()
        self.whole = tables(self.loader)

    def written(self, table: str, key: Callable[[str], str] = str) -> set[str]:
        """The rows of a table that the build of the day wrote: their keys."""
        return {key(row) for row, _ in self.incremental[table] - self.before[table]}

    def rebuilt(self, run_id: str) -> dict[str, tuple]:
        return {
            model: tuple(rest)
            for model, *rest in self.loader.rows(
                "select model, period, rows_inserted, rows_deleted from ops.rebuild where run_id = %s", [run_id]
            )
        }


def column(*names: str) -> Callable[[str], str]:
    """A function from a row to the values of some columns, as one text."""
    return lambda row: " ".join(str(json.loads(row)[name]) for name in names)


def test_incremental_builds_equal_a_full_refresh(after: After) -> None:
    rows = {name: {row for row, _ in content} for name, content in after.arrived.items()}
    assert rows == {name: {row for row, _ in content} for name, content in after.whole.items()}
    # No events, subscriptions and weather were loaded, no twelve months, nobody has reviewed an order, and each key is
    # known in the end.
    assert {name for name, content in rows.items() if not content} == {
        "core.fact_customer_events", "core.fact_subscriptions", "core.fact_weather", "core.int_order_reviews",
        "core.int_subscription_fees",
        "core.int_product_pair_sales", "core.int_unknown_keys", "marts_build.conversion_funnel_daily",
        "marts_build.product_affinity", "marts_build.seasonal_index",
        "marts_build.subscription_customers", "marts_build.subscription_performance_monthly",
        "marts_build.weather_correlation", "marts_build.weather_sales_impact",
    }  # fmt: skip


def test_incremental_build_writes_only_changed_rows(after: After) -> None:
    # O5 has another cost; O6 and the other orders of the claimed days are unchanged.
    lines = after.written("core.fact_sales", column("order_id", "line_number"))
    assert lines == {"O5 1", "O7 1", "O8 1", "O2 2", "U1 1"}
    assert after.written("core.int_daily_sales", column("date_key")) == {"2023-11-05", "2024-02-09", "2024-02-11"}
    categories = after.written("core.int_category_daily_sales", column("date_key", "category_name"))
    assert categories == {
        # The categories, and their total, of days whose revenue or profit is another than before.
        "2023-11-05 Category P1", "2024-02-09 Category P2", "2024-02-11 Category P1", "2024-02-11 Category P2",
        "2023-11-05 All categories", "2024-02-09 All categories", "2024-02-11 All categories",
    }  # fmt: skip
    months = after.written("core.int_customer_monthly_sales", column("order_month", "customer_id"))
    assert months == {"2023-11-01 C2", "2024-02-01 C2", "2024-02-01 C1"}
    years = after.written("core.int_customer_yearly_sales", column("order_year", "customer_id"))
    assert years == {"2023-01-01 C2", "2024-01-01 C2", "2024-01-01 C1"}


def test_new_customer_name_reaches_orders_of_unclaimed_days(after: After) -> None:
    names = {column("order_id", "customer_name")(row) for row, _ in after.incremental["marts_build.order_for_reviews"]}
    assert {"O1 Renamed", "O2 Renamed", "O4 Renamed", "O6 Renamed", "O3 Name 2"} < names
    # O5 has another profit, and O2 another line.
    written = after.written("marts_build.order_for_reviews", column("order_id"))
    assert written == {"O1", "O2", "O4", "O5", "O6", "O7", "O8", "U1"}


def test_value_with_another_scale_is_written_again(after: After) -> None:
    rewritten = {row for row, _ in after.arrived["core.fact_sales"] - after.incremental["core.fact_sales"]}
    # As texts: for a number 0.40 is 0.4.
    discounts = {
        (column("order_id")(row), found.group(1))
        for row in rewritten
        if (found := re.search('"discount_rate": ([0-9.]+)', row))
    }
    assert discounts == {("O7", "0.40"), ("U1", "0.400")}


def test_inferred_customer_keeps_its_key_when_it_arrives(after: After) -> None:
    def lines(content: set[tuple[str, str]]) -> set[tuple[str, str]]:
        return {(row, xmin) for row, xmin in content if column("customer_id")(row) == "C3"}

    assert lines(after.arrived["core.fact_sales"]) == lines(after.incremental["core.fact_sales"]) != set()
    assert "C3 Name 3" in {column("customer_id", "customer_name")(row) for row, _ in after.arrived["core.dim_customer"]}


def test_order_of_two_months_is_counted_once(after: After) -> None:
    """In all: O1, O3 to O8, G1, U1 and, with lines in two months, O2 and L1; X1 is cancelled."""
    split = {column("order_id", "line_number")(row) for row, _ in after.incremental["core.int_split_order_sales"]}
    assert split == {"L1 1", "L1 2", "L1 3", "L1 4", "O2 1", "O2 2"}
    (card, cash) = after.loader.rows(
        "select payment_method, total_orders, min_order_value, max_order_value, order_percent"
        " from marts_build.payment_method_preference order by 1"
    )
    assert [*map(str, card)] == ["card", "11", "100.00", "200.00", "100.00"]
    assert [*map(str, cash)] == ["cash", "1", "60.00", "60.00", "9.09"]
    orders = after.loader.rows("select customer_id, total_orders from marts_build.customer_segments order by 1")
    assert orders == [("C1", 4), ("C2", 5), ("C3", 1)]


def test_guest_and_cancelled_lines_are_in_the_facts_alone(after: After) -> None:
    lines = {column("order_id", "is_guest", "is_cancelled")(row) for row, _ in after.whole["core.fact_sales"]}
    assert {"G1 True False", "X1 False True", "O1 False False"} < lines
    days = {
        column("order_date", "daily_orders", "daily_customers", "guest_orders", "guest_revenue")(row)
        for row, _ in after.whole["marts_build.daily_revenue"]
    }
    assert {"2024-01-20 1 0 1 100.0", "2024-01-21 0 0 0 0.0"} < days


def test_refund_follows_its_order_when_that_arrives(after: After) -> None:
    def refunds(content: set[tuple[str, str]]) -> set[str]:
        return {column("refund_id", "customer_id", "product_id")(row) for row, _ in content}

    rest = {"R1 None P1", "R2 C1 None", "R3 C2 P2"}
    assert refunds(after.before["core.fact_refunds"]) == rest | {"R4 C7 P7"}
    assert refunds(after.incremental["core.fact_refunds"]) == rest | {"R4 C2 P2", "R5 C2 P1"}
    # C7 is known by nothing but R4 as it was.
    for state, is_there in ((after.before, True), (after.incremental, False)):
        customers = {column("customer_id")(row) for row, _ in state["marts_build.customer_segments"]}
        assert ("C7" in customers) is is_there


def test_month_with_refunds_alone_has_a_row(after: After) -> None:
    december = {
        column("category_name", "total_revenue", "refunded_amount", "net_revenue")(row)
        for row, _ in after.whole["marts_build.product_category_revenue_monthly"]
        if column("revenue_month")(row) == "2023-12-01"
    }
    assert december == {"None 0.0 10.0 -10.0"}


def test_build_records_rows_written_per_model(after: After) -> None:
    day = after.rebuilt("day")
    assert day["fact_sales"] == ("day", 5, 1)
    assert day["fact_refunds"] == ("day", 2, 1)
    assert day["int_split_order_sales"] == ("day", 2, 0)
    assert day["int_customer_yearly_sales"] == ("year", 3, 2)
    assert day["order_for_reviews"] == ("day", 8, 5)
    assert day["conversion_funnel_daily"] == ("day", 0, 0)
    assert {model for model, (period, _, _) in day.items() if period == "all"} == WHOLE
    assert {period for period, _, _ in after.rebuilt("whole").values()} == {"all"}
    assert after.rebuilt("whole")["fact_sales"] == ("all", 16, None)


def test_rebuild_reason_names_the_dirty_dates_of_a_period(after: After) -> None:
    """Also after the publication, which deletes the dirty dates."""
    assert after.loader.value("select count(*) from ops.dirty_date") == 0

    def reasons(model: str, start: str) -> set[tuple[str, str]]:
        return set(
            after.loader.rows(
                "select source, changed_date::text from ops.rebuild_reason"
                " where run_id = 'day' and model = %s and period_start = %s",
                [model, start],
            )
        )

    assert reasons("fact_sales", "2023-11-05") == {("sales_fact", "2023-11-05")}
    assert reasons("fact_sales", "2024-02-09") == {("product_category", "2024-02-09")}
    assert reasons("int_customer_monthly_sales", "2024-02-01") >= {
        ("product_category", "2024-02-09"), ("product_category", "2024-02-11"), ("sales_fact", "2024-02-11"),
    }  # fmt: skip
    assert reasons("int_customer_yearly_sales", "2023-01-01") == {("sales_fact", "2023-11-05")}
    # The order of 5 January got a line in February.
    assert reasons("fact_sales", "2024-01-05") == {("sales_fact", "2024-01-05")}
    assert reasons("fact_sales", "2024-02-01") == set()


def test_data_tests_read_only_claimed_periods_except_in_a_full_refresh(after: After) -> None:
    assert "claimed_by is not null" in after.first_test
    assert "claimed_by is not null" in after.day_test
    assert "claimed_by" not in after.whole_test
