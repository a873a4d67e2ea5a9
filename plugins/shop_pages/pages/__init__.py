"""The pages of figures, one module each. Their queries read `marts` only."""

from __future__ import annotations

from shop_pages.pages.customers import CUSTOMERS
from shop_pages.pages.operations import OPERATIONS
from shop_pages.pages.profit import PROFIT
from shop_pages.pages.revenue import REVENUE
from shop_pages.pages.review import REVIEW
from shop_pages.pages.seasons import SEASONS
from shop_pages.pages.stock import STOCK
from shop_pages.pages.subscriptions import SUBSCRIPTIONS
from shop_pages.pages.trends import TRENDS

#: By name, in the order of the navigation.
PAGES = {
    page.name: page for page in (REVENUE, PROFIT, TRENDS, CUSTOMERS, SUBSCRIPTIONS, STOCK, OPERATIONS, REVIEW, SEASONS)
}

#: First and last day of the marts: that of the first order, and the as-of date.
DAY_RANGE = """
    select min(order_date) as first, max(order_date) as last
    from marts.daily_revenue"""

#: Days with orders before the first loaded day. Their orders do not add up: one with lines on two days counts on both.
EARLIER_DAYS = """
    select count(*) filter (where daily_orders > 0) as days, sum(daily_revenue) as revenue
    from marts.daily_revenue
    where order_date < %(covered_first)s"""

CATEGORIES = """
    select distinct category_name
    from marts.seasonal_sales_analysis
    where category_name is not null
    order by category_name"""
