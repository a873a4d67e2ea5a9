"""The pages of figures: Revenue, Customers, Operations, Seasons & weather. Each query reads `marts` alone."""

from __future__ import annotations

from typing import Any

from shop_pages.figures import TABLE_ROWS, Column, Figure, Page, Plot, column_of, heat, lines, plain, ranked, split
from shop_pages.formats import Kind
from shop_pages.queries import Row

_DAY = Column("order_date", "Day", Kind.DAY)
_MONTH = Column("month", "Month", Kind.MONTH)
_CATEGORY = Column("category_name", "Category")
_ORDERS = Column("orders", "Orders", Kind.COUNT)
_REVENUE = Column("revenue", "Revenue", Kind.MONEY)

#: A month belongs to a range of days when any of its days does.
_MONTHS = "between date_trunc('month', %(first)s::timestamp)::date and %(last)s"
_OF_CATEGORY = "(%(category)s::text is null or category_name = %(category)s)"


# -- Revenue -----------------------------------------------------------------------------------------------------------


def _draw_trend(rows: list[Row]) -> Plot:
    days = column_of(rows, "order_date")
    return {
        "data": [
            {"type": "bar", "name": "Day", "x": days, "y": column_of(rows, "daily_revenue"), "opacity": 0.45},
            {"type": "scatter", "mode": "lines", "name": "7-day average", "x": days,
             "y": column_of(rows, "revenue_7d_avg"), "line": {"width": 3}},
        ],
        "layout": {"yaxis": {"rangemode": "tozero"}},
    }  # fmt: skip


def _draw_shares(rows: list[Row]) -> Plot:
    plot = split(rows, "payment_method", x="month", y="percent")
    plot["layout"]["yaxis"] = {"ticksuffix": " %", "range": [0, 100]}
    return plot


