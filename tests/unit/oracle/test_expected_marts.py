"""
The expected marts of a few rows, with results computed by hand.

The window is 2024-01-01 … 2024-03-31; columns that a row does not set have the values of `conftest.DEFAULTS`.
"""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.oracle.compute import ShopFileError, TimeZones, compute

# Half a second a test.
pytestmark = pytest.mark.slow


def test_orders_count_once_if_recorded_in_window_with_positive_amount(shop) -> None:
    query = shop(
        sales_fact=[
            {"created_at": "2024-01-01 00:00:00", "order_date": "2023-06-30", "order_amount": "1"},
            {"created_at": "2024-03-31 23:59:59.999999", "order_amount": "2"},
            {"created_at": "2023-12-31 23:59:59.999999", "order_amount": "4"},
            {"created_at": "2024-04-01 00:00:00", "order_amount": "8"},
            {"order_id": "TWICE", "created_at": "2024-02-01 00:00:00", "order_amount": "16"},
            {"order_id": "TWICE", "created_at": "2024-02-01 00:00:01", "order_amount": "32"},
            {"order_id": "TWICE", "created_at": "2024-04-01 00:00:01", "order_amount": "64"},
            {"order_amount": "0"},
            {"order_amount": "0.004"},
            {"order_amount": "0.005"},
        ]
    )
    assert query("select order_id, order_amount from shop.counted_line order by order_amount") == [
        ("O10", "0.01"), ("O1", "1.00"), ("O2", "2.00"), ("TWICE", "32.00"),
    ]  # fmt: skip


def test_rows_of_the_shops_days_are_recorded_in_window(shop) -> None:
    """Berlin is an hour ahead of UTC, and two at the end of the window; Kolkata is five and a half."""
    rows = [
        {"created_at": "2023-12-31 23:00:00+00"},
        {"created_at": "2023-12-31 22:59:59.999999+00"},
        {"created_at": "2024-03-31 21:59:59.999999+00"},
        {"created_at": "2024-03-31 22:00:00+00"},
        {"created_at": "2024-01-01 04:30:00"},
        {"created_at": "2024-01-01 04:29:59"},
        {"created_at": "2024-04-01 03:29:59"},
        {"created_at": "2024-04-01 03:30:00"},
    ]
    query = shop(sales_fact=rows, refund=rows, zones=TimeZones(shop="Europe/Berlin", source="Asia/Kolkata"))
    assert query("select order_id from shop.loaded_line order by 1") == [("O1",), ("O3",), ("O5",), ("O7",)]
    assert query("select refund_id from shop.loaded_refund order by 1") == [("R1",), ("R3",), ("R5",), ("R7",)]


@pytest.mark.parametrize(
    "invalid",
    [
        {"order_amount": ""}, {"order_amount": "-0.01"}, {"order_amount": "NaN"}, {"order_amount": "1e16"},
        {"order_quantity": "-1"}, {"order_quantity": "1.5"}, {"discount_applied": "1.01"},
        {"discount_applied": "-0.01"}, {"shipping_cost": "-0.01"}, {"order_id": ""}, {"product_id": "  "},
        {"created_at": ""}, {"order_date": "", "created_at": "2024-01-10"},
        {"order_date": "2024-02-30", "created_at": "2024-01-10"},
        {"order_date": "1969-12-31", "created_at": "2024-01-10"},
        {"order_date": "2070-01-01", "created_at": "2024-01-10"}, {"line_number": "-1"}, {"line_number": "1.5"},
        {"tax_amount": "-0.01"}, {"tax_amount": "x"},
    ],
)  # fmt: skip
def test_invalid_orders_do_not_count_and_infer_no_customer(shop, invalid: dict[str, str]) -> None:
    query = shop(sales_fact=[{"customer_id": "CUST999"} | invalid])
    assert query("select count(*) from shop.loaded_line") == [("0",)]
    assert query("select customer_id from marts.customer_segments") == [("CUST001",)]


@pytest.mark.parametrize(
    ("file", "table", "invalid"),
    [
        ("kafka_stream", "event", {"customer_id": ""}),
        ("kafka_stream", "event", {"product_id": " "}),
        ("kafka_stream", "event", {"interaction_type": ""}),
        ("kafka_stream", "event", {"timestamp": "soon"}),
        ("kafka_stream", "event", {"timestamp": "2023-12-31T23:59:59.999"}),
        ("kafka_stream", "event", {"timestamp": "2024-04-01T00:00:00"}),
        ("weather_data", "weather", {"city": ""}),
        ("weather_data", "weather", {"date": "2023-12-31"}),
        ("weather_data", "weather", {"date": "2024-04-01"}),
        ("weather_data", "weather", {"temperature": "mild"}),
        ("weather_data", "weather", {"precipitation": "NaN"}),
        ("weather_data", "weather", {"precipitation": "-0.1"}),
        ("refund", "refund", {"refund_id": " "}),
        ("refund", "refund", {"refund_date": "", "created_at": "2024-01-10"}),
        ("refund", "refund", {"refund_date": "1969-12-31", "created_at": "2024-01-10"}),
        ("refund", "refund", {"refund_amount": ""}),
        ("refund", "refund", {"refund_amount": "0"}),
        ("refund", "refund", {"refund_amount": "0.004"}),
        ("refund", "refund", {"refund_amount": "-1"}),
        ("refund", "refund", {"line_number": "-1"}),
        ("refund", "refund", {"refund_quantity": "1.5"}),
        ("refund", "refund", {"refund_quantity": "-1"}),
        ("refund", "refund", {"created_at": ""}),
        ("refund", "refund", {"created_at": "2023-12-31 23:59:59.999999"}),
        ("refund", "refund", {"created_at": "2024-04-01"}),
        ("product", "product_name", {"product_id": ""}),
        ("product", "product_name", {"product_name": "  "}),
        *(
            ("product_category", "product_category", invalid)
            for invalid in (
                {"product_id": ""}, {"category_id": ""}, {"category_name": " "}, {"cost_price": "-0.01"},
                {"cost_price": "1e16"}, {"retail_price": "-1"}, {"retail_price": "NaN"}, {"margin_percent": "x"},
                {"stock_level": "1.5"}, {"reorder_point": "x"}, {"discontinued": "perhaps"},
                {"launch_date": "2024-02-30"}, {"launch_date": "1969-12-31"}, {"last_updated": "x"},
                {"last_updated": "2070-01-01"},
            )
        ),
        *(
            ("subscription_data", "subscription", invalid)
            for invalid in (
                {"customer_id": ""}, {"customer_id": "-1"}, {"subscription_id": ""},
                {"subscription_start_date": ""}, {"subscription_start_date": "1969-12-31"},
                {"subscription_end_date": "2024-02-30"}, {"monthly_fee": "-0.01"}, {"monthly_fee": "x"},
            )
        ),
    ],
)  # fmt: skip
def test_invalid_rows_of_other_sources_do_not_count(shop, file: str, table: str, invalid: dict[str, str]) -> None:
    # Keys count up, so the invalid row has another key than the first.
    query = shop(**{file: [{}, invalid]})
    assert query(f"select count(*) from shop.{table}") == [("1",)]


@pytest.mark.parametrize(
    ("file", "table", "row"),
    [
        ("kafka_stream", "event", {"timestamp": "2024-01-01T00:00:00"}),
        ("kafka_stream", "event", {"timestamp": "2024-03-31T23:59:59.999999"}),
        ("weather_data", "weather", {"date": "2024-01-01", "precipitation": ""}),
        ("weather_data", "weather", {"date": "2024-03-31", "temperature": "-40"}),
        ("product_category", "product_category", {"cost_price": "0", "retail_price": "0", "margin_percent": "-5"}),
        ("subscription_data", "subscription", {"monthly_fee": "0", "subscription_end_date": "2023-01-01"}),
        ("subscription_data", "subscription", {"customer_id": "CUST001"}),
        ("sales_fact", "loaded_line", {"order_amount": "0", "discount_applied": "1", "order_quantity": "0"}),
        ("sales_fact", "loaded_line", {"line_number": "0", "tax_amount": "0", "customer_id": "", "order_status": ""}),
        ("sales_fact", "loaded_line", {"order_date": "1970-01-01", "created_at": "2024-01-10"}),
        ("sales_fact", "loaded_line", {"order_date": "2069-12-31", "created_at": "2024-01-10"}),
        ("refund", "refund", {"refund_amount": "0.005", "line_number": "0", "refund_quantity": "0"}),
        ("refund", "refund", {"created_at": "2024-03-31 23:59:59.999999"}),
    ],
)
def test_rows_at_the_limit_count(shop, file: str, table: str, row: dict[str, str]) -> None:
    assert shop(**{file: [row]})(f"select count(*) from shop.{table}") == [("1",)]


def test_product_category_revenue_monthly_has_expected_rows(shop) -> None:
    query = shop(
        product_category=[
            {"cost_price": "4.00"},
            {"category_name": " Garden ", "subcategory": "  ", "cost_price": ""},
        ],
        sales_fact=[
            {"order_date": "2024-01-01", "order_amount": "10.00", "order_quantity": "2"},
            {"order_date": "2024-01-31", "order_amount": "6.01", "order_quantity": "0"},
            {"order_date": "2024-02-01", "order_amount": "3.20", "order_quantity": ""},
            {"order_date": "2024-02-29", "product_id": "P2"},
            {"order_date": "2024-02-28", "product_id": "UNKNOWN", "order_quantity": "3"},
        ],
    )
    # January: 16.01 - (2 + 1) x 4.00 = 4.01, 25.0468… %. February: 3.20 - 4.00 = -0.80, -25 %.
    assert query("from marts.product_category_revenue_monthly order by all nulls last") == [
        ("2024-01-01", "Garden", "Tools", "16.01", "0.00", "16.01", "4.01", "25.05", "100.00", "2", "3", True),
        ("2024-02-01", "Garden", "Tools", "3.20", "0.00", "3.20", "-0.80", "-25.00", "100.00", "1", "1", True),
        ("2024-02-01", "Garden", None, "10.00", "0.00", "10.00", None, None, "0.00", "1", "1", True),
        ("2024-02-01", None, None, "10.00", "0.00", "10.00", None, None, "0.00", "1", "3", True),
    ]


def test_product_category_revenue_monthly_has_lines_and_refunds_of_its_category(shop) -> None:
    query = shop(
        product_category=[{}, {"cost_price": ""}, {"category_name": "Kitchen", "subcategory": "Knives"}],
        sales_fact=[
            {"order_id": "O1", "line_number": "1", "order_amount": "10.00"},
            {"order_id": "O1", "line_number": "2", "order_amount": "6.00", "order_quantity": "2", "product_id": "P2"},
            {"order_id": "O1", "line_number": "3", "order_amount": "5.00", "product_id": "P3"},
            {"order_id": "O1", "line_number": "4", "order_amount": "8.00", "order_date": "2024-02-01"},
            {"order_id": "O1", "line_number": "5", "order_amount": "0", "order_quantity": "7"},
            {"order_id": "O2", "order_status": "Cancelled", "order_amount": "100.00"},
        ],
        refund=[
            {"order_id": "O1", "line_number": "1", "refund_date": "2024-02-05", "refund_amount": "3.00"},
            {"order_id": "O1", "line_number": "3", "refund_date": "2024-03-01", "refund_amount": "9.00"},
            {"order_id": "O9", "refund_date": "2024-02-10", "refund_amount": "1.00"},
            {"order_id": "O2", "line_number": "1", "refund_date": "2024-01-31", "refund_amount": "2.00"},
            {"product_id": "P9", "refund_date": "2024-03-02", "refund_amount": "0.50"},
            {"order_id": "O1", "product_id": "P3", "refund_date": "2024-03-03", "refund_amount": "0.25"},
        ],
    )
    # January's Garden: the cost of 6.00 is unknown, so the margin is 6.00 of 10.00, and 10 of 16 is 62.5 %.
    assert query("from marts.product_category_revenue_monthly order by all nulls last") == [
        ("2024-01-01", "Garden", "Tools", "16.00", "2.00", "14.00", "6.00", "60.00", "62.50", "1", "3", True),
        ("2024-01-01", "Kitchen", "Knives", "5.00", "0.00", "5.00", "1.00", "20.00", "100.00", "1", "1", True),
        ("2024-02-01", "Garden", "Tools", "8.00", "3.00", "5.00", "4.00", "50.00", "100.00", "1", "1", True),
        ("2024-02-01", None, None, "0.00", "1.00", "-1.00", "0.00", None, None, "0", "0", True),
        ("2024-03-01", "Kitchen", "Knives", "0.00", "9.25", "-9.25", "0.00", None, None, "0", "0", True),
        ("2024-03-01", None, None, "0.00", "0.50", "-0.50", "0.00", None, None, "0", "0", True),
    ]


