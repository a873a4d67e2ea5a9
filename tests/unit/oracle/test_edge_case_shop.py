"""The edge-case shop: always the same bytes, few invalid rows, and each edge case visible in the marts."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.oracle.compute import MARTS, compute
from tests.oracle.edge_case_shop import COLUMNS, FIRST, LAST, WINDOWS, write_edge_case_shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edge_case_shop")
    assert write_edge_case_shop(path) == (FIRST, LAST)
    return path


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with compute(folder, FIRST, LAST) as connection:
        yield connection


@pytest.fixture(scope="module")
def covered_oracle(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same shop, covered since before its first order."""
    first, last = WINDOWS["covered since a year before"]
    with compute(folder, first, last) as connection:
        yield connection


def one(oracle: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    [row] = oracle.execute(query).fetchall()
    return row


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / f"{name}.csv").read_bytes()).hexdigest() for name in COLUMNS}


def test_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_edge_case_shop(tmp_path / "same")
    write_edge_case_shop(tmp_path / "other", seed=2)
    assert digests(tmp_path / "same") == digests(folder)
    assert digests(tmp_path / "other")["sales_fact"] != digests(folder)["sales_fact"]


def test_less_than_one_row_in_a_hundred_is_invalid(oracle: duckdb.DuckDBPyConnection) -> None:
    for source, valid_rows in {
        "sales_fact": "shop.loaded_line",
        "refund": "shop.loaded_refund",
        "product": "shop.product_name",
        "product_category": "shop.product_category",
        "customer": "(select * from shop.current_customer where customer_id <= 'CUST059' or customer_id = 'CUST1000')",
        "subscription_data": "shop.subscription",
    }.items():
        is_recorded = source in ("sales_fact", "refund")
        in_window = "where created_at between '2023-11-27' and '2024-02-03'" if is_recorded else ""
        (read, loaded) = one(
            oracle,
            f"select (select count(*) from source.{source} {in_window}), (select count(*) from {valid_rows})",
        )
        assert 0 <= read - loaded < read / 100, source


#: Of the 68 days no twelve months: see test_season_shop.py.
EMPTY = {"seasonal_index"}


@pytest.mark.parametrize("mart", sorted(MARTS.keys() - EMPTY))
def test_key_of_a_mart_is_unique(oracle: duckdb.DuckDBPyConnection, mart: str) -> None:
    keys = ", ".join(MARTS[mart].key)
    rows, distinct = one(oracle, f"select count(*), count(distinct ({keys})) from marts.{mart}")
    assert rows == distinct != 0


def test_mart_of_twelve_months_is_empty(oracle: duckdb.DuckDBPyConnection) -> None:
    assert one(oracle, "select count(*) from marts.seasonal_index") == (0,)


def test_marts_agree_on_shared_totals(oracle: duckdb.DuckDBPyConnection) -> None:
    assert {
        one(oracle, f"select sum({column})::varchar from marts.{mart}")
        for mart, column in (
            ("product_category_revenue_monthly", "total_revenue"),
            ("product_revenue_payment_analysis", "revenue"),
            ("payment_method_preference", "total_revenue"),
            ("seasonal_sales_analysis", "monthly_revenue"),
            ("product_performance_monthly", "revenue"),
            ("order_profitability_monthly", "revenue"),
        )
    } == {one(oracle, "select sum(order_amount)::varchar from shop.counted_line")}
    assert one(
        oracle,
        "select sum(daily_revenue) from marts.daily_revenue",
    ) == one(
        oracle,
        f"select sum(order_amount) from shop.counted_line where order_date <= date '{LAST}'",
    )
    assert one(
        oracle,
        "select sum(revenue), sum(active_customers) filter (months_since_first = 0)"
        " from marts.customer_cohorts_monthly",
    ) == one(
        oracle,
        "select sum(lifetime_revenue), count(*) from marts.customer_segments where rfm_segment <> 'No Orders'",
    )


def test_guests_and_customers_make_the_whole(oracle: duckdb.DuckDBPyConnection) -> None:
    assert one(
        oracle,
        """
        select
            (select sum(lifetime_revenue) from marts.customer_segments)
            + (select sum(order_amount) from shop.counted_line where customer_id is null)
        """,
    ) == one(oracle, "select sum(order_amount) from shop.counted_line")
    wrong_days = """
        select count(*) from marts.daily_revenue
        where guest_revenue + new_customer_revenue + returning_customer_revenue <> daily_revenue
    """
    assert one(oracle, wrong_days) == (0,)