REVENUE = Page(
    name="revenue",
    title="Revenue",
    lead="What was sold, of what, and how it was paid.",
    figures=(
        Figure(
            name="trend",
            title="Revenue by day",
            question="Is it going up, beyond the ups and downs of a week?",
            mart="daily_revenue",
            query="""
                select
                    order_date, daily_revenue, revenue_7d_avg, daily_gross_profit, daily_orders, daily_customers,
                    avg_order_value, daily_growth_percent
                from marts.daily_revenue
                where order_date between %(first)s and %(last)s
                order by order_date""",
            columns=(
                _DAY,
                Column("daily_revenue", "Revenue", Kind.MONEY),
                Column("revenue_7d_avg", "7-day average", Kind.MONEY),
                Column("daily_gross_profit", "Gross profit", Kind.MONEY),
                Column("daily_orders", "Orders", Kind.COUNT),
                Column("daily_customers", "Customers", Kind.COUNT),
                Column("avg_order_value", "Average order", Kind.MONEY),
                Column("daily_growth_percent", "Growth", Kind.PERCENT),
            ),
            draw=_draw_trend,
            keys={"order_date": "order_date"},
        ),
        Figure(
            name="categories",
            title="Categories by month",
            question="Which categories carry the revenue, and with what margin?",
            mart="product_category_revenue_monthly",
            query=f"""
                select
                    revenue_month as month, category_name, subcategory, total_revenue as revenue, total_gross_profit,
                    gross_margin_percent, order_count as orders, units_sold
                from marts.product_category_revenue_monthly
                where revenue_month {_MONTHS} and {_OF_CATEGORY}
                order by revenue_month, revenue desc, category_name, subcategory""",
            columns=(
                _MONTH,
                _CATEGORY,
                Column("subcategory", "Subcategory"),
                _REVENUE,
                Column("total_gross_profit", "Gross profit", Kind.MONEY),
                Column("gross_margin_percent", "Margin", Kind.PERCENT),
                _ORDERS,
                Column("units_sold", "Units", Kind.COUNT),
            ),
            draw=lambda rows: split(
                _summed(rows, ("month", "category_name"), "revenue"), "category_name", x="month", y="revenue"
            ),
            keys={"revenue_month": "month", "category_name": "category_name", "subcategory": "subcategory"},
        ),
        Figure(
            name="returning",
            title="New and returning customers",
            question="Does the revenue come from people who come back?",
            mart="daily_revenue",
            query="""
                select
                    date_trunc('week', order_date::timestamp)::date as week,
                    sum(new_customer_revenue) as new_customers,
                    sum(returning_customer_revenue) as returning_customers,
                    sum(new_customers) as first_orders
                from marts.daily_revenue
                where order_date between %(first)s and %(last)s
                group by 1
                order by 1""",
            columns=(
                Column("week", "Week from", Kind.DAY),
                Column("new_customers", "Revenue of new customers", Kind.MONEY),
                Column("returning_customers", "Revenue of returning customers", Kind.MONEY),
                Column("first_orders", "New customers", Kind.COUNT),
            ),
            draw=lambda rows: {
                "data": [
                    {"type": "bar", "name": label, "x": column_of(rows, "week"), "y": column_of(rows, name)}
                    for name, label in (("returning_customers", "Returning"), ("new_customers", "New"))
                ],
                "layout": {"barmode": "stack"},
            },
        ),
        Figure(
            name="payments",
            title="Payment mix",
            question="How do people pay, and is that changing?",
            mart="product_revenue_payment_analysis",
            query=f"""
                select
                    revenue_month as month, payment_method, sum(revenue) as revenue, sum(order_count) as orders,
                    round(sum(revenue) * 100 / nullif(sum(sum(revenue)) over (partition by revenue_month), 0), 2)
                        as percent
                from marts.product_revenue_payment_analysis
                where revenue_month {_MONTHS} and {_OF_CATEGORY}
                group by revenue_month, payment_method
                order by revenue_month, revenue desc, payment_method""",
            columns=(
                _MONTH,
                Column("payment_method", "Payment method"),
                _REVENUE,
                _ORDERS,
                Column("percent", "Share", Kind.PERCENT),
            ),
            draw=_draw_shares,
        ),
        Figure(
            name="methods",
            title="Payment methods over all time",
            question="Which way of paying brings the larger orders?",
            mart="payment_method_preference",
            query="""
                select
                    payment_method, total_orders as orders, total_revenue as revenue, avg_order_value, min_order_value,
                    max_order_value, order_percent, revenue_percent
                from marts.payment_method_preference
                order by revenue desc, payment_method""",
            columns=(
                Column("payment_method", "Payment method"),
                _ORDERS,
                _REVENUE,
                Column("avg_order_value", "Average order", Kind.MONEY),
                Column("min_order_value", "Smallest", Kind.MONEY),
                Column("max_order_value", "Largest", Kind.MONEY),
                Column("order_percent", "Of all orders", Kind.PERCENT),
                Column("revenue_percent", "Of all revenue", Kind.PERCENT),
            ),
            draw=lambda rows: ranked(rows, label="payment_method", y="avg_order_value"),
            keys={"payment_method": "payment_method"},
        ),
        Figure(
            name="products",
            title="Leading products",
            question="Which products lead the last month of the range, and which gain or lose?",
            mart="product_performance_monthly",
            query=f"""
                select
                    revenue_month as month, product_id, product_name, category_name, revenue, gross_profit,
                    order_count as orders, units_sold, category_rank, category_revenue_percent, mom_growth_percent
                from marts.product_performance_monthly
                where
                    revenue_month = date_trunc('month', %(last)s::timestamp)::date
                    and {_OF_CATEGORY}
                order by revenue desc, product_id
                limit 100""",
            columns=(
                _MONTH,
                Column("product_id", "Product"),
                Column("product_name", "Name"),
                _CATEGORY,
                _REVENUE,
                Column("gross_profit", "Gross profit", Kind.MONEY),
                _ORDERS,
                Column("units_sold", "Units", Kind.COUNT),
                Column("category_rank", "Rank in category", Kind.COUNT),
                Column("category_revenue_percent", "Of the category", Kind.PERCENT),
                Column("mom_growth_percent", "To the month before", Kind.PERCENT),
            ),
            draw=lambda rows: ranked(rows[:15], label="product_name", y="revenue"),
            keys={"revenue_month": "month", "product_id": "product_id"},
        ),
    ),
)


# -- Customers ---------------------------------------------------------------------------------------------------------