@pytest.mark.parametrize(
    ("refund", "product_id", "customer_id"),
    [
        # The line's, whatever the refund says itself.
        ({"order_id": "O1", "line_number": "1", "product_id": "P9", "customer_id": "CUST009"}, "P1", "CUST001"),
        ({"order_id": " O1 ", "line_number": " 1 "}, "P1", "CUST001"),
        ({"order_id": "O1", "line_number": "2", "customer_id": "CUST009"}, "P2", None),
        ({"order_id": "O2", "line_number": "5"}, "P4", "CUST002"),
        ({"order_id": "O3", "line_number": "1"}, "P5", "CUST005"),
        # No such line: the customer of the order's lowest line, who may be a guest, and the refund's product.
        ({"order_id": "O1", "product_id": "P9", "customer_id": "CUST009"}, "P9", "CUST001"),
        ({"order_id": "O1", "line_number": "3"}, None, "CUST001"),
        ({"order_id": "O2", "product_id": "P9", "customer_id": "CUST009"}, "P9", None),
        # No such order.
        ({"order_id": "O9", "line_number": "1", "product_id": "P9", "customer_id": "CUST009"}, "P9", "CUST009"),
        ({"product_id": " P9 ", "customer_id": " CUST009 "}, "P9", "CUST009"),
        ({"line_number": "1", "product_id": " ", "customer_id": " "}, None, None),
    ],
)
def test_refund_belongs_to_product_and_customer_of_its_line(
    shop, refund: dict[str, str], product_id: str | None, customer_id: str | None
) -> None:
    query = shop(
        sales_fact=[
            {"order_id": "O1", "line_number": "1"},
            {"order_id": "O1", "line_number": "2", "product_id": "P2", "customer_id": ""},
            {"order_id": "O2", "line_number": "5", "product_id": "P4", "customer_id": "CUST002"},
            {"order_id": "O2", "line_number": "1", "product_id": "P3", "customer_id": ""},
            {"order_id": "O3", "product_id": "P5", "customer_id": "CUST005", "order_status": "failed"},
        ],
        refund=[refund],
    )
    assert query("select product_id, customer_id from shop.refund") == [(product_id, customer_id)]


def test_last_recorded_row_of_a_line_or_refund_counts(shop) -> None:
    query = shop(
        sales_fact=[
            {"order_id": "O1", "order_amount": "1", "created_at": "2024-01-10 08:00:00"},
            {"order_id": "O1", "line_number": "1", "order_amount": "2", "created_at": "2024-01-10 09:00:00"},
            {"order_id": "O1", "line_number": " 2", "order_amount": "4"},
            {"order_id": " O1", "line_number": "02", "order_amount": "8", "created_at": "2024-01-09"},
            {"order_id": "O1", "line_number": "1", "order_amount": "16", "created_at": "2024-04-01"},
        ],
        refund=[
            {"refund_id": "R1", "refund_amount": "1", "created_at": "2024-02-02"},
            {"refund_id": "R1 ", "refund_amount": "2", "created_at": "2024-02-01"},
        ],
    )
    assert query("select order_id, line_number, order_amount from shop.counted_line order by 2") == [
        ("O1", "1", "2.00"),
        ("O1", "2", "4.00"),
    ]
    assert query("select refund_id, refund_amount from shop.refund") == [("R1", "1.00")]


@pytest.mark.parametrize(
    ("status", "is_counted"),
    [
        *((status, False) for status in ("cancelled", "canceled", "voided", "failed", "CANCELLED", " Canceled ")),
        ("FaiLed", False),
        *((status, True) for status in ("", "  ", "completed", "cancel", "not cancelled", "refunded", "pending")),
    ],
)
def test_cancelled_line_is_in_no_mart(shop, status: str, is_counted: bool) -> None:
    query = shop(
        sales_fact=[
            {"order_status": status, "discount_applied": "0.5", "customer_id": "CUST007", "product_id": "P7"},
            {"order_date": "2024-01-09", "order_amount": "9.99"},
        ]
    )
    revenue = "19.99" if is_counted else "9.99"
    for mart, column in {
        "product_category_revenue_monthly": "total_revenue", "product_revenue_payment_analysis": "revenue",
        "payment_method_preference": "total_revenue", "daily_revenue": "daily_revenue",
        "product_performance_monthly": "revenue", "order_profitability_monthly": "revenue",
        "customer_segments": "lifetime_revenue",
        "seasonal_sales_analysis": "monthly_revenue", "customer_cohorts_monthly": "revenue",
    }.items():  # fmt: skip
        assert query(f"select sum({column}) from marts.{mart}") == [(revenue,)], mart
    assert query("select count(*) from marts.order_for_reviews") == [(str(int(is_counted)),)]
    assert query("select sum(violations) from marts.rule_compliance_daily") == [(str(int(is_counted)),)]
    assert query("select sum(units_sold) from marts.inventory_daily") == [(str(1 + is_counted),)]
    assert query("select sum(units_sold_30d) from marts.inventory_status") == [("0",)]
    # The order is a fact all the same: its customer and its product are known.
    assert query("select total_orders from marts.customer_segments where customer_id = 'CUST007'") == [
        (str(int(is_counted)),)
    ]
    assert query("select count(*) from marts.inventory_status where product_id = 'P7'") == [("1",)]


def test_shop_of_only_order_lines_has_marts(tmp_path: Path) -> None:
    (tmp_path / "sales_fact.csv").write_text(
        "created_at,order_id,unheard_of,product_id,order_date,order_amount\n2024-01-02,O1,x,P1,2024-01-02,10.00\n"
    )
    with compute(tmp_path, date(2024, 1, 1), date(2024, 1, 2)) as oracle:
        assert oracle.execute(
            "select order_date::varchar, daily_revenue::varchar, guest_orders, refunded_amount from marts.daily_revenue"
        ).fetchall() == [("2024-01-02", "10.00", 1, 0)]
        assert oracle.execute("select payment_method from marts.payment_method_preference").fetchall() == [("unknown",)]
        assert oracle.execute("select product_id, product_status from marts.inventory_status").fetchall() == [
            ("P1", "Unknown")
        ]
        for mart in ("customer_segments", "subscription_performance_monthly", "weather_correlation"):
            assert oracle.execute(f"from marts.{mart}").fetchall() == [], mart


def test_missing_file_or_column_that_is_needed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShopFileError, match=r"sales_fact\.csv is missing"):
        compute(tmp_path, date(2024, 1, 1), date(2024, 1, 2))
    (tmp_path / "sales_fact.csv").write_text("order_id,order_date,order_amount\n")
    with pytest.raises(ShopFileError, match=r"sales_fact\.csv has no column product_id, created_at; it needs order_id"):
        compute(tmp_path, date(2024, 1, 1), date(2024, 1, 2))


def test_payment_methods_are_normalised_and_summed(shop) -> None:
    query = shop(
        sales_fact=[
            {"payment_method": " PayPal ", "order_amount": "0.33"},
            {"payment_method": "paypal", "order_amount": "0.66", "order_date": "2024-02-01"},
            {"payment_method": "  ", "order_amount": "7.67"},
        ]
    )
    # Of January's 8.00, 0.33 is 4.125 % and 7.67 is 95.875 %; of 8.66 in all, 0.99 is 11.4318… %.
    assert query("from marts.product_revenue_payment_analysis order by all") == [
        ("2024-01-01", "Garden", "paypal", "0.33", "1", "8.00", "4.13", True),
        ("2024-01-01", "Garden", "unknown", "7.67", "1", "8.00", "95.88", True),
        ("2024-02-01", "Garden", "paypal", "0.66", "1", "0.66", "100.00", True),
    ]
    columns = (
        "payment_method, total_orders, total_revenue, avg_order_value, min_order_value, max_order_value, "
        "order_percent, revenue_percent"
    )
    assert query(f"select {columns} from marts.payment_method_preference order by 1") == [
        ("paypal", "2", "0.99", "0.50", "0.33", "0.66", "66.67", "11.43"),
        ("unknown", "1", "7.67", "7.67", "7.67", "7.67", "33.33", "88.57"),
    ]


def test_order_paid_in_two_ways_counts_in_both(shop) -> None:
    query = shop(
        product_category=[{}, {"category_name": "Kitchen"}],
        sales_fact=[
            {"order_id": "O1", "line_number": "1", "order_amount": "10.00"},
            {"order_id": "O1", "line_number": "2", "order_amount": "5.00"},
            {"order_id": "O1", "line_number": "3", "order_amount": "2.00", "payment_method": "card"},
            {"order_id": "O1", "line_number": "4", "order_amount": "1.00", "product_id": "P2"},
            {"order_id": "O2", "order_amount": "8.00", "payment_method": "card"},
        ],
    )
    assert query("from marts.product_revenue_payment_analysis order by all") == [
        ("2024-01-01", "Garden", "card", "10.00", "2", "25.00", "40.00", True),
        ("2024-01-01", "Garden", "paypal", "15.00", "1", "25.00", "60.00", True),
        ("2024-01-01", "Kitchen", "paypal", "1.00", "1", "1.00", "100.00", True),
    ]
    # The order O1 is 16.00 paid by paypal and 2.00 by card; of two orders, one is 50 % and two are 100 %.
    columns = (
        "payment_method, total_orders, total_revenue, avg_order_value, min_order_value, max_order_value, "
        "order_percent, revenue_percent"
    )
    assert query(f"select {columns} from marts.payment_method_preference order by 1") == [
        ("card", "2", "10.00", "5.00", "2.00", "8.00", "100.00", "38.46"),
        ("paypal", "1", "16.00", "16.00", "16.00", "16.00", "50.00", "61.54"),
    ]