@pytest.mark.parametrize(
    ("mart", "revenue", "is_in_it"),
    [
        ("product_category_revenue_monthly", "total_revenue", "true"),
        ("product_performance_monthly", "revenue", "product_id is not null"),
        ("customer_segments", "lifetime_revenue", "customer_id is not null"),
        (
            "daily_revenue",
            "daily_revenue",
            "refund_date between (select min(order_date) from shop.counted_line) and getvariable('as_of_date')",
        ),
    ],
)
def test_net_is_gross_less_each_refund_once(
    oracle: duckdb.DuckDBPyConnection, mart: str, revenue: str, is_in_it: str
) -> None:
    net = "lifetime_value" if mart == "customer_segments" else "net_revenue"
    refunded, wrong_rows = one(
        oracle,
        f"select sum(refunded_amount), count(*) filter ({net} <> {revenue} - refunded_amount) from marts.{mart}",
    )
    assert wrong_rows == 0
    assert (refunded,) == one(oracle, f"select sum(refund_amount) from shop.refund where {is_in_it}")


@pytest.mark.parametrize(
    ("mart", "orders", "group"),
    [
        ("daily_revenue", "daily_orders", "order_date"),
        ("payment_method_preference", "total_orders", "payment_method"),
        ("product_category_revenue_monthly", "order_count", "order_month, category_name, subcategory"),
        ("seasonal_sales_analysis", "monthly_orders", "order_month, category_name"),
    ],
)
def test_order_counts_once_in_each_group(oracle: duckdb.DuckDBPyConnection, mart: str, orders: str, group: str) -> None:
    """So the groups' counts are more than there are orders, and fewer than there are lines."""
    of_days = f"where order_date <= date '{LAST}'" if mart == "daily_revenue" else ""
    [total] = one(oracle, f"select sum({orders}) from marts.{mart}")
    [expected] = one(oracle, f"select count(distinct (order_id, {group})) from shop.counted_line {of_days}")
    distinct, lines = one(oracle, f"select count(distinct order_id), count(*) from shop.counted_line {of_days}")
    assert distinct < total == expected < lines


def test_new_customers_per_day_add_up_to_cohorts(oracle: duckdb.DuckDBPyConnection) -> None:
    """Except for the customer whose first order has a future date."""
    cohorts = "select cohort_month, any_value(cohort_customers) from marts.customer_cohorts_monthly group by all"
    by_day = """
        select date_trunc('month', order_date)::date as cohort_month, sum(new_customers)
        from marts.daily_revenue
        group by all
        having sum(new_customers) > 0
    """
    of_days = dict(oracle.execute(by_day).fetchall())
    of_days[LAST.replace(day=1)] += 1
    assert of_days == dict(oracle.execute(cohorts).fetchall())


def test_opening_and_movements_make_closing_and_next_opening(
    oracle: duckdb.DuckDBPyConnection,
) -> None:
    assert one(
        oracle,
        """
        select
            count(*) filter (
                where opening_mrr + new_mrr + reactivated_mrr + expansion_mrr - contraction_mrr - churned_mrr
                <> closing_mrr
            ),
            count(*) filter (where previous_closing_mrr <> opening_mrr),
        from (
            select
                *,
                lag(closing_mrr) over (partition by plan_type order by revenue_month) as previous_closing_mrr,
            from marts.subscription_performance_monthly
        )
        """,
    ) == (0, 0)