def _draw_funnel(rows: list[Row]) -> Plot:
    steps = (("views", "Views"), ("add_to_carts", "Put in the cart"), ("purchases", "Purchases"))
    return {
        "data": [
            {
                "type": "funnel",
                "y": [label for _, label in steps],
                "x": [sum(row[name] or 0 for row in rows) for name, _ in steps],
                "texttemplate": "%{value:,}<br>%{percentInitial:.1%}",
            }
        ],
        "layout": {"showlegend": False},
    }


def _draw_waterfall(rows: list[Row]) -> Plot:
    """From what the first month opened with, over what each month won and lost, to what the last one closed with."""
    totals: dict[Any, list[float]] = {}
    for row in rows:
        sums = totals.setdefault(row["month"], [0.0, 0.0, 0.0])
        for n, name in enumerate(("opening_mrr", "new_mrr", "churned_mrr")):
            sums[n] += float(row[name])
    months = sorted(totals)
    if not months:
        return {"data": [], "layout": {}}
    x: list[list[str]] = [[f"{months[0]:%b %Y}"], ["opening"]]
    y, measure = [totals[months[0]][0]], ["absolute"]
    for month in months:
        _, won, lost = totals[month]
        x[0] += [f"{month:%b %Y}"] * 2
        x[1] += ["new", "churned"]
        y += [won, -lost]
        measure += ["relative", "relative"]
    x[0].append(f"{months[-1]:%b %Y}")
    x[1].append("closing")
    y.append(0.0)
    measure.append("total")
    return {
        "data": [{"type": "waterfall", "x": x, "y": y, "measure": measure, "name": "MRR"}],
        "layout": {"showlegend": False},
    }