def test_daily_revenue_has_expected_rows(shop) -> None:
    query = shop(
        customer=[{}, {}],
        sales_fact=[
            {"order_date": "2024-01-01", "order_amount": "0"},
            {"order_date": "2024-01-02", "order_amount": "8.00"},
            {"order_date": "2024-01-02", "order_amount": "8.01", "customer_id": "CUST002"},
            {"order_date": "2024-01-02", "order_amount": "1.00", "customer_id": "CUST002"},
            {"order_date": "2024-01-04", "order_amount": "5.00", "product_id": "UNKNOWN"},
            {"order_date": "2024-01-12", "order_amount": "99.00", "created_at": "2024-01-09"},
        ],
        last=date(2024, 1, 9),
    )
    columns = (
        "order_date, daily_revenue, daily_gross_profit, daily_orders, daily_customers, avg_order_value, "
        "revenue_7d_avg, previous_day_revenue, daily_growth_percent"
    )
    assert query(f"select {columns} from marts.daily_revenue order by 1") == [
        ("2024-01-02", "17.01", "5.01", "3", "2", "5.67", "17.01", None, None),
        ("2024-01-03", "0.00", "0.00", "0", "0", None, "8.51", "17.01", "-100.00"),
        ("2024-01-04", "5.00", None, "1", "1", "5.00", "7.34", "0.00", None),
        ("2024-01-05", "0.00", "0.00", "0", "0", None, "5.50", "5.00", "-100.00"),
        ("2024-01-06", "0.00", "0.00", "0", "0", None, "4.40", "0.00", None),
        ("2024-01-07", "0.00", "0.00", "0", "0", None, "3.67", "0.00", None),
        ("2024-01-08", "0.00", "0.00", "0", "0", None, "3.14", "0.00", None),
        ("2024-01-09", "0.00", "0.00", "0", "0", None, "0.71", "0.00", None),
    ]


def test_daily_margin_is_of_the_lines_with_known_cost(shop) -> None:
    query = shop(
        sales_fact=[
            {"order_date": "2024-01-01", "order_amount": "10.00"},
            {"order_date": "2024-01-01", "order_amount": "6.00", "product_id": "UNKNOWN"},
            {"order_date": "2024-01-02", "order_amount": "5.00", "product_id": "UNKNOWN"},
            {"order_date": "2024-01-04", "order_amount": "3.20"},
        ],
        last=date(2024, 1, 4),
    )
    # 10.00 - 4.00 is 60 % of 10.00, and 10.00 is 62.5 % of 16.00; 3.20 - 4.00 is a loss of a quarter.
    columns = "order_date, daily_gross_profit, gross_margin_percent, known_cost_percent"
    assert query(f"select {columns} from marts.daily_revenue order by 1") == [
        ("2024-01-01", "6.00", "60.00", "62.50"),
        ("2024-01-02", None, None, "0.00"),
        ("2024-01-03", "0.00", None, None),
        ("2024-01-04", "-0.80", "-25.00", "100.00"),
    ]


def test_daily_revenue_splits_new_and_returning_customers(shop) -> None:
    query = shop(
        sales_fact=[
            {"order_date": "2024-01-01", "order_amount": "0"},
            {"order_date": "2024-01-02", "order_amount": "8.00"},
            {"order_date": "2024-01-02", "order_amount": "1.00"},
            {"order_date": "2024-01-02", "order_amount": "4.01", "customer_id": "CUST002"},
            {"order_date": "2024-01-04", "order_amount": "5.00"},
            {"order_date": "2024-01-04", "order_amount": "7.00", "customer_id": "CUST003"},
            {"order_date": "2024-01-05", "order_amount": "99.00", "customer_id": "CUST004", "created_at": "2024-01-04"},
        ],
        last=date(2024, 1, 4),
    )
    columns = "order_date, new_customer_revenue, returning_customer_revenue, new_customers"
    assert query(f"select {columns} from marts.daily_revenue order by 1") == [
        ("2024-01-02", "13.01", "0.00", "2"),
        ("2024-01-03", "0.00", "0.00", "0"),
        ("2024-01-04", "7.00", "5.00", "1"),
    ]


def test_daily_revenue_has_lines_guests_and_refunds_of_the_day(shop) -> None:
    def line(order_id: str, number: int, day: str, amount: str, customer: str = "CUST001", **more: str):
        fields = {"order_id": order_id, "line_number": str(number), "order_date": day, "order_amount": amount}
        return fields | {"customer_id": customer} | more

    query = shop(
        sales_fact=[
            line("O1", 1, "2024-01-02", "10.00"),
            line("O1", 2, "2024-01-03", "5.00"),
            line("O2", 1, "2024-01-02", "3.00", ""),
            line("O2", 2, "2024-01-02", "4.00", "  "),
            line("O3", 1, "2024-01-03", "1.00", ""),
            line("O3", 2, "2024-01-03", "2.00", "CUST002"),
            line("O4", 1, "2024-01-04", "7.00"),
            line("O5", 1, "2024-01-05", "9.00", "", order_status="voided"),
        ],
        refund=[
            {"order_id": "O1", "line_number": "1", "refund_date": "2024-01-04", "refund_amount": "20.00"},
            {"refund_date": "2024-01-05", "refund_amount": "0.50"},
            {"refund_date": "2024-01-01", "refund_amount": "8.00"},
            {"refund_date": "2024-01-06", "refund_amount": "8.00", "created_at": "2024-01-05"},
        ],
        last=date(2024, 1, 5),
    )
    columns = (
        "order_date, daily_revenue, refunded_amount, net_revenue, daily_orders, daily_customers, guest_orders, "
        "guest_revenue, new_customer_revenue, returning_customer_revenue, new_customers"
    )
    assert query(f"select {columns} from marts.daily_revenue order by 1") == [
        ("2024-01-02", "17.00", "0.00", "17.00", "2", "1", "1", "7.00", "10.00", "0.00", "1"),
        ("2024-01-03", "8.00", "0.00", "8.00", "2", "2", "1", "1.00", "2.00", "5.00", "1"),
        ("2024-01-04", "7.00", "20.00", "-13.00", "1", "1", "0", "0.00", "0.00", "7.00", "0"),
        ("2024-01-05", "0.00", "0.50", "-0.50", "0", "0", "0", "0.00", "0.00", "0.00", "0"),
    ]


def test_same_day_last_year_is_known_from_first_loaded_day(shop) -> None:
    """52 weeks before 2023-12-31 is 2023-01-01; the day before that is not covered, though an order of it is known."""
    query = shop(
        sales_fact=[
            {"order_date": "2022-12-31", "order_amount": "50.00", "created_at": "2023-01-05"},
            {"order_date": "2023-01-01", "order_amount": "20.00"},
            {"order_date": "2023-01-03", "order_amount": "30.00"},
            {"order_date": "2024-01-03", "order_amount": "7.00"},
        ],
        first=date(2023, 1, 1),
        last=date(2024, 1, 3),
    )
    select = "select order_date, same_day_last_year_revenue from marts.daily_revenue"
    assert query(f"{select} where order_date >= '2023-12-30' order by 1") == [
        ("2023-12-30", None),
        ("2023-12-31", "20.00"),
        ("2024-01-01", "0.00"),
        ("2024-01-02", "30.00"),
        ("2024-01-03", "0.00"),
    ]


def test_same_day_last_year_before_first_order_was_zero(shop) -> None:
    query = shop(sales_fact=[{"order_date": "2024-01-03"}], first=date(2023, 1, 4), last=date(2024, 1, 4))
    assert query("select order_date, same_day_last_year_revenue from marts.daily_revenue order by 1") == [
        ("2024-01-03", "0.00"),
        ("2024-01-04", "0.00"),
    ]


def test_revenue_28d_avg_covers_four_weeks(shop) -> None:
    query = shop(sales_fact=[{"order_date": "2024-01-01", "order_amount": "28.00"}], last=date(2024, 1, 29))
    assert query(
        "select order_date, revenue_28d_avg from marts.daily_revenue where day(order_date) in (1, 2, 28, 29) order by 1"
    ) == [("2024-01-01", "28.00"), ("2024-01-02", "14.00"), ("2024-01-28", "1.00"), ("2024-01-29", "0.00")]


def test_customer_segments_have_expected_rows(shop) -> None:
    query = shop(
        customer=[{}, {"customer_name": "  "}, {}],
        sales_fact=[
            {"order_date": "2024-01-01", "order_amount": "999.98"},
            {"order_date": "2024-01-03", "order_amount": "0.005"},
            {"order_date": "2024-01-04", "order_amount": "0.01", "created_at": "2024-01-05"},
            {"order_date": "2024-03-31", "order_amount": "499.995", "customer_id": " CUST002 "},
            {
                "order_amount": "499.99",
                "customer_id": "CUST009",
                "order_date": "2024-04-02",
                "created_at": "2024-03-31",
            },
            {"order_amount": "0", "customer_id": "CUST008"},
        ],
        kafka_stream=[{"customer_id": "CUST007"}],
        subscription_data=[{"customer_id": "1000"}],
    )
    columns = (
        "customer_id, customer_name, total_orders, lifetime_value, avg_order_value, customer_tier, first_order_date, "
        "last_order_date, customer_lifetime_days, orders_per_30_days, avg_days_between_orders, days_since_last_order"
    )
    nothing = ("0", "0.00", None, "Low Value", None, None, None, None, None, None)
    # CUST001: 1000 / 3 = 333.333…; 3 orders in 91 days are 0.989… in 30; 3 days / 2 gaps; 27 + 29 + 31 days since.
    assert query(f"select {columns} from marts.customer_segments order by 1") == [
        (
            "CUST001",
            "Ada",
            "3",
            "1000.00",
            "333.33",
            "High Value",
            "2024-01-01",
            "2024-01-04",
            "3",
            "0.99",
            "1.50",
            "87",
        ),
        (
            "CUST002",
            None,
            "1",
            "500.00",
            "500.00",
            "Medium Value",
            "2024-03-31",
            "2024-03-31",
            "0",
            None,
            None,
            "0",
        ),
        ("CUST003", "Ada", *nothing),
        ("CUST007", None, *nothing),
        ("CUST008", None, *nothing),
        (
            "CUST009",
            None,
            "1",
            "499.99",
            "499.99",
            "Low Value",
            "2024-04-02",
            "2024-04-02",
            "0",
            None,
            None,
            "-2",
        ),
        ("CUST1000", None, *nothing),
    ]
    # Of three, one that is worse makes 1 + 5 / 3 = 2, two make 1 + 10 / 3 = 4; CUST002's mean of 1 and 2 is 2.
    scores = "customer_id, recency_score, frequency_score, monetary_score, rfm_segment"
    assert query(f"select {scores} from marts.customer_segments order by 1") == [
        ("CUST001", "1", "4", "4", "At Risk"),
        ("CUST002", "2", "1", "2", "Hibernating"),
        ("CUST003", None, None, None, "No Orders"),
        ("CUST007", None, None, None, "No Orders"),
        ("CUST008", None, None, None, "No Orders"),
        ("CUST009", "4", "1", "1", "Promising"),
        ("CUST1000", None, None, None, "No Orders"),
    ]


def test_orders_per_30_days_are_known_after_30_days(shop) -> None:
    query = shop(
        sales_fact=[
            {"order_date": "2024-03-01", "customer_id": "A"},
            {"order_date": "2024-03-02", "customer_id": "B"},
        ]
    )
    # A's first order was on the first of 31 days, B's on the first of 30.
    select = "select customer_id, orders_per_30_days from marts.customer_segments"
    assert query(f"{select} where total_orders > 0 order by 1") == [("A", "0.97"), ("B", None)]


