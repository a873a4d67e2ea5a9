"""The page Operations: products at their reorder point, stock, and orders to review."""

from __future__ import annotations

from shop_pages.chart_queries import DAYS, by_period, largest_and_other, ranking
from shop_pages.charts import grouped_chart, named, ranking_chart
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot
from shop_pages.formats import Format
from shop_pages.pages.shared import CATEGORY, CONTRIBUTION, DAY, IN_CATEGORY, TOTAL_REVIEWS
from shop_pages.pool import Row


def _draw_stock(rows: list[Row]) -> Plot:
    # "Other" stands for the categories on the axis, and not for a series.
    bars = [{**row, "is_other": False} for row in named(rows, "category_name")]
    plot = grouped_chart(bars, "inventory_status", x="category_name", y="products")
    plot["layout"]["xaxis"] = {"type": "category"}
    return plot


_STOCK = (
    FigureColumn("product_id", "Product"),
    FigureColumn("product_name", "Name"),
    CATEGORY,
    FigureColumn("stock_level", "In stock", Format.COUNT),
    FigureColumn("reorder_point", "Reorder at", Format.COUNT),
    FigureColumn("inventory_status", "Stock"),
    FigureColumn("product_status", "Status"),
    FigureColumn("units_sold_30d", "Sold in 30 days", Format.COUNT),
    FigureColumn("days_of_stock", "Lasts, days", Format.NUMBER),
    FigureColumn("abc_class", "ABC"),
)
_STOCK_SELECT = ", ".join(column.name for column in _STOCK)

#: Products that run out or have run out and are still sold: neither discontinued nor removed.
_REORDER_CONDITION = f"""
                    product_status in ('Low Stock', 'Out of Stock')
                    and {IN_CATEGORY}"""

_REVIEWS = (
    FigureColumn("order_id", "Order"),
    FigureColumn("customer_id", "Customer"),
    FigureColumn("customer_name", "Name"),
    DAY,
    FigureColumn("order_amount", "Amount", Format.MONEY),
    FigureColumn("discount_percent", "Discount", Format.PERCENT),
    FigureColumn("shipping_percent", "Shipping", Format.PERCENT),
    FigureColumn("gross_profit", "Gross profit", Format.MONEY),
    CONTRIBUTION,
    FigureColumn("expected_loss", "Expected loss", Format.MONEY),
    FigureColumn("risk_score", "Score", Format.COUNT),
    FigureColumn("reasons", "Why"),
    FigureColumn("review_priority", "Priority"),
)
_REVIEW_SELECT = ", ".join(column.name for column in _REVIEWS)
#: The same; an order of a guest has no customer, which is not the same as a customer without a name.
_REVIEW_READ = _REVIEW_SELECT.replace(
    "customer_name", "case when customer_id is null then 'Guest' else customer_name end as customer_name"
)

OPERATIONS = FigurePage(
    name="operations",
    totals=TOTAL_REVIEWS,
    title="Operations",
    lead="Products at or below their reorder point, stock, and orders that someone should review.",
    figures=(
        Figure(
            name="reorder",
            title="At the reorder point",
            question="What runs out first, and how many units of it were sold in the last 30 days?",
            help="The reorder point is the shop’s own. What to order by sales, and how many, stands on Stock.",
            mart="inventory_status",
            source="product_category",
            query=f"""
                select {_STOCK_SELECT}
                from marts.inventory_status
                where {_REORDER_CONDITION}""",
            order_by="days_of_stock nulls last, units_sold_30d desc, product_id",
            sorted_by="those that run out first",
            columns=_STOCK,
            chart_query=ranking(
                f"""
                    select product_id, product_name, units_sold_30d, days_of_stock
                    from marts.inventory_status
                    where {_REORDER_CONDITION}""",
                order_by="units_sold_30d desc nulls last, days_of_stock nulls last, product_id",
                total_of="units_sold_30d",
            ),
            series="products, by units sold in the last 30 days",
            measure="Units sold in 30 days",
            names="Product",
            draw=lambda rows: ranking_chart(rows, label="product_name", key="product_id", y="units_sold_30d"),
            keys={"product_id": "product_id"},
        ),
        Figure(
            name="stock",
            title="Stock by category",
            question="Where is the shelf empty?",
            mart="inventory_status",
            query=f"""
                select {_STOCK_SELECT}
                from marts.inventory_status
                where {IN_CATEGORY}""",
            order_by="category_name, product_id",
            sorted_by="by category",
            columns=_STOCK,
            chart_query=largest_and_other(
                f"""
                    select
                        category_name, inventory_status,
                        count(*) filter (where product_status not in ('Discontinued', 'Removed')) as products
                    from marts.inventory_status
                    where {IN_CATEGORY}
                    group by category_name, inventory_status""",
                by="category_name",
                largest_by="products",
                values=["products"],
                keys=["inventory_status"],
            ),
            series="categories",
            measure="Products",
            names="Category",
            draw=_draw_stock,
            keys={"product_id": "product_id"},
        ),
        Figure(
            name="reviews",
            title="Orders to review",
            question="Which orders break a rule, and which?",
            help="One row is an order, with the amounts of all its lines. To work through them: the page Review.",
            mart="order_for_reviews",
            query=f"""
                select {_REVIEW_READ}
                from marts.order_for_reviews
                where order_date between %(first)s and %(last)s""",
            order_by="review_priority = 'High' desc, order_amount desc, order_id",
            sorted_by="urgent ones first, then by amount",
            first_rows_query=f"""
                with high as materialized (
                    select {_REVIEW_READ}
                    from marts.order_for_reviews
                    where order_date between %(first)s and %(last)s and review_priority = 'High'
                    order by order_amount desc, order_id
                    limit %(page_rows)s
                ),
                -- Skipped if there are enough urgent orders for the page: to read these takes longer.
                others as (
                    select {_REVIEW_READ}
                    from marts.order_for_reviews
                    where
                        order_date between %(first)s and %(last)s and review_priority <> 'High'
                        and (select count(*) from high) < %(page_rows)s
                    order by order_amount desc, order_id
                    limit %(page_rows)s
                )
                select {_REVIEW_SELECT}
                from (select * from high union all select * from others) as reviews
                order by review_priority = 'High' desc, order_amount desc, order_id""",
            columns=_REVIEWS,
            chart_query=by_period(
                """
                    select order_date, review_priority, count(*) as orders
                    from marts.order_for_reviews
                    where order_date between %(first)s and %(last)s
                    group by order_date, review_priority""",
                time="order_date",
                units=DAYS,
                values={"orders": "sum(orders)"},
                by="review_priority",
                largest_by="orders",
            ),
            series="priorities",
            measure="Orders to review",
            draw=lambda rows: grouped_chart(rows, "review_priority", x="period", y="orders"),
            keys={"order_id": "order_id"},
        ),
    ),
    days=30,
)