CUSTOMERS = Page(
    name="customers",
    title="Customers",
    lead="Who they are, whether they come back, and what they subscribe to.",
    figures=(
        Figure(
            name="tiers",
            title="Customer tiers",
            question="How many customers make how much of the revenue?",
            mart="customer_segments",
            query="""
                select
                    customer_tier, count(*) as customers, sum(lifetime_value) as lifetime_value,
                    round(avg(lifetime_value), 2) as average_value,
                    round(sum(lifetime_value) * 100 / nullif(sum(sum(lifetime_value)) over (), 0), 2) as percent
                from marts.customer_segments
                group by customer_tier
                order by lifetime_value desc""",
            columns=(
                Column("customer_tier", "Tier"),
                Column("customers", "Customers", Kind.COUNT),
                Column("lifetime_value", "Lifetime value", Kind.MONEY),
                Column("average_value", "Average", Kind.MONEY),
                Column("percent", "Of all", Kind.PERCENT),
            ),
            draw=lambda rows: {
                "data": [
                    {
                        "type": "pie",
                        "hole": 0.6,
                        "labels": column_of(rows, "customer_tier"),
                        "name": label,
                        "values": column_of(rows, name),
                        "domain": {"column": n},
                        "title": {"text": label},
                        "sort": False,
                    }
                    for n, (name, label) in enumerate((("customers", "Customers"), ("lifetime_value", "Revenue")))
                ],
                "layout": {"grid": {"rows": 1, "columns": 2}},
            },
        ),
        Figure(
            name="segments",
            title="Segments by recency, frequency and value",
            question="Who are the best customers, and who is about to leave?",
            mart="customer_segments",
            query="""
                select
                    rfm_segment, count(*) as customers, sum(lifetime_value) as lifetime_value,
                    round(avg(days_since_last_order), 1) as days_since_last_order,
                    round(avg(total_orders), 1) as orders
                from marts.customer_segments
                where rfm_segment is not null
                group by rfm_segment
                order by lifetime_value desc""",
            columns=(
                Column("rfm_segment", "Segment"),
                Column("customers", "Customers", Kind.COUNT),
                Column("lifetime_value", "Lifetime value", Kind.MONEY),
                Column("days_since_last_order", "Days since the last order", Kind.NUMBER),
                Column("orders", "Orders a customer", Kind.NUMBER),
            ),
            draw=lambda rows: ranked(rows, label="rfm_segment", y="lifetime_value"),
        ),
        Figure(
            name="cohorts",
            title="Cohorts",
            question="Of those who first bought in a month, how many buy again in the months after?",
            mart="customer_cohorts_monthly",
            query="""
                select
                    cohort_month, order_month, months_since_first, cohort_customers, active_customers,
                    retention_percent, revenue, cumulative_revenue
                from marts.customer_cohorts_monthly
                order by cohort_month, months_since_first""",
            columns=(
                Column("cohort_month", "First bought in", Kind.MONTH),
                Column("order_month", "Month", Kind.MONTH),
                Column("months_since_first", "Months after", Kind.COUNT),
                Column("cohort_customers", "Cohort", Kind.COUNT),
                Column("active_customers", "Active", Kind.COUNT),
                Column("retention_percent", "Retention", Kind.PERCENT),
                _REVENUE,
                Column("cumulative_revenue", "Revenue so far", Kind.MONEY),
            ),
            # In its first month a cohort is complete, which would drown what comes after.
            draw=lambda rows: heat(
                [{**row, "cohort_month": f"{row['cohort_month']:%Y-%m}"} for row in rows if row["months_since_first"]],
                x="months_since_first",
                y="cohort_month",
                z="retention_percent",
                unit=" %",
            ),
            keys={"cohort_month": "cohort_month", "order_month": "order_month"},
        ),
        Figure(
            name="funnel",
            title="From view to purchase",
            question="Where do people leave on the way to an order?",
            mart="conversion_funnel_daily",
            query="""
                select
                    event_date, views, add_to_carts, purchases, viewers, carters, buyers, view_to_cart_percent,
                    cart_to_purchase_percent, view_to_purchase_percent
                from marts.conversion_funnel_daily
                where event_date between %(first)s and %(last)s
                order by event_date""",
            columns=(
                Column("event_date", "Day", Kind.DAY),
                Column("views", "Views", Kind.COUNT),
                Column("add_to_carts", "Put in the cart", Kind.COUNT),
                Column("purchases", "Purchases", Kind.COUNT),
                Column("viewers", "Viewers", Kind.COUNT),
                Column("carters", "With a cart", Kind.COUNT),
                Column("buyers", "Buyers", Kind.COUNT),
                Column("view_to_cart_percent", "View to cart", Kind.PERCENT),
                Column("cart_to_purchase_percent", "Cart to purchase", Kind.PERCENT),
                Column("view_to_purchase_percent", "View to purchase", Kind.PERCENT),
            ),
            draw=_draw_funnel,
            keys={"event_date": "event_date"},
        ),
        Figure(
            name="conversion",
            title="Conversion by day",
            question="Is a visit worth more or less than it was?",
            mart="conversion_funnel_daily",
            query="""
                select event_date, viewers, buyers, view_to_cart_percent, view_to_purchase_percent
                from marts.conversion_funnel_daily
                where event_date between %(first)s and %(last)s
                order by event_date""",
            columns=(
                Column("event_date", "Day", Kind.DAY),
                Column("viewers", "Viewers", Kind.COUNT),
                Column("buyers", "Buyers", Kind.COUNT),
                Column("view_to_cart_percent", "View to cart", Kind.PERCENT),
                Column("view_to_purchase_percent", "View to purchase", Kind.PERCENT),
            ),
            draw=lambda rows: lines(
                rows,
                "event_date",
                {"view_to_cart_percent": "View to cart", "view_to_purchase_percent": "View to purchase"},
                yaxis={"ticksuffix": " %", "rangemode": "tozero"},
            ),
            keys={"event_date": "event_date"},
        ),
        Figure(
            name="subscriptions",
            title="Recurring revenue",
            question="How much monthly revenue came, and how much went?",
            mart="subscription_performance_monthly",
            query=f"""
                select
                    revenue_month as month, plan_type, opening_mrr, new_mrr, churned_mrr, closing_mrr,
                    active_subscriptions, new_subscriptions, churned_subscriptions, churn_percent
                from marts.subscription_performance_monthly
                where revenue_month {_MONTHS}
                order by revenue_month, plan_type""",
            columns=(
                _MONTH,
                Column("plan_type", "Plan"),
                Column("opening_mrr", "Opening MRR", Kind.MONEY),
                Column("new_mrr", "New", Kind.MONEY),
                Column("churned_mrr", "Churned", Kind.MONEY),
                Column("closing_mrr", "Closing MRR", Kind.MONEY),
                Column("active_subscriptions", "Active", Kind.COUNT),
                Column("new_subscriptions", "New", Kind.COUNT),
                Column("churned_subscriptions", "Churned", Kind.COUNT),
                Column("churn_percent", "Churn", Kind.PERCENT),
            ),
            draw=_draw_waterfall,
            keys={"revenue_month": "month", "plan_type": "plan_type"},
        ),
        Figure(
            name="plans",
            title="Subscriptions by plan",
            question="Which plans grow?",
            mart="subscription_performance_monthly",
            query="""
                select revenue_month as month, plan_type, active_subscriptions, closing_mrr
                from marts.subscription_performance_monthly
                order by revenue_month, plan_type""",
            columns=(
                _MONTH,
                Column("plan_type", "Plan"),
                Column("active_subscriptions", "Active", Kind.COUNT),
                Column("closing_mrr", "Closing MRR", Kind.MONEY),
            ),
            draw=lambda rows: split(rows, "plan_type", x="month", y="active_subscriptions", kind="line"),
            keys={"revenue_month": "month", "plan_type": "plan_type"},
        ),
        Figure(
            name="best",
            title="Best customers",
            question="Who should hear from us personally?",
            mart="customer_segments",
            query="""
                select
                    customer_id, customer_name, customer_tier, rfm_segment, lifetime_value, total_orders,
                    avg_order_value, last_order_date, days_since_last_order, orders_per_30_days
                from marts.customer_segments
                order by lifetime_value desc, customer_id
                limit 200""",
            columns=(
                Column("customer_id", "Customer"),
                Column("customer_name", "Name"),
                Column("customer_tier", "Tier"),
                Column("rfm_segment", "Segment"),
                Column("lifetime_value", "Lifetime value", Kind.MONEY),
                Column("total_orders", "Orders", Kind.COUNT),
                Column("avg_order_value", "Average order", Kind.MONEY),
                Column("last_order_date", "Last order", Kind.DAY),
                Column("days_since_last_order", "Days since", Kind.COUNT),
                Column("orders_per_30_days", "Orders in 30 days", Kind.NUMBER),
            ),
            keys={"customer_id": "customer_id"},
        ),
    ),
)