def test_customer_segments_are_net_of_refunds(shop) -> None:
    query = shop(
        sales_fact=[
            {"order_id": "O1", "line_number": "1", "order_amount": "600.00", "order_date": "2024-01-10"},
            {"order_id": "O1", "line_number": "2", "order_amount": "400.00", "order_date": "2024-01-12"},
            {"order_id": "O2", "order_status": "cancelled", "customer_id": "CUST003"},
            {"order_id": "O3", "customer_id": ""},
            {"order_id": "O4", "customer_id": "CUST005", "order_amount": "50.00"},
            {"order_id": "O5", "customer_id": "CUST006", "order_amount": "60.00"},
        ],
        refund=[
            {"order_id": "O1", "line_number": "1", "refund_amount": "0.01"},
            {"order_id": "O9", "customer_id": "CUST002", "refund_amount": "5.00"},
            {"order_id": "O3", "line_number": "1", "customer_id": "CUST004", "refund_amount": "6.00"},
            {"order_id": "O5", "refund_amount": "60.01"},
        ],
    )
    columns = (
        "customer_id, total_orders, lifetime_revenue, refunded_amount, lifetime_value, avg_order_value, customer_tier, "
        "customer_lifetime_days, avg_days_between_orders, monetary_score, rfm_segment"
    )
    nothing = (None, "Low Value", None, None, None, "No Orders")
    # One of three is worse than 50.00 by value: 1 + 5 / 3 = 2; by revenue it would be none.
    assert query(f"select {columns} from marts.customer_segments order by 1") == [
        ("CUST001", "1", "1000.00", "0.01", "999.99", "1000.00", "Medium Value", "2", None, "4",
         "Potential Loyalists"),
        ("CUST002", "0", "0.00", "5.00", "-5.00", *nothing),
        ("CUST003", "0", "0.00", "0.00", "0.00", *nothing),
        ("CUST005", "1", "50.00", "0.00", "50.00", "50.00", "Low Value", "0", None, "2", "Hibernating"),
        ("CUST006", "1", "60.00", "60.01", "-0.01", "60.00", "Low Value", "0", None, "1", "Hibernating"),
    ]  # fmt: skip


def test_customer_segments_cover_each_rfm_cell(shop) -> None:
    """One customer per cell: the last order on one of five days, and one to five orders on that day."""
    query = shop(
        sales_fact=[
            {"customer_id": f"R{recency}V{value}", "order_date": f"2024-01-0{recency}"}
            for recency in range(1, 6)
            for value in range(1, 6)
            for _ in range(value)
        ]
    )
    assert query(
        "select rfm_segment, "
        "string_agg(concat(recency_score, frequency_score, monetary_score), ' ' order by customer_id) "
        "from marts.customer_segments group by rfm_segment order by rfm_segment"
    ) == [
        ("About to Sleep", "311 322"),
        ("At Risk", "133 144 233 244"),
        ("Cannot Lose", "155 255"),
        ("Champions", "544 555"),
        ("Hibernating", "111 122 211 222"),
        ("Loyal", "344 355 444 455"),
        ("Needs Attention", "333"),
        ("No Orders", ""),
        ("Potential Loyalists", "422 433 522 533"),
        ("Promising", "411 511"),
    ]


def test_guests_are_in_no_cohort(shop) -> None:
    query = shop(
        sales_fact=[
            {"order_id": "O1", "line_number": "1", "customer_id": "", "order_amount": "3.00"},
            {"order_id": "O1", "line_number": "2", "customer_id": "CUST002", "order_amount": "4.00"},
            {"order_date": "2023-12-31", "customer_id": " ", "created_at": "2024-01-10"},
        ],
        last=date(2024, 1, 31),
    )
    assert query("from marts.customer_cohorts_monthly order by 1, 2") == [
        ("2024-01-01", "2024-01-01", "0", "1", "1", "100.00", "4.00", "4.00", True),
    ]


def test_customer_cohorts_monthly_have_expected_rows(shop) -> None:
    def order(customer: int, day: str, amount: str) -> dict[str, str]:
        return {
            "customer_id": f"CUST00{customer}",
            "order_date": day,
            "order_amount": amount,
            "created_at": "2024-02-10",
        }

    query = shop(
        sales_fact=[
            order(1, "2023-11-05", "0"),
            order(1, "2023-12-05", "10.00"),
            order(1, "2023-12-20", "5.00"),
            order(1, "2024-02-02", "20.00"),
            order(1, "2024-04-01", "1.00"),
            order(2, "2023-12-31", "30.00"),
            order(3, "2024-02-01", "7.00"),
            order(4, "2024-03-02", "9.00"),
        ],
        last=date(2024, 2, 10),
    )
    assert query("from marts.customer_cohorts_monthly order by 1, 2") == [
        ("2023-12-01", "2023-12-01", "0", "2", "2", "100.00", "45.00", "45.00", False),
        ("2023-12-01", "2024-01-01", "1", "2", "0", "0.00", "0.00", "45.00", True),
        ("2023-12-01", "2024-02-01", "2", "2", "1", "50.00", "20.00", "65.00", False),
        ("2023-12-01", "2024-04-01", "4", "2", "1", "50.00", "1.00", "66.00", False),
        ("2024-02-01", "2024-02-01", "0", "1", "1", "100.00", "7.00", "7.00", False),
        ("2024-03-01", "2024-03-01", "0", "1", "1", "100.00", "9.00", "9.00", False),
    ]