@pytest.mark.parametrize(
    ("mart", "case"),
    [
        ("daily_revenue", "daily_orders = 0 and previous_day_revenue = 0"),
        ("daily_revenue", "daily_orders > 0 and daily_gross_profit is null"),
        ("daily_revenue", "known_cost_percent = 0 and gross_margin_percent is null"),
        ("daily_revenue", "known_cost_percent > 0 and known_cost_percent < 100 and gross_margin_percent is not null"),
        ("daily_revenue", "daily_orders = 0 and refunded_amount > 0 and net_revenue < 0"),
        ("daily_revenue", "guest_orders > 0 and daily_customers = 0 and guest_revenue = daily_revenue"),
        ("daily_revenue", "guest_orders > 1 and guest_orders < daily_orders"),
        ("daily_revenue", "order_date = '2023-11-29' and same_day_last_year_revenue is null"),
        ("daily_revenue", "new_customer_revenue > 0 and returning_customer_revenue > 0"),
        ("daily_revenue", "new_customer_revenue > 0 and returning_customer_revenue = 0"),
        ("daily_revenue", "new_customer_revenue = 0 and returning_customer_revenue > 0"),
        ("customer_segments", "lifetime_value = 1000"),
        ("customer_segments", "lifetime_value = 500 and customer_tier = 'Medium Value'"),
        ("customer_segments", "total_orders = 0"),
        ("customer_segments", "total_orders = 0 and lifetime_value < 0"),
        ("customer_segments", "lifetime_revenue = 500 and customer_tier = 'Low Value'"),
        ("customer_segments", "total_orders > 0 and lifetime_value < 0"),
        ("customer_segments", "total_orders = 1 and customer_lifetime_days > 0"),
        ("customer_segments", "total_orders > 0 and orders_per_30_days is null"),
        ("customer_segments", "customer_id = 'CUST905' and total_orders = 0"),
        ("customer_segments", "total_orders > 1 and customer_lifetime_days = 0"),
        ("customer_segments", "orders_per_30_days = 4.38 and total_orders = 7"),
        ("customer_segments", "days_since_last_order < 0"),
        ("customer_segments", "rfm_segment = 'Champions'"),
        ("customer_segments", "rfm_segment = 'Cannot Lose'"),
        ("customer_segments", "frequency_score + monetary_score = 5"),
        ("customer_cohorts_monthly", "active_customers = 0"),
        ("customer_cohorts_monthly", "months_since_first > 12 and active_customers > 0"),
        ("customer_cohorts_monthly", "active_customers between 1 and cohort_customers - 1"),
        ("revenue_trend", "category_name = 'All categories (category)' and revenue > 0"),
        ("subscription_performance_monthly", "plan_type is null"),
        ("subscription_performance_monthly", "plan_type = 'All plans (plan)'"),
        ("subscription_performance_monthly", "plan_type = 'All plans' and is_complete"),
        ("subscription_performance_monthly", "reactivated_mrr > 0 and new_mrr > 0"),
        ("subscription_performance_monthly", "gross_retention_percent < 100 and not is_complete"),
        ("subscription_customers", "active_subscriptions > 1 and plan_type is not null"),
        ("subscription_customers", "subscription_status = 'cancelled' and monthly_fee > 0"),
        ("subscription_customers", "lifetime_fees = 0 and months_active = 0"),
        ("subscription_performance_monthly", "churn_percent = 12.5"),
        ("subscription_performance_monthly", "churned_subscriptions > 0 and churn_percent is null"),
        ("conversion_funnel_daily", "views + add_to_carts + purchases = 0"),
        ("conversion_funnel_daily", "view_to_cart_percent = 3.13"),
        ("conversion_funnel_daily", "viewers = 0 and carters > 0"),
        ("order_profitability_monthly", "category_name is null"),
        ("order_profitability_monthly", "discount_band = 'to 30 %' and loss_orders = 0"),
        ("order_profitability_monthly", "list_amount - discount_amount < revenue"),
        ("order_profitability_monthly", "shipping_band = 'over 10 %' and loss_orders > 0 and loss_orders < orders"),
        ("order_profitability_monthly", "known_cost_percent = 0 and gross_profit is null"),
        ("order_profitability_monthly", "known_cost_percent > 0 and known_cost_percent < 100"),
        ("margin_bridge_monthly", "previous_contribution is null and contribution <> 0"),
        ("margin_bridge_monthly", "not is_complete and mix_effect <> 0 and shipping_effect <> 0"),
        ("margin_bridge_monthly", "is_complete and discount_effect <> 0 and list_price_effect <> 0"),
        ("margin_bridge_monthly", "known_cost_percent < previous_known_cost_percent"),
        ("order_for_reviews", "review_priority = 'High'"),
        ("order_for_reviews", "discount_percent = 30.00"),
        ("order_for_reviews", "discount_percent is null"),
        ("order_for_reviews", "is_high_discount and discount_percent < 30"),
        ("order_for_reviews", "customer_id is null"),
        ("order_for_reviews", "gross_profit is not null and contribution_amount < 0"),
        ("order_for_reviews", "shipping_percent = 10.02"),
        ("inventory_status", "days_of_stock = 0.5"),
        ("inventory_status", "stock_level is null and product_name is not null"),
        ("inventory_status", "days_since_launch < 0"),
        ("inventory_status", "stock_level < 0 and stock_value = 0 and days_of_stock = 0"),
        ("inventory_status", "inventory_status = 'Unknown' and product_status = 'Unknown' and stock_value is null"),
        ("inventory_status", "supplier_id is null and brand is not null"),
        ("product_category_revenue_monthly", "gross_margin_percent = -10.13"),
        ("product_category_revenue_monthly", "category_name is null"),
        ("product_category_revenue_monthly", "category_name is null and refunded_amount > 0"),
        ("product_category_revenue_monthly", "total_revenue = 0 and refunded_amount > 0"),
        ("product_category_revenue_monthly", "known_cost_percent = 0 and gross_margin_percent is null"),
        ("product_category_revenue_monthly", "known_cost_percent > 0 and known_cost_percent < 100"),
        ("product_category_revenue_monthly", "category_name is not null and subcategory is null"),
        ("product_revenue_payment_analysis", "payment_method_percent = 4.13"),
        ("product_performance_monthly", "category_name is null"),
        ("product_performance_monthly", "gross_profit is null"),
        ("product_performance_monthly", "revenue = 0 and refunded_amount > 0"),
        ("product_performance_monthly", "contribution_amount < gross_profit"),
        ("product_performance_monthly", "previous_month_revenue = 0"),
        ("product_performance_monthly", "mom_growth_percent = 200.13"),
        ("product_performance_monthly", "category_rank > 1"),
        ("payment_method_preference", "payment_method = 'unknown'"),
        ("product_performance_monthly", "not is_complete and category_rank is null and order_count > 0"),
        ("product_performance_monthly", "not is_complete and mom_growth_percent is not null"),
        ("revenue_trend", "not is_complete and growth_percent is not null and run_rate is not null"),
        ("revenue_trend", "days_elapsed > 0 and not is_complete and period_start < '2023-12-01' and grain = 'month'"),
        ("revenue_trend", "category_name is null and revenue = 0 and refunded_amount > 0"),
        ("revenue_trend", "category_name is null and customers > 0 and customers < orders"),
        ("revenue_trend", "orders > 0 and gross_profit is null"),
        ("revenue_trend", "category_name = 'Only Running' and revenue = 10 and previous_period_revenue = 0"),
        ("seasonal_sales_analysis", "coefficient_of_variation_percent is null"),
        ("seasonal_sales_analysis", "previous_quarter_revenue = 0"),
        ("seasonal_sales_analysis", "mom_growth_percent = 200.13"),
        ("seasonal_sales_analysis", "performance_category = 'Incomplete' and days_elapsed between 1 and 27"),
        ("seasonal_sales_analysis", "performance_category = 'Incomplete' and days_elapsed = 0"),
        ("seasonal_sales_analysis", "category_name = 'Only Running' and monthly_revenue = 15"),
        ("weather_sales_impact", "avg_daily_revenue = 0"),
        ("weather_sales_impact", "revenue_index > 110"),
        ("weather_correlation", "factor = 'precipitation' and correlation is null and days >= 30"),
        ("weather_correlation", "is_significant is not null"),
    ],
)
def test_edge_case_occurs_in_mart(oracle: duckdb.DuckDBPyConnection, mart: str, case: str) -> None:
    (rows,) = one(oracle, f"select count(*) from marts.{mart} where {case}")
    assert rows != 0


@pytest.mark.parametrize(
    ("mart", "case"),
    [
        ("seasonal_sales_analysis", "coefficient_of_variation_percent = 0"),
        ("seasonal_sales_analysis", "percent_of_average = 100 and performance_category = 'Below Average'"),
        ("seasonal_sales_analysis", "performance_category = 'Above Average'"),
        ("seasonal_sales_analysis", "previous_quarter_revenue = 0 and qoq_growth_percent is null and is_complete"),
        ("seasonal_sales_analysis", "not is_complete and qoq_growth_percent is not null"),
        ("seasonal_sales_analysis", "category_name = 'Tied' and performance_category = 'Best Month'"),
        ("revenue_trend", "grain = 'week' and year_over_year_percent is not null"),
        ("revenue_trend", "grain = 'year' and not is_complete and growth_percent = year_over_year_percent"),
        ("revenue_trend", "grain = 'quarter' and last_year_revenue = 0 and revenue > 0"),
    ],
)
def test_edge_case_occurs_in_mart_of_a_covered_year(covered_oracle: duckdb.DuckDBPyConnection, mart: str, case: str):
    (rows,) = one(covered_oracle, f"select count(*) from marts.{mart} where {case}")
    assert rows != 0