# -- Operations --------------------------------------------------------------------------------------------------------


def _draw_stock(rows: list[Row]) -> Plot:
    plot = split(rows, "inventory_status", x="category_name", y="products")
    plot["layout"]["xaxis"] = {"type": "category"}
    return plot


_STOCK = (
    Column("product_id", "Product"),
    Column("product_name", "Name"),
    _CATEGORY,
    Column("stock_level", "In stock", Kind.COUNT),
    Column("reorder_point", "Reorder at", Kind.COUNT),
    Column("inventory_status", "Stock"),
    Column("product_status", "Status"),
    Column("units_sold_30d", "Sold in 30 days", Kind.COUNT),
    Column("days_of_stock", "Lasts, days", Kind.NUMBER),
)
_STOCK_COLUMNS = ", ".join(column.name for column in _STOCK)

#: What runs out or has run out, and is still sold.
_TO_REORDER = f"""
                    inventory_status in ('Needs Reorder', 'Out of Stock') and product_status <> 'Discontinued'
                    and {_OF_CATEGORY}"""

_REVIEWS = (
    Column("order_id", "Order"),
    Column("customer_id", "Customer"),
    Column("customer_name", "Name"),
    _DAY,
    Column("order_amount", "Amount", Kind.MONEY),
    Column("discount_percent", "Discount", Kind.PERCENT),
    Column("shipping_percent", "Shipping", Kind.PERCENT),
    Column("is_high_discount", "High discount", Kind.FLAG),
    Column("is_high_shipping", "High shipping", Kind.FLAG),
    Column("review_priority", "Priority"),
)
_REVIEW_COLUMNS = ", ".join(column.name for column in _REVIEWS)