def test_order_profitability_has_expected_bands(shop) -> None:
    query = shop(
        product_category=[{}, {"cost_price": ""}],
        sales_fact=[
            {"order_amount": "90.00", "order_quantity": "10", "discount_applied": "0.1", "shipping_cost": "4.50"},
            {"order_amount": "90.00", "order_quantity": "10", "discount_applied": "0.1", "shipping_cost": "4.50",
             "product_id": "P2"},
            {"order_amount": "10.00", "order_quantity": "3", "discount_applied": "0.300000000001",
             "shipping_cost": "0.51"},
            {"order_amount": "10.00", "discount_applied": "1"},
        ],
    )  # fmt: skip
    # Of the first band, 90.00 of 180.00 has a known cost: 10 times 4.00. Three for 10.00 cost 12.00.
    columns = (
        "discount_band, shipping_band, orders, list_amount, discount_amount, revenue, cost_amount, gross_profit, "
        "shipping_cost, contribution_amount, gross_margin_percent, contribution_percent, known_cost_percent, "
        "loss_orders, loss_amount"
    )
    assert query(f"select {columns} from marts.order_profitability_monthly order by list_amount desc") == [
        ("to 10 %", "to 5 %", "2", "200.00", "20.00", "180.00", "40.00", "50.00", "9.00", "45.50", "55.56", "50.56",
         "50.00", "0", "0.00"),
        ("over 30 %", "to 10 %", "1", "14.29", "4.29", "10.00", "12.00", "-2.00", "0.51", "-2.51", "-20.00", "-25.10",
         "100.00", "1", "2.51"),
        ("over 30 %", "free", "1", "0.00", "0.00", "10.00", "4.00", "6.00", "0.00", "6.00", "60.00", "60.00", "100.00",
         "0", "0.00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("february", "effects"),
    [
        pytest.param([{"order_amount": "36.00", "order_quantity": "4", "shipping_cost": "2.00"}],
                     {"volume_effect": "9.00"}, id="twice as many"),
        pytest.param([{"order_amount": "16.00", "discount_applied": "0.2"}], {"discount_effect": "-2.00"},
                     id="discount"),
        pytest.param([{"order_amount": "22.50"}], {"list_price_effect": "4.50"}, id="list price"),
        pytest.param([{"shipping_cost": "0.40"}], {"shipping_effect": "0.60"}, id="shipping"),
        pytest.param([{}, {"product_id": "P2", "order_amount": "10.00", "order_quantity": "1", "shipping_cost": "0",
                           "discount_applied": "0"}],
                     {"volume_effect": "4.50", "mix_effect": "1.50"}, id="new product"),
        pytest.param([{}, {"product_id": "P3"}], {}, id="unknown cost"),
        pytest.param([], {"volume_effect": "-9.00"}, id="nothing sold"),
    ],
)  # fmt: skip
def test_margin_bridge_names_the_one_thing_that_changed(
    shop, february: list[dict[str, str]], effects: dict[str, str]
) -> None:
    """January: two for 18.00, a tenth off, at a cost of 4.00 each, and 1.00 of shipping: 9.00 are left."""
    line = {"order_amount": "18.00", "order_quantity": "2", "discount_applied": "0.1", "shipping_cost": "1.00"}
    query = shop(
        product_category=[{}, {}, {"cost_price": ""}],
        sales_fact=[line, *({**line, "order_date": "2024-02-10", **row} for row in february)],
    )
    columns = "volume_effect, mix_effect, list_price_effect, discount_effect, cost_effect, shipping_effect"
    (found,) = query(
        f"select previous_contribution, {columns} from marts.margin_bridge_monthly where revenue_month = '2024-02-01'"
    )
    assert found == ("9.00", *(effects.get(name, "0.00") for name in columns.split(", ")))


def test_margin_bridge_compares_running_month_with_equal_days(shop) -> None:
    query = shop(
        sales_fact=[
            {"order_date": "2024-01-10"},
            {"order_date": "2024-01-11", "order_amount": "100.00"},
            {"order_date": "2024-02-10", "order_amount": "9.00"},
            {"order_date": "2024-02-11", "order_amount": "100.00", "created_at": "2024-02-10"},
        ],
        last=date(2024, 2, 10),
    )
    columns = "revenue_month, previous_contribution, list_price_effect, contribution, is_complete"
    assert query(f"select {columns} from marts.margin_bridge_monthly order by 1") == [
        ("2024-01-01", None, None, "102.00", True),
        ("2024-02-01", "6.00", "-1.00", "5.00", False),
    ]


def test_product_performance_monthly_has_expected_rows(shop) -> None:
    query = shop(
        opening={"product_category": [{"category_name": "Tea", "last_updated": "2023-01-01"}]},
        product=[{}, {"product_name": "Rake"}, {}],
        product_category=[
            {"category_name": "Coffee", "last_updated": "2024-01-20"},
            {"category_name": "Coffee"},
            {"category_name": "Coffee", "cost_price": ""},
            {"category_name": "Tea"},
        ],
        sales_fact=[
            {"order_date": "2023-12-31", "order_amount": "20.00", "created_at": "2024-01-01"},
            {"order_date": "2024-01-19", "order_amount": "10.00"},
            {"order_date": "2024-01-20", "order_amount": "20.00", "order_quantity": "2"},
            {"order_date": "2024-02-01", "order_amount": "0"},
            {"order_date": "2024-03-01", "order_amount": "45.00"},
            {"order_date": "2024-01-05", "order_amount": "30.00", "product_id": "P2"},
            {"order_date": "2024-01-05", "order_amount": "20.01", "product_id": "P3"},
            {"order_date": "2024-01-05", "order_amount": "5.00", "product_id": "P4"},
            {"order_date": "2024-01-05", "order_amount": "6.00", "product_id": "P5"},
        ],
        first=date(2023, 12, 1),
    )
    # P1 is Coffee in January by its last order; 30.00 of 80.01 is 37.4953… %, 20.01 is 25.0093… %.
    columns = (
        "revenue_month, product_id, product_name, category_name, revenue, gross_profit, order_count, units_sold, "
        "category_revenue, category_rank, category_revenue_percent, previous_month_revenue, mom_growth_percent"
    )
    assert query(f"select {columns} from marts.product_performance_monthly order by 1, 2") == [
        ("2023-12-01", "P1", "Spade", "Tea", "20.00", "16.00", "1", "1", "20.00", "1", "100.00", None, None),
        ("2024-01-01", "P1", "Spade", "Coffee", "30.00", "18.00", "2", "3", "80.01", "1", "37.50", "20.00", "50.00"),
        ("2024-01-01", "P2", "Rake", "Coffee", "30.00", "26.00", "1", "1", "80.01", "1", "37.50", None, None),
        ("2024-01-01", "P3", "Spade", "Coffee", "20.01", None, "1", "1", "80.01", "3", "25.01", None, None),
        ("2024-01-01", "P4", None, "Tea", "5.00", "1.00", "1", "1", "5.00", "1", "100.00", None, None),
        ("2024-01-01", "P5", None, None, "6.00", None, "1", "1", "6.00", "1", "100.00", None, None),
        ("2024-03-01", "P1", "Spade", "Coffee", "45.00", "41.00", "1", "1", "45.00", "1", "100.00", "0.00", None),
    ]


def test_product_performance_monthly_has_lines_and_refunds_of_the_product(shop) -> None:
    query = shop(
        opening={"product_category": [{"category_name": "Tea"}]},
        product=[{}, {}, {}],
        product_category=[
            {"category_name": "Coffee", "last_updated": "2024-02-10"},
            {"category_name": "Coffee"},
            {},
        ],
        sales_fact=[
            {"order_id": "O1", "line_number": "1", "order_date": "2024-01-05", "shipping_cost": "1.50"},
            {"order_id": "O1", "line_number": "2", "order_date": "2024-01-05", "order_amount": "6.00"},
            {"order_id": "O2", "order_date": "2024-02-01", "order_amount": "3.00", "product_id": "P2"},
            {"order_id": "O3", "order_date": "2024-01-20", "order_amount": "5.00", "product_id": "P3"},
        ],
        refund=[
            {"order_id": "O1", "line_number": "1", "refund_date": "2024-02-05", "refund_amount": "2.00"},
            {"order_id": "O1", "line_number": "1", "refund_date": "2024-02-12"},
            {"product_id": "P3", "refund_date": "2023-12-31", "refund_amount": "4.00", "created_at": "2024-01-02"},
            {"order_id": "O1", "refund_date": "2024-02-12", "refund_amount": "99.00"},
            {"order_id": "O1", "product_id": "P1", "refund_date": "2024-02-13", "refund_amount": "100.00"},
            {"order_id": "O1", "line_number": "2", "refund_date": "2024-03-01", "refund_amount": "0.50"},
        ],
        first=date(2023, 12, 1),
    )
    # P1 has refunds alone in February and March: the last of February is of the product as it is then, Coffee, that of
    # March is of the line that was sold as Tea. P3 had one before its first order.
    columns = (
        "revenue_month, product_id, category_name, revenue, refunded_amount, net_revenue, gross_profit, "
        "contribution_amount, order_count, units_sold, category_revenue, category_rank, category_revenue_percent, "
        "previous_month_revenue, mom_growth_percent"
    )
    assert query(f"select {columns} from marts.product_performance_monthly order by 1, 2") == [
        ("2023-12-01", "P3", "Garden", "0.00", "4.00", "-4.00", "0.00", "0.00", "0", "0", "0.00", None, None, None,
         None),
        ("2024-01-01", "P1", "Tea", "16.00", "0.00", "16.00", "8.00", "6.50", "1", "2", "16.00", "1", "100.00", None,
         None),
        ("2024-01-01", "P3", "Garden", "5.00", "0.00", "5.00", "1.00", "1.00", "1", "1", "5.00", "1", "100.00", None,
         None),
        ("2024-02-01", "P1", "Coffee", "0.00", "103.00", "-103.00", "0.00", "0.00", "0", "0", "3.00", None, "0.00",
         "16.00", "-100.00"),
        ("2024-02-01", "P2", "Coffee", "3.00", "0.00", "3.00", "-1.00", "-1.00", "1", "1", "3.00", "1", "100.00", None,
         None),
        ("2024-03-01", "P1", "Tea", "0.00", "0.50", "-0.50", "0.00", "0.00", "0", "0", "0.00", None, None, "0.00",
         None),
    ]  # fmt: skip


def test_subscription_performance_monthly_has_expected_rows(shop) -> None:
    subscriptions = [
        {"subscription_start_date": "2023-12-31", "subscription_end_date": "2024-01-31"},
        {
            "subscription_start_date": "2024-01-31",
            "subscription_end_date": "2024-02-01",
            "monthly_fee": "1",
        },
        {
            "subscription_start_date": "2024-02-01",
            "subscription_end_date": "2024-02-01",
            "monthly_fee": "2",
        },
        {
            "subscription_start_date": "2024-02-10",
            "subscription_end_date": "2024-02-21",
            "monthly_fee": "",
        },
        {"subscription_start_date": "2024-02-21", "status": "Cancelled", "monthly_fee": "4.005"},
        {"subscription_start_date": "2024-02-20", "plan_type": " ", "monthly_fee": "8"},
        {"subscription_start_date": "2024-02-01", "monthly_fee": "-1"},
    ]
    # Each of another customer: none is reactivated.
    query = shop(
        subscription_data=[row | {"customer_id": f"{number}"} for number, row in enumerate(subscriptions, start=1)],
        last=date(2024, 2, 20),
    )
    columns = (
        "revenue_month, plan_type, opening_mrr, new_mrr, churned_mrr, closing_mrr, active_subscriptions, "
        "new_subscriptions, churned_subscriptions, churn_percent"
    )
    rows = query(f"select {columns} from marts.subscription_performance_monthly order by 1, 2 nulls last")
    assert [row for row in rows if row[1] == "All plans"] == [
        ("2023-12-01", "All plans", "0.00", "10.00", "0.00", "10.00", "1", "1", "0", None),
        ("2024-01-01", "All plans", "10.00", "1.00", "10.00", "1.00", "1", "1", "1", "100.00"),
        ("2024-02-01", "All plans", "1.00", "10.00", "3.00", "8.00", "2", "3", "2", "200.00"),
    ]
    assert [row for row in rows if row[1] != "All plans"] == [
        ("2023-12-01", "Basic", "0.00", "10.00", "0.00", "10.00", "1", "1", "0", None),
        ("2023-12-01", None, "0.00", "0.00", "0.00", "0.00", "0", "0", "0", None),
        ("2024-01-01", "Basic", "10.00", "1.00", "10.00", "1.00", "1", "1", "1", "100.00"),
        ("2024-01-01", None, "0.00", "0.00", "0.00", "0.00", "0", "0", "0", None),
        ("2024-02-01", "Basic", "1.00", "2.00", "3.00", "0.00", "1", "2", "2", "200.00"),
        ("2024-02-01", None, "0.00", "8.00", "0.00", "8.00", "1", "1", "0", None),
    ]


def test_subscription_marts_follow_the_fees_of_the_days_they_were_read(shop) -> None:
    """Raised on 10 February and lowered on 20 March; one that is gone on 20 March; a fee that is read too late."""
    basic, gone, late = (
        {"customer_id": customer, "subscription_start_date": day, "monthly_fee": fee}
        for customer, day, fee in (("1", "2024-01-31", "10"), ("2", "2024-02-01", "4"), ("2", "2024-03-02", "6"))
    )
    query = shop(
        opening={"subscription_data": [basic, gone, late]},
        reads={
            "2024-02-10": [basic | {"monthly_fee": "15"}, gone, late | {"monthly_fee": "7"}],
            "2024-03-20": [basic | {"monthly_fee": "12.5"}, late | {"subscription_id": "S3", "monthly_fee": "7"}],
        },
        subscription_data=[basic | {"monthly_fee": "99"}, late | {"subscription_id": "S3", "monthly_fee": "99"}],
    )
    columns = (
        "revenue_month, opening_mrr, new_mrr, reactivated_mrr, expansion_mrr, contraction_mrr, churned_mrr, "
        "closing_mrr, gross_retention_percent, net_retention_percent, is_complete"
    )
    assert query(
        f"select {columns} from marts.subscription_performance_monthly where plan_type = 'All plans' order by 1"
    ) == [
        ("2024-01-01", "0.00", "10.00", "0.00", "0.00", "0.00", "0.00", "10.00", None, None, True),
        ("2024-02-01", "10.00", "4.00", "0.00", "5.00", "0.00", "0.00", "19.00", "100.00", "150.00", True),
        ("2024-03-01", "19.00", "7.00", "0.00", "0.00", "2.50", "4.00", "19.50", "65.79", "65.79", True),
    ]
    assert query("from marts.subscription_customers order by 1") == [
        ("CUST001", "Basic", "active", "1", "12.50", "37.50", "3", "2024-01-31"),
        ("CUST002", "Basic", "active", "1", "7.00", "15.00", "2", "2024-02-01"),
    ]


def test_conversion_funnel_daily_has_expected_rows(shop) -> None:
    def event(day: int, kind: str, customer: int = 1, at: str = "T12:00:00", **other: str) -> dict[str, str]:
        names = {
            "customer_id": f"CUST00{customer}",
            "interaction_type": kind,
            "timestamp": f"2024-01-0{day}{at}",
        }
        return names | other

    query = shop(
        kafka_stream=[
            *(event(1, "view", customer) for customer in range(1, 9)),
            event(1, "view"),
            event(1, "view", at="T14:00:00+02:00"),
            event(1, "view", at="T12:00:00.001Z"),
            event(1, "view", product_id="P2"),
            event(1, "add_to_cart", 3),
            event(1, "add_to_cart", 3, at="T12:00:01"),
            event(1, "purchase", 4),
            event(1, "purchase", 4, at="T12:00:01"),
            event(2, "purchase", at="T01:00:00+02:00"),
            event(2, "add_to_cart"),
            event(3, "wishlist"),
            event(4, "view", timestamp="2023-12-31T23:59:59.999"),
            event(4, "view", timestamp="2024-04-01T00:00:00"),
            event(4, "view", timestamp="soon"),
            event(4, "view", product_id=""),
        ]
    )
    assert query("from marts.conversion_funnel_daily order by 1") == [
        ("2024-01-01", "10", "2", "3", "8", "1", "2", "12.50", "200.00", "25.00"),
        ("2024-01-02", "0", "1", "0", "0", "1", "0", None, "0.00", None),
        ("2024-01-03", "0", "0", "0", "0", "0", "0", None, None, None),
    ]


def test_event_is_on_the_shops_day(shop) -> None:
    """Of New York, whose clocks are put forward on March 10; the source's time zone is not that of events."""
    query = shop(
        kafka_stream=[
            {"timestamp": timestamp}
            for timestamp in (
                "2024-01-01T04:59:59", "2024-01-01T05:00:00", "2024-03-10T04:59:59Z", "2024-03-10T05:00:00Z",
                "2024-03-11T03:59:59", "2024-03-11T04:00:00", "2024-04-01T03:59:59", "2024-04-01T04:00:00",
            )
        ],
        zones=TimeZones(shop="America/New_York", source="Asia/Kolkata"),
    )  # fmt: skip
    assert query("select event_date, views from marts.conversion_funnel_daily order by 1") == [
        ("2024-01-01", "1"), ("2024-03-09", "1"), ("2024-03-10", "2"), ("2024-03-11", "1"), ("2024-03-31", "1"),
    ]  # fmt: skip


def test_complete_messages_of_messages_file_are_events(shop, tmp_path: Path) -> None:
    shop()
    event = {
        "customer_id": "CUST001",
        "product_id": "P1",
        "interaction_type": "view",
        "timestamp": "2024-02-01T00:00:00",
    }
    values = [
        json.dumps(event),
        json.dumps(event | {"timestamp": "2024-02-02T00:00:00Z", "more": 1}),
        json.dumps({name: event[name] for name in event if name != "product_id"}),
        json.dumps([event]),
        json.dumps(event | {"customer_id": None}),
        json.dumps(event | {"customer_id": 17}),
        json.dumps(event | {"timestamp": "soon"}),
        json.dumps(event | {"customer_id": "CUST\0"}),
        json.dumps(event | {"customer_id": "\ud800"}),
        "{",
        None,
    ]
    lines = [json.dumps({"published_at": "2024-02-03T00:00:00", "key": "k", "value": value}) for value in values]
    lines.append(json.dumps({"published_at": "2024-02-03T00:00:00", "key": "k", "value_base64": "/w=="}))
    lines.append(json.dumps({"published_at": "2024-04-01T00:00:00", "key": "k", "value": json.dumps(event)}))
    (tmp_path / "messages.jsonl").write_text("\n".join(lines))
    oracle = compute(tmp_path, date(2024, 1, 1), date(2024, 3, 31))
    assert oracle.execute("select event_date, views from marts.conversion_funnel_daily order by 1").fetchall() == [
        (date(2024, 2, 1), 1),
        (date(2024, 2, 2), 1),
    ]


#: What a high discount or a high shipping cost has brought into the mart.
FLAGGED = """
    select
        order_id, customer_id, customer_name, order_date, order_amount, discount_percent, shipping_percent,
        is_high_discount, is_high_shipping, gross_profit, contribution_amount
    from marts.order_for_reviews
    where is_high_discount or is_high_shipping
    order by order_id
"""


def test_order_for_reviews_has_expected_rows(shop) -> None:
    query = shop(
        sales_fact=[
            {"discount_applied": "0.3", "shipping_cost": "1.00"},
            {"discount_applied": "0.3106", "shipping_cost": ""},
            {"discount_applied": "", "shipping_cost": "1.01"},
            {"discount_applied": "0.300001", "shipping_cost": "2.01", "order_amount": "20.00"},
            {"discount_applied": "1", "shipping_cost": "2.01", "order_amount": "200.00"},
            {"discount_applied": "1", "shipping_cost": "5", "order_amount": "0"},
        ]
    )
    assert query(FLAGGED) == [
        ("O2", "CUST001", "Ada", "2024-01-10", "10.00", "31.06", "0.00", True, False, "6.00", "6.00"),
        ("O3", "CUST001", "Ada", "2024-01-10", "10.00", "0.00", "10.10", False, True, "6.00", "4.99"),
        ("O4", "CUST001", "Ada", "2024-01-10", "20.00", "30.00", "10.05", True, True, "16.00", "13.99"),
        ("O5", "CUST001", "Ada", "2024-01-10", "200.00", None, "1.01", True, False, "196.00", "193.99"),
    ]


def test_order_for_reviews_is_one_row_an_order(shop) -> None:
    def line(order_id: str, number: int, amount: str, discount: str = "0", **more: str) -> dict[str, str]:
        fields = {"order_id": order_id, "line_number": str(number), "order_amount": amount}
        return fields | {"discount_applied": discount} | more

    query = shop(
        customer=[{}, {"customer_name": "Bo"}],
        product_category=[{}, {"cost_price": ""}],
        sales_fact=[
            line("O1", 1, "70.00", "0.1"),
            line("O1", 2, "30.00", "0.4", product_id="P2"),
            line("O2", 1, "50.00", shipping_cost="10.01"),
            line("O2", 2, "50.00"),
            line("O3", 1, "50.00", shipping_cost="10.00"),
            line("O3", 2, "50.00"),
            line("O4", 1, "8.00", "1", product_id="P2"),
            line("O4", 2, "6.00", "0.25", product_id="P2"),
            line("O5", 2, "5.00", "0.5"),
            line("O5", 1, "10.00", customer_id="CUST002", order_date="2024-01-12"),
            line("O6", 1, "10.00", "0.5", customer_id=""),
            line("O7", 1, "10.00", "0.9", order_status="cancelled"),
            line("O8", 1, "10.00", "0.9", order_status="cancelled"),
            line("O8", 2, "10.00"),
            line("O9", 1, "0", "0.9", shipping_cost="9.00"),
            line("O9", 2, "10.00"),
        ],
    )
    # O1: list amounts 77.777… and 50, of which 27.777… is 21.739… %. O4: 2 of 8 is 25 %. O5: 5 of 20 is 25 %.
    assert query(FLAGGED) == [
        ("O1", "CUST001", "Ada", "2024-01-10", "100.00", "21.74", "0.00", True, False, "66.00", "66.00"),
        ("O2", "CUST001", "Ada", "2024-01-10", "100.00", "0.00", "10.01", False, True, "92.00", "81.99"),
        ("O4", "CUST001", "Ada", "2024-01-10", "14.00", "25.00", "0.00", True, False, None, None),
        ("O5", "CUST002", "Bo", "2024-01-10", "15.00", "25.00", "0.00", True, False, "7.00", "7.00"),
        ("O6", None, None, "2024-01-10", "10.00", "50.00", "0.00", True, False, "6.00", "6.00"),
    ]


def test_order_for_reviews_names_each_broken_rule(shop) -> None:
    """Ten orders of 10 before, so that the median is 10; the list price is 10, the cost 4."""

    def line(order_id: str, day: str, amount: str = "10.00", **more: str) -> dict[str, str]:
        return {"order_id": order_id, "order_date": day, "order_amount": amount, "discount_applied": "0"} | more

    query = shop(
        customer=[{"start_date": "2020-01-01"}, {"start_date": "2020-01-01", "end_date": "2024-02-09"}],
        product_category=[{"retail_price": "10.00"}, {"retail_price": "10.00", "discontinued": "true"}],
        sales_fact=[
            *(line(f"usual {n}", "2024-01-20", customer_id="") for n in range(10)),
            line("fine", "2024-02-10"),
            line("discount", "2024-02-11", "5.00", discount_applied="0.5"),
            line("shipping", "2024-02-12", shipping_cost="1.01"),
            line("cost", "2024-02-13", "3.99", discount_applied="0.601"),
            line("list", "2024-02-14", "9.49"),
            line("unusual", "2024-02-15", "110.00", order_quantity="11"),
            *(line(f"many {n}", "2024-02-16", customer_id="CUST003") for n in range(6)),
            line("large", "2024-02-17", "60.00", order_quantity="6", customer_id="CUST004"),
            line("gone", "2024-02-10", customer_id="CUST002"),
            line("old product", "2024-02-18", product_id="P2"),
            line("dated back", "2022-01-01", created_at="2024-02-18 10:00:00", customer_id=""),
        ],
    )
    assert dict(
        query("select order_id, broken_rules from marts.order_for_reviews where order_id not like 'many%'")
    ) == {
        "discount": "{high_discount}",
        "shipping": "{high_shipping}",
        "cost": "{below_cost,high_discount}",
        "list": "{price_off_list}",
        "unusual": "{unusual_amount}",
        "large": "{first_order_large}",
        "gone": "{gone_customer}",
        "old product": "{discontinued_product}",
        "dated back": "{dated_back}",
    }
    many = query("select distinct broken_rules from marts.order_for_reviews where order_id like 'many%'")
    assert many == [("{many_orders}",)]
    compliance = query(
        "select orders_checked, violations, compliance_percent, compliance_28d_percent, amount_at_risk"
        " from marts.rule_compliance_daily where order_date = '2024-02-16' and rule = 'many_orders'"
    )
    # 10 usual orders, 7 of the days from 10 to 15 February, and 6 of this day.
    assert compliance == [("6", "6", "0.00", "73.91", "60.00")]


def test_inventory_status_has_expected_rows(shop) -> None:
    query = shop(
        product=[{} for _ in range(5)],
        product_category=[
            {"stock_level": "3", "reorder_point": "3"},
            {"stock_level": "4", "reorder_point": "", "launch_date": "2024-04-01"},
            {"stock_level": "0", "discontinued": "true"},
            {"stock_level": "", "reorder_point": "", "launch_date": ""},
            {"cost_price": "-1"},
            {},
        ],
        sales_fact=[
            {"order_date": "2024-03-01", "order_quantity": "1000"},
            {"order_date": "2024-03-02", "order_quantity": "150"},
            {"order_date": "2024-03-31", "order_quantity": "50"},
            {"order_date": "2024-03-31", "order_quantity": "7", "order_amount": "0"},
            {"order_date": "2024-04-01", "order_quantity": "9", "created_at": "2024-03-31"},
            {"order_date": "2024-03-31", "product_id": "P8", "order_quantity": "2"},
        ],
        kafka_stream=[{"product_id": "P9"}],
    )
    # 3 pieces at 200 in 30 days last 0.45 days.
    unknown = (None, None, None, None, "Unknown", "Unknown")
    columns = (
        "product_id, product_name, category_name, stock_level, reorder_point, inventory_status, product_status, "
        "units_sold_30d, days_of_stock, days_since_launch"
    )
    assert query(f"select {columns} from marts.inventory_status order by 1") == [
        ("P1", "Spade", "Garden", "3", "3", "Needs Reorder", "Low Stock", "200", "0.5", "91"),
        ("P2", "Spade", "Garden", "4", None, "In Stock", "Available", "0", None, "-1"),
        ("P3", "Spade", "Garden", "0", "2", "Out of Stock", "Discontinued", "0", None, "91"),
        ("P4", "Spade", "Garden", None, None, "Unknown", "Unknown", "0", None, None),
        ("P5", "Spade", *unknown[1:], "0", None, None),
        ("P6", None, "Garden", "10", "2", "In Stock", "Available", "0", None, "91"),
        ("P8", *unknown, "2", None, None),
        ("P9", *unknown, "0", None, None),
    ]


def test_change_before_first_covered_day_says_whether_stock_was_out(shop) -> None:
    query = shop(
        product_category=[
            {"stock_level": "0", "last_updated": "2023-12-20"},
            {"stock_level": "0", "last_updated": "2023-12-20", "discontinued": "true"},
            {"stock_level": "1", "last_updated": "2023-12-20"},
        ]
    )
    columns = "date_key, product_id, inventory_status, estimated_lost_units, is_stocked_out"
    assert query(f"select {columns} from marts.inventory_daily where date_key < '2024-01-02' order by 2, 1") == [
        ("2023-12-20", "P1", "Out of Stock", None, True),
        ("2024-01-01", "P1", "Out of Stock", None, True),
        ("2023-12-20", "P2", "Out of Stock", None, False),
        ("2023-12-20", "P3", "Needs Reorder", None, False),
    ]


def test_inventory_status_of_negative_unknown_and_removed_stock(shop) -> None:
    query = shop(
        opening={"product": [{}, {}, {}, {"product_id": "P5"}]},
        product=[{}, {"product_id": "P3", "product_name": " "}],
        product_category=[
            {"brand": " Acme ", "supplier_id": " ", "stock_level": "-3"},
            {"stock_level": "5", "cost_price": "2.50", "discontinued": "true"},
            {"stock_level": "4", "cost_price": ""},
            {"stock_level": "", "discontinued": "true"},
        ],
        sales_fact=[{"order_date": "2024-03-31", "order_quantity": "30"}],
    )
    columns = "product_id, brand, supplier_id, stock_level, inventory_status, product_status, days_of_stock"
    # P2 is gone; P3 is still there, though its row has no name; P4 was never in the product table.
    assert query(f"select {columns}, stock_value from marts.inventory_status order by 1") == [
        ("P1", "Acme", None, "-3", "Out of Stock", "Out of Stock", "0.0", "0.00"),
        ("P2", "Acme", "SUP1", "5", "In Stock", "Removed", None, "12.50"),
        ("P3", "Acme", "SUP1", "4", "In Stock", "Available", None, None),
        ("P4", "Acme", "SUP1", None, "Unknown", "Discontinued", None, None),
        ("P5", None, None, None, "Unknown", "Removed", None, None),
    ]


def test_stock_of_vanished_inventory_row_is_unknown(shop) -> None:
    """But not of one that is still there and invalid; what is known beside the stock stays."""
    query = shop(
        opening={"product_category": [{}, {"product_id": "P2", "stock_level": "7"}, {"product_id": "P3"}]},
        product=[{}, {}, {}],
        product_category=[{"stock_level": "8"}, {"product_id": "P3", "stock_level": "x"}],
    )
    columns = "product_id, category_name, stock_level, reorder_point, inventory_status, product_status, stock_value"
    assert query(f"select {columns}, days_since_launch from marts.inventory_status order by 1") == [
        ("P1", "Garden", "8", "2", "In Stock", "Available", "32.00", "91"),
        ("P2", "Garden", None, None, "Unknown", "Unknown", None, "91"),
        ("P3", "Garden", "10", "2", "In Stock", "Available", "40.00", "91"),
    ]


def test_seasonal_sales_analysis_counts_an_order_once_a_category(shop) -> None:
    query = shop(
        product_category=[{}, {"category_name": "Kitchen"}],
        sales_fact=[
            {"order_id": "O1", "line_number": "1", "order_date": "2024-01-31"},
            {"order_id": "O1", "line_number": "2", "order_date": "2024-01-31"},
            {"order_id": "O1", "line_number": "3", "order_date": "2024-01-31", "product_id": "P2"},
            {"order_id": "O1", "line_number": "4", "order_date": "2024-02-01"},
        ],
    )
    columns = "sales_month, category_name, monthly_revenue, monthly_orders, avg_order_value"
    assert query(f"select {columns} from marts.seasonal_sales_analysis order by 1, 2") == [
        ("2024-01-01", "Garden", "20.00", "1", "20.00"),
        ("2024-01-01", "Kitchen", "10.00", "1", "10.00"),
        ("2024-02-01", "Garden", "10.00", "1", "10.00"),
    ]


def test_seasonal_sales_analysis_has_expected_rows(shop) -> None:
    months = {"2023-03": "10", "2023-05": "40", "2023-06": "10", "2023-12": "20", "2024-02": "40"}
    query = shop(
        product=[{}, {}],
        product_category=[{}, {"category_name": "Kitchen"}],
        sales_fact=[
            *({"order_date": f"{month}-28", "order_amount": amount, "created_at": "2024-01-01"}
              for month, amount in months.items()),
            {"order_date": "2024-01-01", "order_amount": "5", "product_id": "P2"},
            {"order_date": "2024-01-31", "order_amount": "5.01", "product_id": "P2"},
        ],
        first=date(2023, 1, 1),
    )  # fmt: skip
    # Garden: mean 24, deviations -14, 16, -14, -4, 16: squares 920, / 4 = 230, root 15.1658, 63.19 % of the mean.
    columns = (
        "sales_month, year, quarter, season, monthly_revenue, previous_month_revenue, mom_growth_percent, "
        "quarterly_revenue, previous_quarter_revenue, qoq_growth_percent, coefficient_of_variation_percent, "
        "performance_category, percent_of_average"
    )
    assert query(f"select {columns} from marts.seasonal_sales_analysis where category_name = 'Garden' order by 1") == [
        ("2023-03-01", "2023", "1", "Spring", "10.00", None, None, "10.00", None, None, "63.19", "Worst Month",
         "41.67"),
        ("2023-05-01", "2023", "2", "Spring", "40.00", "0.00", None, "50.00", "10.00", "400.00", "63.19", "Best Month",
         "166.67"),
        ("2023-06-01", "2023", "2", "Summer", "10.00", "40.00", "-75.00", "50.00", "10.00", "400.00", "63.19",
         "Worst Month", "41.67"),
        ("2023-12-01", "2023", "4", "Winter", "20.00", "0.00", None, "20.00", "0.00", None, "63.19", "Below Average",
         "83.33"),
        ("2024-02-01", "2024", "1", "Winter", "40.00", "0.00", None, "40.00", "20.00", "100.00", "63.19", "Best Month",
         "166.67"),
    ]  # fmt: skip
    assert query(
        "select monthly_orders, avg_order_value, coefficient_of_variation_percent, performance_category, "
        "percent_of_average from marts.seasonal_sales_analysis where category_name = 'Kitchen'"
    ) == [("2", "5.01", None, "Best Month", "100.00")]


def test_seasonal_sales_month_at_the_mean_is_below_average(shop) -> None:
    amounts = {"2023-12": "100", "2024-01": "200", "2024-02": "300"}
    query = shop(
        sales_fact=[
            {"order_date": f"{month}-01", "order_amount": amount, "created_at": "2024-03-01", "product_id": "UNKNOWN"}
            for month, amount in amounts.items()
        ],
        first=date(2023, 12, 1),
    )
    columns = "previous_month_revenue, previous_quarter_revenue, performance_category, percent_of_average"
    assert query(f"select category_name, {columns} from marts.seasonal_sales_analysis order by sales_month") == [
        (None, None, None, "Worst Month", "50.00"),
        (None, "100.00", "100.00", "Below Average", "100.00"),
        (None, "200.00", "100.00", "Best Month", "150.00"),
    ]


def test_running_month_is_compared_with_equal_days(shop) -> None:
    """30 days of March with the 28 of February; January is covered from the 10th on, and is compared with nothing."""
    days = {
        "2023-01-15": "10.00", "2023-02-01": "20.00", "2023-02-28": "30.00", "2023-03-30": "60.00",
        "2023-03-31": "5.00", "2023-04-01": "1.00",
    }  # fmt: skip
    query = shop(
        sales_fact=[
            {"order_date": day, "order_amount": amount, "created_at": min(day, "2023-03-30")}
            for day, amount in days.items()
        ],
        first=date(2023, 1, 10),
        last=date(2023, 3, 30),
    )
    columns = "is_complete, days_elapsed, previous_month_revenue, mom_growth_percent"
    quarter = "previous_quarter_revenue, qoq_growth_percent"
    average = "performance_category, percent_of_average"
    assert query(
        f"select sales_month, monthly_revenue, {columns}, {quarter}, {average}"
        " from marts.seasonal_sales_analysis order by 1"
    ) == [
        ("2023-01-01", "10.00", False, "22", None, None, None, None, "Incomplete", None),
        ("2023-02-01", "50.00", True, "28", "10.00", None, None, None, "Best Month", "100.00"),
        ("2023-03-01", "65.00", False, "30", "50.00", "20.00", None, None, "Incomplete", None),
        ("2023-04-01", "1.00", False, "0", "65.00", None, "125.00", None, "Incomplete", None),
    ]
    assert query(
        "select revenue_month, category_rank, previous_month_revenue, mom_growth_percent, is_complete"
        " from marts.product_performance_monthly order by 1"
    ) == [
        ("2023-01-01", None, None, None, False),
        ("2023-02-01", "1", "10.00", None, True),
        ("2023-03-01", None, "50.00", "20.00", False),
        ("2023-04-01", None, "65.00", None, False),
    ]
    # Without what is dated ahead: 60.00 in March, and 120.00 in 80 days of the quarter.
    assert query(
        "select grain, period_start, revenue, days_elapsed, previous_period_revenue, growth_percent, run_rate"
        " from marts.revenue_trend"
        " where category_name = 'Garden' and grain <> 'week' order by 1, 2"
    ) == [
        ("month", "2023-01-01", "10.00", "22", None, None, "14.09"),
        ("month", "2023-02-01", "50.00", "28", None, None, None),
        ("month", "2023-03-01", "60.00", "30", "50.00", "20.00", "62.00"),
        ("quarter", "2023-01-01", "120.00", "80", None, None, "135.00"),
        ("year", "2023-01-01", "120.00", "80", None, None, "547.50"),
    ]


def test_month_is_complete_on_its_last_day(shop) -> None:
    """The 29 days of a leap year's February are compared with all of January, and with the 28 of the year before."""
    days = {"2023-02-28": "8.00", "2024-01-31": "10.00", "2024-02-29": "15.00"}
    query = shop(
        sales_fact=[{"order_date": day, "order_amount": amount} for day, amount in days.items()],
        first=date(2023, 2, 1),
        last=date(2024, 2, 29),
    )
    columns = "is_complete, days_elapsed, previous_month_revenue, mom_growth_percent, performance_category"
    assert query(f"select sales_month, {columns} from marts.seasonal_sales_analysis order by 1") == [
        ("2023-02-01", True, "28", None, None, "Worst Month"),
        ("2024-01-01", True, "31", "0.00", None, "Below Average"),
        ("2024-02-01", True, "29", "10.00", "50.00", "Best Month"),
    ]
    trend = "growth_percent, last_year_revenue, year_over_year_percent, run_rate"
    of_total = "category_name = 'All categories'"
    assert query(
        f"select grain, period_start, {trend} from marts.revenue_trend where {of_total}"
        " and period_start >= '2024-01-01' and grain <> 'week' order by 1, 2"
    ) == [
        ("month", "2024-01-01", None, None, None, None),
        ("month", "2024-02-01", "50.00", "8.00", "87.50", None),
        # 60 days of 91 and of 366; the last quarter is covered, and sold nothing; the last year begins uncovered.
        ("quarter", "2024-01-01", None, None, None, "37.92"),
        ("year", "2024-01-01", None, None, None, "152.50"),
    ]


def test_revenue_trend_of_a_single_day_has_four_periods(shop) -> None:
    query = shop(
        sales_fact=[
            {"order_amount": "10.00"},
            {"order_amount": "5.00", "customer_id": ""},
        ],
        first=date(2024, 1, 10),
        last=date(2024, 1, 10),
    )
    figures = ("15.00", "0.00", "15.00", "7.00", "46.67", "100.00", "2", "1", "2", "7.50", "1")
    nothing = (None, None, None, None)
    groups = ("All categories", "Garden")
    assert query("from marts.revenue_trend order by grain, category_name") == [
        *(("month", "2024-01-01", group, *figures, "31", False, *nothing, "465.00") for group in groups),
        *(("quarter", "2024-01-01", group, *figures, "91", False, *nothing, "1365.00") for group in groups),
        *(("week", "2024-01-08", group, *figures, "7", False, *nothing, "105.00") for group in groups),
        *(("year", "2024-01-01", group, *figures, "366", False, *nothing, "5490.00") for group in groups),
    ]


def test_revenue_trend_counts_orders_and_customers_once_a_period(shop) -> None:
    """An order of two days and two categories, a customer of two weeks, a guest, a refund without a category."""
    query = shop(
        product_category=[{}, {"category_name": "Kitchen", "cost_price": ""}],
        sales_fact=[
            {"order_id": "O1", "line_number": "1", "order_date": "2024-01-03"},
            {"order_id": "O1", "line_number": "2", "order_date": "2024-01-04", "product_id": "P2"},
            {"order_id": "O1", "line_number": "3", "order_date": "2024-01-09", "order_quantity": "4"},
            {"order_id": "O2", "order_date": "2024-01-04", "customer_id": ""},
            {"order_id": "O3", "order_date": "2024-01-09", "customer_id": "CUST002", "product_id": "UNKNOWN"},
            {"order_id": "O4", "order_date": "2024-01-09", "customer_id": "CUST003", "order_status": "voided"},
        ],
        refund=[
            {"refund_date": "2024-01-02", "refund_amount": "9.00"},
            {"refund_date": "2024-01-04", "refund_amount": "2.00"},
            {"refund_date": "2024-01-09", "refund_amount": "3.00", "order_id": "O1", "line_number": "1"},
        ],
        first=date(2024, 1, 1),
        last=date(2024, 1, 10),
    )
    columns = (
        "revenue, net_revenue, gross_profit, known_cost_percent, orders, customers, units, previous_period_revenue"
    )
    assert query(
        f"select period_start, category_name, {columns} from marts.revenue_trend"
        " where grain = 'week' order by 1, 2 nulls last"
    ) == [
        ("2024-01-01", "All categories", "30.00", "28.00", "12.00", "66.67", "2", "1", "3", None),
        ("2024-01-01", "Garden", "20.00", "20.00", "12.00", "100.00", "2", "1", "2", None),
        ("2024-01-01", "Kitchen", "10.00", "10.00", None, "0.00", "1", "1", "1", None),
        ("2024-01-01", None, "0.00", "-2.00", "0.00", None, "0", "0", "0", None),
        # Three days are compared with the first three: Monday to Wednesday.
        ("2024-01-08", "All categories", "20.00", "17.00", "-6.00", "50.00", "2", "2", "5", "10.00"),
        ("2024-01-08", "Garden", "10.00", "7.00", "-6.00", "100.00", "1", "1", "4", "10.00"),
        ("2024-01-08", "Kitchen", "0.00", "0.00", "0.00", None, "0", "0", "0", "0.00"),
        ("2024-01-08", None, "10.00", "10.00", None, "0.00", "1", "1", "1", "0.00"),
    ]
    assert query(
        f"select category_name, {columns} from marts.revenue_trend where grain = 'year' order by 1 nulls last"
    ) == [
        ("All categories", "50.00", "45.00", "6.00", "60.00", "3", "2", "8", None),
        ("Garden", "30.00", "27.00", "6.00", "100.00", "2", "1", "6", None),
        ("Kitchen", "10.00", "10.00", None, "0.00", "1", "1", "1", None),
        (None, "10.00", "8.00", None, "0.00", "1", "1", "1", None),
    ]


@pytest.mark.parametrize(
    ("temperature", "precipitation", "categories"),
    [
        ("-0.01", "0", ("Freezing", "No Rain")),
        ("0", "0.01", ("Cold", "Light Rain")),
        ("10", "2.49", ("Cold", "Light Rain")),
        ("10.01", "2.5", ("Cool", "Moderate Rain")),
        ("20", "7.49", ("Cool", "Moderate Rain")),
        ("20.01", "7.5", ("Warm", "Heavy Rain")),
        ("30", "0.0", ("Warm", "No Rain")),
        ("30.01", "0", ("Hot", "No Rain")),
    ],
)
def test_weather_categories_have_expected_limits(
    shop, temperature: str, precipitation: str, categories: tuple[str, str]
) -> None:
    query = shop(sales_fact=[{}], weather_data=[{"temperature": temperature, "precipitation": precipitation}])
    assert query("select temperature_category, precipitation_category from marts.weather_sales_impact") == [categories]


def days_of(first: date, last: date) -> list[str]:
    return [str(first + timedelta(days=number)) for number in range((last - first).days + 1)]


def test_weather_correlation_of_constant_values_is_null(shop) -> None:
    """The same revenue on each of the 60 days from the first order on; weather of the 91 covered days."""
    days = days_of(date(2024, 2, 1), date(2024, 3, 31))
    query = shop(
        sales_fact=[{"order_date": day, "order_amount": "10"} for day in days],
        weather_data=[
            {"date": day, "temperature": str(number % 5), "precipitation": "0"}
            for number, day in enumerate(days_of(date(2024, 1, 1), date(2024, 3, 31)))
        ],
    )
    columns = "factor, lag_days, days, correlation, ci_low, ci_high, is_significant, raw_correlation"
    assert query(f"select {columns} from marts.weather_correlation order by 1, 2") == [
        # With weather of days before the first order, whose sales are those of days after it.
        (factor, str(lag), "60", None, None, None, None, None)
        for factor in ("precipitation", "temperature")
        for lag in range(4)
    ]


@pytest.mark.parametrize(("days", "is_known"), [(29, False), (30, True)])
def test_weather_correlation_needs_thirty_days(shop, days: int, is_known: bool) -> None:
    """Twice as much is sold on every fifth day, on which it rains."""
    sold = days_of(date(2024, 2, 1), date(2024, 3, 31))
    query = shop(
        sales_fact=[
            {"order_date": day, "order_amount": "10" if number % 5 else "20"} for number, day in enumerate(sold)
        ],
        weather_data=[
            {"date": day, "temperature": "", "precipitation": "0" if number % 5 else "7"}
            for number, day in enumerate(sold[:days])
        ],
    )
    columns = "days, correlation is not null, is_significant, raw_correlation"
    rain = "marts.weather_correlation where factor = 'precipitation' and lag_days = 0"
    assert query(f"select {columns} from {rain}") == [
        (str(days), is_known, True if is_known else None, "1.0000" if is_known else None)
    ]
    assert query("select distinct days, correlation from marts.weather_correlation where factor = 'temperature'") == [
        ("0", None)
    ]


def test_weather_sales_impact_has_expected_rows(shop) -> None:
    def day(number: int, temperature: str, precipitation: str, city: str = "Berlin") -> dict[str, str]:
        return {
            "date": f"2024-01-0{number}",
            "temperature": temperature,
            "precipitation": precipitation,
            "city": city,
        }

    query = shop(
        sales_fact=[
            {"order_date": "2024-01-02", "order_amount": "10.00"},
            {"order_date": "2024-01-03", "order_amount": "20.00"},
            {"order_date": "2024-01-05", "order_amount": "40.00"},
        ],
        weather_data=[
            day(1, "40", "9"),
            day(2, "0", "0"),
            day(3, "10", "0"),
            day(4, "-0.1", "2.4"),
            day(5, "10.1", "7.5"),
            day(6, "", "1"),
            day(7, "1", ""),
            day(8, "1", "-1"),
            day(9, "2", "0"),
            day(2, "30.1", "2.5", "Bonn"),
        ],
    )
    # Until 19 January there is an order within 14 days. Of the three Tuesdays of these days only the first has sales:
    # the factor is a third of its own revenue / baseline, and its ratio is 3; likewise on Wednesday and on Friday.
    # On 4 January, a Thursday, the factor is 0: no ratio. Berlin's mean ratio is (3 + 3 + 3 + 0) / 4 = 2.25.
    assert query("from marts.weather_sales_impact order by 1, 5, 2") == [
        ("Berlin", "Freezing", "Light Rain", "1", "0.00", None),
        ("Berlin", "Cold", "No Rain", "3", "10.00", "88.89"),
        ("Berlin", "Cool", "Heavy Rain", "1", "40.00", "133.33"),
        ("Bonn", "Hot", "Moderate Rain", "1", "10.00", "100.00"),
    ]


@pytest.mark.parametrize(("last", "months"), [(date(2022, 12, 30), 0), (date(2022, 12, 31), 24)])
def test_seasonal_index_needs_twelve_complete_months(shop, last: date, months: int) -> None:
    query = shop(
        sales_fact=[
            {"order_date": day, "order_amount": "10"} for day in days_of(date(2021, 12, 20), date(2022, 12, 31))
        ],
        first=date(2021, 12, 20),
        last=last,
    )
    assert query("select count(*) from marts.seasonal_index") == [(str(months),)]
    columns = "index_percent, years_used, lowest, highest, strength, is_reliable"
    expected = [("100.00", "1", "100.00", "100.00", None, False)]
    assert query(f"select distinct {columns} from marts.seasonal_index") == expected[:months]


def test_seasonal_index_has_expected_months(shop) -> None:
    """
    Ten a day, twenty in each December, for two years of 365 days; no growth. Each 365 days have 10 × 334 + 20 × 31 =
    3,960, so every month is at 10 × 365 / 3,960 of its year and December at twice that: 1200 / 13 and 2400 / 13.
    """
    query = shop(
        sales_fact=[
            {"order_date": day, "order_amount": "20" if day[5:7] == "12" else "10"}
            for day in days_of(date(2022, 1, 1), date(2023, 12, 31))
        ],
        first=date(2022, 1, 1),
        last=date(2023, 12, 31),
    )
    assert query("from marts.seasonal_index where category_name = 'Garden' order by month_of_year") == [
        ("Garden", str(month), index, "2", index, index, "1.0000", True)
        for month, index in enumerate(["92.31"] * 11 + ["184.62"], start=1)
    ]


def test_category_change_is_valid_from_last_update_and_first_version_has_no_start(shop) -> None:
    query = shop(
        product=[{} for _ in range(4)],
        opening={
            "product_category": [
                {"category_name": "Old", "cost_price": "1", "last_updated": "2023-01-01"},
                {"category_name": "Old", "cost_price": "1", "last_updated": "2024-02-20"},
                {
                    "category_name": "Gone",
                    "cost_price": "1",
                    "last_updated": "2024-02-20",
                    "product_id": "P4",
                },
            ]
        },
        product_category=[
            {"category_name": "New", "cost_price": "3", "last_updated": "2024-02-10"},
            {"category_name": "New", "cost_price": "3", "last_updated": "2024-02-10"},
            {"category_name": "Only", "cost_price": "3", "last_updated": "2024-03-01"},
        ],
        sales_fact=[
            {"product_id": product, "order_date": order_date}
            for product in ("P1", "P2", "P3", "P4")
            for order_date in ("2024-01-01", "2024-02-09", "2024-02-10", "2024-02-20")
        ],
    )
    assert query(
        "select product_id, order_date, category_name, gross_profit from shop.counted_line order by 1, 2"
    ) == [
        ("P1", "2024-01-01", "Old", "9.00"), ("P1", "2024-02-09", "Old", "9.00"),
        ("P1", "2024-02-10", "New", "7.00"), ("P1", "2024-02-20", "New", "7.00"),
        ("P2", "2024-01-01", "Old", "9.00"), ("P2", "2024-02-09", "Old", "9.00"),
        ("P2", "2024-02-10", "Old", "9.00"), ("P2", "2024-02-20", "Old", "9.00"),
        ("P3", "2024-01-01", "Only", "7.00"), ("P3", "2024-02-09", "Only", "7.00"),
        ("P3", "2024-02-10", "Only", "7.00"), ("P3", "2024-02-20", "Only", "7.00"),
        ("P4", "2024-01-01", "Gone", "9.00"), ("P4", "2024-02-09", "Gone", "9.00"),
        ("P4", "2024-02-10", "Gone", "9.00"), ("P4", "2024-02-20", "Gone", "9.00"),
    ]  # fmt: skip
    assert query("select product_id, category_name from marts.inventory_status order by 1") == [
        ("P1", "New"), ("P2", "New"), ("P3", "Only"), ("P4", "Gone"),
    ]  # fmt: skip


def test_category_change_without_date_is_valid_from_its_read(shop) -> None:
    query = shop(
        opening={"product_category": [{"category_name": "Old"}]},
        product_category=[{"category_name": "New", "last_updated": ""}],
        sales_fact=[{"order_date": "2024-03-31"}],
    )
    assert query("select category_name from shop.counted_line") == [("Old",)]
    assert query("select category_name from marts.inventory_status") == [("New",)]


def test_vanished_customers_stay_and_so_do_subscriptions_until_the_read_without_them(shop) -> None:
    query = shop(
        opening={
            "product": [{"product_name": "Old"}, {"product_name": "Gone"}],
            "customer": [{"customer_name": "Old"}, {"customer_name": "Gone"}],
            "subscription_data": [{"monthly_fee": "1"}, {"monthly_fee": "2"}, {"monthly_fee": "4"}],
        },
        product=[{"product_name": "New"}],
        customer=[{"customer_name": "New"}],
        subscription_data=[{"monthly_fee": "10"}, {"subscription_id": "S3", "monthly_fee": "-1"}],
    )
    assert query("select product_id, product_name from marts.inventory_status order by 1") == [
        ("P1", "New"),
        ("P2", "Gone"),
    ]
    assert query("select customer_id, customer_name from marts.customer_segments order by 1") == [
        ("CUST001", "New"),
        ("CUST002", "Gone"),
    ]
    # The last read is after the as-of date: its fee, and that S2 is gone, count from then on. S3 is still there, but
    # its last row is invalid.
    assert query(
        "select subscription_id, monthly_fee from shop.subscription_day where day = '2024-03-31' order by 1"
    ) == [
        ("S1", "1.00"),
        ("S2", "2.00"),
        ("S3", "4.00"),
    ]
