"""What is true of the published marts of any shop, whatever its rows are."""

from __future__ import annotations

from psycopg import Connection

#: Law → a query for what breaks it; no rows if it holds. None of these shops has orders dated after the as-of date.
LAWS = {
    "net revenue of a category is its revenue less its refunds": """
        select 1 from marts.product_category_revenue_monthly
        where net_revenue <> total_revenue - refunded_amount
    """,
    "net revenue of a product is its revenue less its refunds": """
        select 1 from marts.product_performance_monthly
        where net_revenue <> revenue - refunded_amount
    """,
    "net revenue of a day is its revenue less its refunds": """
        select 1 from marts.daily_revenue
        where net_revenue <> daily_revenue - refunded_amount
    """,
    "a customer's value is the revenue less the refunds": """
        select 1 from marts.customer_segments
        where lifetime_value <> lifetime_revenue - refunded_amount
    """,
    "net revenue of a period is its revenue less its refunds": """
        select 1 from marts.revenue_trend
        where net_revenue <> revenue - refunded_amount
    """,
    "each grain of the trend adds up to the days": """
        select 1
        from marts.revenue_trend
        where category_name = 'All categories'
        group by grain
        having (sum(revenue), sum(refunded_amount))
            <> (select sum(daily_revenue), sum(refunded_amount) from marts.daily_revenue)
    """,
    "the categories of a period make its total": """
        select 1
        from marts.revenue_trend
        group by grain, period_start
        having
            coalesce(sum(revenue - refunded_amount) filter (where category_name = 'All categories'), 0)
            <> coalesce(
                sum(revenue - refunded_amount) filter (where category_name is distinct from 'All categories'), 0
            )
    """,
    "a period has at most the orders of its categories, and at least those of the largest": """
        select 1
        from marts.revenue_trend
        group by grain, period_start
        having
            coalesce(max(orders) filter (where category_name = 'All categories'), 0) not between
            coalesce(max(orders) filter (where category_name is distinct from 'All categories'), 0)
            and coalesce(sum(orders) filter (where category_name is distinct from 'All categories'), 0)
    """,
    "a period has at most the customers of its categories, and at least those of the largest": """
        select 1
        from marts.revenue_trend
        group by grain, period_start
        having
            coalesce(max(customers) filter (where category_name = 'All categories'), 0) not between
            coalesce(max(customers) filter (where category_name is distinct from 'All categories'), 0)
            and coalesce(sum(customers) filter (where category_name is distinct from 'All categories'), 0)
    """,
    "a month's contribution is that of its groups": """
        select 1
        from marts.margin_bridge_monthly as bridge
        left join marts.order_profitability_monthly as groups using (revenue_month)
        group by bridge.revenue_month, bridge.contribution
        having coalesce(sum(groups.contribution_amount), 0) <> coalesce(bridge.contribution, 0)
    """,
    "the bridge leads from one contribution to the other": """
        select 1 from marts.margin_bridge_monthly
        where
            previous_contribution + volume_effect + mix_effect + list_price_effect + discount_effect + cost_effect
            + shipping_effect <> contribution
            or num_nulls(
                volume_effect, mix_effect, list_price_effect, discount_effect, cost_effect, shipping_effect,
                previous_contribution + contribution
            ) not in (0, 7)
    """,
    "list price less discount is the revenue, where the list price is known": """
        select 1 from marts.order_profitability_monthly
        where list_amount - discount_amount > revenue
    """,
    "profit is revenue less cost, and contribution profit less shipping": """
        select 1 from marts.order_profitability_monthly
        where
            known_cost_percent = 100
            and (gross_profit <> revenue - cost_amount or contribution_amount <> gross_profit - shipping_cost)
    """,
    "only complete months are ranked": """
        select 1 from marts.product_performance_monthly
        where category_rank is not null and not is_complete
        union all
        select 1 from marts.seasonal_sales_analysis
        where is_complete <> (performance_category <> 'Incomplete')
    """,
    "each refund is in one month and category": """
        select 1 from marts.product_category_revenue_monthly
        having coalesce(sum(refunded_amount), 0)
            <> (select coalesce(sum(round(refund_amount, 2)), 0) from raw.refund)
    """,
    "each refund is on its day, from the first order to the as-of date": """
        select 1 from marts.daily_revenue
        having coalesce(sum(refunded_amount), 0) <> (
            select coalesce(sum(round(refund_amount, 2)), 0)
            from raw.refund
            where refund_date between
                (select min(order_date) from marts.daily_revenue)
                and (select max(order_date) from marts.daily_revenue)
        )
    """,
    "each refund of a product is in one of its months": """
        select 1 from marts.product_performance_monthly
        having coalesce(sum(refunded_amount), 0) <> (
            select coalesce(sum(refund_amount), 0) from core.fact_refunds where product_id is not null
        )
    """,
    "each refund of a customer is in the customer's value": """
        select 1 from marts.customer_segments
        having coalesce(sum(refunded_amount), 0) <> (
            select coalesce(sum(refund_amount), 0) from core.fact_refunds where customer_id is not null
        )
    """,
    "no day counts an order that is not there, and each order is on a day": """
        with counted as (
            select order_id, order_date
            from raw.sales_fact
            where
                round(order_amount, 2) > 0
                and lower(btrim(coalesce(order_status, ''))) not in ('cancelled', 'canceled', 'voided', 'failed')
        )
        select 1 from marts.daily_revenue
        having
            coalesce(sum(daily_orders), 0) < (select count(distinct order_id) from counted)
            or coalesce(sum(daily_orders), 0) <> (select count(distinct (order_id, order_date)) from counted)
    """,
    "guests and customers make a day's revenue": """
        select 1 from marts.daily_revenue
        where guest_revenue + new_customer_revenue + returning_customer_revenue <> daily_revenue
    """,
    "guests and customers make a day's orders": """
        select 1 from marts.daily_revenue
        where guest_orders > daily_orders or (daily_customers = 0 and guest_orders <> daily_orders)
    """,
    "guests and customers make the whole revenue": """
        select 1 from marts.product_category_revenue_monthly
        having coalesce(sum(total_revenue), 0) <> (
            (select coalesce(sum(lifetime_revenue), 0) from marts.customer_segments)
            + (select coalesce(sum(guest_revenue), 0) from marts.daily_revenue)
        )
    """,
    "no guest is a customer": """
        select 1 from marts.customer_segments
        where customer_id is null or btrim(customer_id) = ''
    """,
}


def broken_laws(connection: Connection) -> set[str]:
    """The laws that do not hold for the published marts."""
    return {law for law, query in LAWS.items() if connection.execute(query.encode()).fetchone() is not None}