OPERATIONS = Page(
    name="operations",
    title="Operations",
    lead="What to order again, and which orders someone should look at.",
    figures=(
        Figure(
            name="reorder",
            title="To order again",
            question="What runs out first?",
            mart="inventory_status",
            query=f"""
                select {_STOCK_COLUMNS}
                from marts.inventory_status
                where {_TO_REORDER}
                order by days_of_stock nulls last, units_sold_30d desc, product_id""",
            columns=_STOCK,
            chart=f"""
                select product_name, units_sold_30d, count(*) over () as {TABLE_ROWS}
                from marts.inventory_status
                where {_TO_REORDER}
                order by units_sold_30d desc nulls last, days_of_stock nulls last, product_id
                limit 15""",
            draw=lambda rows: ranked(
                rows,
                label="product_name",
                y="units_sold_30d",
                xaxis={"title": {"text": "sold in the last 30 days"}},
            ),
            keys={"product_id": "product_id"},
        ),
        Figure(
            name="stock",
            title="Stock by category",
            question="Where is the shelf empty?",
            mart="inventory_status",
            query=f"""
                select {_STOCK_COLUMNS}
                from marts.inventory_status
                where {_OF_CATEGORY}
                order by category_name, product_id""",
            columns=_STOCK,
            chart=f"""
                select
                    category_name, inventory_status,
                    count(*) filter (where product_status <> 'Discontinued') as products,
                    sum(count(*)) over () as {TABLE_ROWS}
                from marts.inventory_status
                where {_OF_CATEGORY}
                group by category_name, inventory_status
                order by category_name, inventory_status""",
            draw=_draw_stock,
            keys={"product_id": "product_id"},
        ),
        Figure(
            name="reviews",
            title="Orders to review",
            question="Which orders were given away too cheaply, or shipped too dearly?",
            mart="order_for_reviews",
            query=f"""
                with high as materialized (
                    select {_REVIEW_COLUMNS}
                    from marts.order_for_reviews
                    where order_date between %(first)s and %(last)s and review_priority = 'High'
                    order by order_amount desc, order_id
                    limit %(row_cap)s
                ),
                -- Not looked for where the urgent ones are as many as are asked for, which takes long.
                others as (
                    select {_REVIEW_COLUMNS}
                    from marts.order_for_reviews
                    where
                        order_date between %(first)s and %(last)s and review_priority <> 'High'
                        and (select count(*) from high) < %(row_cap)s
                    order by order_amount desc, order_id
                    limit %(row_cap)s
                )
                select {_REVIEW_COLUMNS}
                from (select * from high union all select * from others) as found
                order by review_priority = 'High' desc, order_amount desc, order_id""",
            columns=_REVIEWS,
            chart=f"""
                select order_date, review_priority, count(*) as orders, sum(count(*)) over () as {TABLE_ROWS}
                from marts.order_for_reviews
                where order_date between %(first)s and %(last)s
                group by order_date, review_priority
                order by order_date, review_priority""",
            draw=lambda rows: split(rows, "review_priority", x="order_date", y="orders"),
            keys={"order_id": "order_id"},
        ),
    ),
    days=30,
)


# -- Seasons & weather -------------------------------------------------------------------------------------------------


def _draw_weather(rows: list[Row]) -> Plot:
    """One line of cells a city and temperature: the driest on the left."""
    rain = ("No Rain", "Light Rain", "Moderate Rain", "Heavy Rain")
    warmth = ("Freezing", "Cold", "Cool", "Warm", "Hot")
    cells = {(row["city"], row["temperature_category"], row["precipitation_category"]): row for row in rows}
    down = [(city, warm) for city in sorted({row["city"] for row in rows}) for warm in warmth
            if any((city, warm, wet) in cells for wet in rain)]  # fmt: skip
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(rain),
                "y": [f"{city} · {warm}" for city, warm in down],
                "z": [
                    [plain(cells[city, warm, wet]["revenue_index"]) if (city, warm, wet) in cells else None
                     for wet in rain]
                    for city, warm in down
                ],
                "zmid": 100,
                "xgap": 2,
                "ygap": 2,
                "hovertemplate": "%{y} · %{x}<br><b>%{z:.1f}</b> (100 = the city's average)<extra></extra>",
            }
        ],
        "layout": {"yaxis": {"autorange": "reversed", "type": "category"}},
    }  # fmt: skip


