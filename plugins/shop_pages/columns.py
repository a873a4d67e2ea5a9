"""What a column is called, what it says, and how its values are written, on every page by the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from ecommerce.common.shop import shop
from shop_pages.figures import FigureColumn
from shop_pages.formats import Format, auto_format, format_value
from shop_pages.metrics import definitions
from shop_pages.words import heading_of, words_of

#: Names of a figure's columns that are not those of the mart → those that the mart may have for them.
_SAME = {
    "revenue": ("total_revenue", "monthly_revenue", "daily_revenue"),
    "orders": ("order_count", "monthly_orders", "total_orders"),
    "gross_profit": ("total_gross_profit", "daily_gross_profit"),
    "percent": (),
}
#: What a column says that is no figure of its mart: a name, a day, what it is compared with.
_WORDS = {
    "revenue": "What was sold, before refunds.",
    "orders": "Different orders of this row; an order may be in several rows.",
    "refunded_amount": "What was paid back; it counts when it was paid back.",
    "net_revenue": "Revenue minus refunds.",
    "order_date": "The shop’s day of the order.",
    "month": "The month of the shop’s days.",
    "week": "The Monday of the week.",
    "category_name": "The category that the product had on the day of the order.",
    "subcategory": "The subcategory that the product had on the day of the order.",
    "product_id": "The shop’s number of the product.",
    "product_name": "The product’s name now.",
    "payment_method": "How the order was paid; unknown where the shop does not say.",
    "plan_type": "The plan of the subscription.",
    "customer_id": "The shop’s number of the customer.",
    "customer_name": "The customer’s name now.",
    "customer_tier": "By lifetime value: the highest tier has the highest value.",
    "rfm_segment": "By the last order, the number of orders and the value, each from 1 to 5.",
    "supplier_id": "The supplier of the product.",
    "brand": "The brand of the product.",
    "season": "Winter is December to February, and so on.",
    "inventory_status": "Out of stock, at the reorder point, in stock, or not known.",
    "product_status": "As the stock, or discontinued or removed where it is not sold any more.",
    "abc_class": "A: the products that make the first 80 % of the contribution; B: up to 95 %; C: the rest.",
    "is_complete": "Whether all days of the period are loaded.",
    "grain": "Week, month, quarter or year.",
    "period_start": "The first day of the period.",
    "percent": "The share of this row in all rows of its group.",
    "target": "What the shop’s targets say.",
    "target_to_date": "The target for as many days as the period has had.",
    "target_percent": "Revenue in percent of the target to date.",
    "difference": "Revenue minus what it is compared with.",
    "reasons": "The rules that the order breaks.",
    "customer": "The customer’s name now, or number, or Guest.",
    "order_amount": "What the order’s lines amount to, after discounts.",
    "expected_loss": "What the order is expected to cost, from the rules that it breaks.",
    "risk_score": "The points of the rules that the order breaks.",
    "status": "What a person said of it last; open if nobody has said anything.",
    "description": "The rule for orders.",
    "owner": "Who looks after the rule.",
    "weight": "The points of an order that breaks the rule.",
    "reviewed": "Orders of which a person has said something.",
    "problems": "Reviewed orders that were a problem.",
    "watched": "Reviewed orders that someone watches.",
    "fine": "Reviewed orders that were fine.",
    "problem_percent": "Problems in percent of the reviewed orders.",
    "review_priority": "High from so many points on as the project says, else Medium.",
}
#: Of computed columns, by the figure's mart.
_COMPUTED: Mapping[str, str] = {
    "guest_order_percent": "Orders of guests in percent of all orders.",
    "new_customers": "Revenue of customers whose first order is of these days.",
    "returning_customers": "Revenue of customers who had ordered before.",
    "guests": "Revenue of guests.",
    "first_orders": "Customers whose first order is of these days.",
    "discount_percent": "Discount in percent of the list price.",
    "discount_amount": "List price minus what was paid for it.",
    "unlisted_revenue": "Revenue of lines whose list price is not known.",
    "unknown_cost_revenue": "Revenue of lines whose cost is not known.",
    "net_gross_profit": "Gross profit minus refunds.",
    "net_contribution": "Contribution minus refunds.",
    "discount_band": "The discount of an order line in percent of its list price.",
    "shipping_band": "The shipping cost of an order line in percent of its amount.",
    "customers": "Customers of this row.",
    "average_value": "Lifetime value for each customer.",
    "cohort_month": "The month of the customers’ first order.",
    "order_month": "The month in which they ordered again.",
    "revenue_per_customer": "Revenue so far for each customer of the cohort.",
    "cohort_customers": "Customers whose first order is of this month.",
    "other_product_id": "The product that the same customers bought.",
    "other_name": "The name of that product.",
    "event_date": "The shop’s day of the events.",
    "last_order_date": "The day of the customer’s last order.",
    "reason": "Why it should be ordered, from sales and stock.",
    "products": "Products of this row.",
    "units": "Units of this row.",
    "out_of_stock": "Products of which nothing is in stock.",
    "of_class_a": "Products of class A.",
    "products_percent": "Products in percent of all products.",
    "units_percent": "Units sold in 30 days in percent of all.",
    "value_percent": "Stock value in percent of all.",
    "days_stocked_out": "Days at whose end the product was known to be out of stock.",
    "last_day_without_stock": "The last of these days.",
    "date_key": "The shop’s day.",
    "order_id": "The shop’s number of the order.",
    "rule": "The rule for orders.",
    "performance_category": "The month beside the average month of the category.",
    "month_of_year": "1 is January.",
    "is_reliable": "Two years or more of complete months.",
    "city": "The city of the weather.",
    "temperature_category": "Freezing below 0 °C, cold to 10, cool to 20, warm to 30, else hot.",
    "precipitation_category": "No rain, light below 2.5 mm, moderate below 7.5 mm, else heavy.",
    "factor": "Temperature or rain.",
    "effect": "What the correlation means, if it is certain enough.",
    "month_number": "The month of a customer’s subscription, counted from 1.",
    "ended": "Customers whose last month it was.",
    "still_subscribed_percent": "Share of the subscribers who are expected to stay longer than this month.",
    "subscription_status": "Whether a subscription of the customer is active on the last day.",
    "first_start_date": "The first day of the customer’s first subscription.",
}
_PERCENT_ENDS = ("_percent", "_share")
_MONEY_ENDS = (
    "_amount", "_revenue", "_profit", "_cost", "_price", "_value", "_mrr", "_fee", "_fees", "_loss",
)  # fmt: skip
_MONEY_NAMES = ("revenue", "mrr", "contribution", "run_rate", "revenue_7d_avg", "revenue_28d_avg")
#: Whose values are parts of one, as 0.35, and shown in percent. Not by the end of the name: a run rate is an amount.
_FRACTIONS = ("discount_rate",)
#: Whose values are SQL names.
_NAMES = ("source", "rule", "broken_rules")
_MONTHS = ("month", "revenue_month", "sales_month", "cohort_month", "order_month")


def definition_of(mart: str, column: FigureColumn) -> str:
    """What a column of a figure says, in a sentence; empty if nothing is known of it."""
    if column.help:
        return column.help
    known = definitions().get(mart, {})
    for name in (column.name, *_SAME.get(column.name, ())):
        if name in known:
            return known[name].text
    return _WORDS.get(column.name) or _COMPUTED.get(column.name, "")


def currency() -> str:
    """The ISO code of the shop's currency; empty if its profile names none."""
    return shop().currency or ""


def format_of(mart: str, name: str) -> Format:
    """How the values of a column are written: by the unit that its mart defines, else by its name."""
    definition = definitions().get(mart, {}).get(name)
    unit = definition.unit if definition else ""
    if unit.startswith("percent") or name.endswith(_PERCENT_ENDS):
        return Format.PERCENT
    if unit.startswith("money") or name in _MONEY_NAMES or name.endswith(_MONEY_ENDS):
        return Format.MONEY
    if unit in ("orders", "customers", "units", "events", "subscriptions"):
        return Format.COUNT
    if name.endswith("_date") or name == "date_key":
        return Format.DAY
    return Format.MONTH if name in _MONTHS else Format.TEXT


def value_in_words(mart: str, name: str, value: Any, zone: tzinfo) -> str:
    """A value of a row of a mart or of core: with its unit, and a fraction such as 0.35 as `35.00 %`."""
    if name in _FRACTIONS and value is not None:
        return format_value(100 * value, Format.PERCENT)
    if name in _NAMES and value is not None:
        return words_of(", ".join(value)) if isinstance(value, list) else heading_of(value)
    return auto_format(value, format_of(mart, name), zone)