SEASONS = Page(
    name="seasons",
    title="Seasons & weather",
    lead="What sells when, and whether it sells better in sun or rain.",
    figures=(
        Figure(
            name="seasonality",
            title="Seasonality",
            question="Which months are a category's best? 100 is its average month.",
            mart="seasonal_sales_analysis",
            query=f"""
                select
                    sales_month as month, category_name, season, monthly_revenue as revenue, monthly_orders as orders,
                    percent_of_average, performance_category, mom_growth_percent, qoq_growth_percent,
                    coefficient_of_variation_percent
                from marts.seasonal_sales_analysis
                where sales_month {_MONTHS} and {_OF_CATEGORY}
                order by category_name, sales_month""",
            columns=(
                _MONTH,
                _CATEGORY,
                Column("season", "Season"),
                _REVENUE,
                _ORDERS,
                Column("percent_of_average", "Of the average month", Kind.PERCENT),
                Column("performance_category", "Month"),
                Column("mom_growth_percent", "To the month before", Kind.PERCENT),
                Column("qoq_growth_percent", "To the quarter before", Kind.PERCENT),
                Column("coefficient_of_variation_percent", "Unsteadiness", Kind.PERCENT),
            ),
            draw=lambda rows: heat(
                rows, x="month", y="category_name", z="percent_of_average", unit=" %", diverges_at=100
            ),
            keys={"sales_month": "month", "category_name": "category_name"},
        ),
        Figure(
            name="months",
            title="Revenue by month and category",
            question="How do the categories move through the year?",
            mart="seasonal_sales_analysis",
            query=f"""
                select sales_month as month, category_name, monthly_revenue as revenue, monthly_orders as orders,
                    avg_order_value
                from marts.seasonal_sales_analysis
                where sales_month {_MONTHS} and {_OF_CATEGORY}
                order by sales_month, category_name""",
            columns=(
                _MONTH,
                _CATEGORY,
                _REVENUE,
                _ORDERS,
                Column("avg_order_value", "Average order", Kind.MONEY),
            ),
            draw=lambda rows: split(rows, "category_name", x="month", y="revenue", kind="line"),
            keys={"sales_month": "month", "category_name": "category_name"},
        ),
        Figure(
            name="weather",
            title="Weather and revenue",
            question="On which weather does the shop sell more? 100 is a city's average day.",
            mart="weather_sales_impact",
            query="""
                select
                    city, temperature_category, precipitation_category, days, avg_daily_revenue, revenue_index,
                    correlation_temperature_revenue, correlation_precipitation_revenue
                from marts.weather_sales_impact
                order by city, temperature_category, precipitation_category""",
            columns=(
                Column("city", "City"),
                Column("temperature_category", "Temperature"),
                Column("precipitation_category", "Rain"),
                Column("days", "Days", Kind.COUNT),
                Column("avg_daily_revenue", "Revenue a day", Kind.MONEY),
                Column("revenue_index", "Index", Kind.NUMBER),
                Column("correlation_temperature_revenue", "Correlation with temperature", Kind.NUMBER),
                Column("correlation_precipitation_revenue", "Correlation with rain", Kind.NUMBER),
            ),
            draw=_draw_weather,
            keys={
                "city": "city",
                "temperature_category": "temperature_category",
                "precipitation_category": "precipitation_category",
            },
        ),
    ),
    days=None,
)

PAGES = {page.name: page for page in (REVENUE, CUSTOMERS, OPERATIONS, SEASONS)}

#: The days that the marts are about, and the categories there are.
SPAN = "select min(order_date) as first, max(order_date) as last from marts.daily_revenue"
CATEGORIES = (
    "select distinct category_name from marts.seasonal_sales_analysis where category_name is not null order by 1"
)


def _summed(rows: list[Row], by: tuple[str, ...], value: str) -> list[Row]:
    sums: dict[tuple[Any, ...], Any] = {}
    for row in rows:
        key = tuple(row[name] for name in by)
        sums[key] = sums.get(key, 0) + (row[value] or 0)
    return [{**dict(zip(by, key, strict=True)), value: total} for key, total in sums.items()]
