"""The page Stock: what to order and from whom, ABC classes, dead stock, and what was lost without stock."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from shop_pages.chart_queries import DAYS, by_period, ranking
from shop_pages.charts import bars, lines_of, period_axis, ranking_chart
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, Totals, json_value
from shop_pages.formats import Format, format_value
from shop_pages.pages.shared import CATEGORY, IN_CATEGORY, list_path
from shop_pages.pool import Row

_PRODUCT = FigureColumn("product_id", "Product")
_NAME = FigureColumn("product_name", "Name")
_SUPPLIER = FigureColumn("supplier_id", "Supplier")
_STOCK = FigureColumn("stock_level", "In stock", Format.COUNT)
_VALUE = FigureColumn("stock_value", "Stock value", Format.MONEY)
_OUT = FigureColumn("days_stocked_out", "Days out of stock", Format.COUNT)
_LOST = FigureColumn("estimated_lost_units", "Estimated lost units", Format.NUMBER)

#: What one reads of a product that should be ordered.
_REASON = """
    concat_ws(
        ' ',
        case when stock_level <= 0 then 'Out of stock.' end,
        'Sells ' || round(daily_demand, 2) || ' a day;',
        case
            when safety_stock > 0 then 'with ' || ceil(safety_stock) || ' for safety,'
        end,
        greatest(stock_level, 0) || ' in stock',
        case
            when days_of_stock is not null then 'last ' || days_of_stock || ' days.'
            else 'are not enough.'
        end
    )"""

_TO_ORDER = f"""
    from marts.inventory_status
    where suggested_order_quantity > 0 and {IN_CATEGORY}"""

_DEAD = f"""
    from marts.inventory_status
    where is_dead_stock and {IN_CATEGORY}"""

#: Days without stock of the range, with the product.
_WITHOUT_STOCK = f"""
    from marts.inventory_daily
    inner join marts.inventory_status using (product_id)
    where is_stocked_out and date_key between %(first)s and %(last)s and {IN_CATEGORY}"""

#: The chosen product, or the one that lost the most in the range, or else the one that sells most.
_CHOSEN = """
    coalesce(
        %(product)s::text,
        (
            select product_id
            from marts.inventory_daily
            where is_stocked_out and date_key between %(first)s and %(last)s
            group by product_id
            having sum(estimated_lost_units) > 0
            order by sum(estimated_lost_units) desc, product_id
            limit 1
        ),
        (
            select product_id
            from marts.inventory_status
            order by units_sold_30d desc nulls last, product_id
            limit 1
        )
    )"""


def _level_path(row: Row) -> str:
    """The page with the stock of a product over time."""
    return f"/stock?{urlencode({'product': row['product_id']})}#level"


def _supplier_path(**only: str) -> Callable[[Row], str]:
    """A function from a row to the list of what should be ordered from its supplier."""
    return lambda row: list_path("stock", "order", {"supplier_id": row["supplier_id"], **only})


def _class_path(row: Row) -> str:
    """The list of the products of a class."""
    return list_path("operations", "stock", {"abc_class": row["abc_class"]})


def _without_stock_path(row: Row) -> str:
    """The list of the products that had no stock on a day."""
    return list_path("stock", "without_stock", {}, first=row["date_key"], last=row["date_key"])


def _summarize_dead(totals: Row) -> str:
    """`12 products with a stock of 3,456.00`; empty without one."""
    if not totals["products"]:
        return ""
    unknown = f"; of {totals['unknown']:,} the cost is not known" if totals["unknown"] else ""
    value = format_value(totals["stock_value"] or 0, Format.MONEY)
    return f"{totals['products']:,} products, worth {value} at cost{unknown}"


def _summarize_lost(totals: Row) -> str:
    """`240 days without stock of 12 products: about 345.6 units lost`; no number where none can be estimated."""
    if not totals["days_stocked_out"]:
        return ""
    days = f"{totals['days_stocked_out']:,} days without stock of {totals['products']:,} products"
    if totals["estimated_lost_units"] is None:
        return f"{days}; what that cost is not known: they had no stock in the 90 days before either"
    return f"{days}: about {totals['estimated_lost_units']:,} units lost"


def _draw_classes(rows: list[Row]) -> Plot:
    return {
        "data": [
            bars(rows, "abc_class", "products_percent", "Products"),
            bars(rows, "abc_class", "units_percent", "Units sold in 30 days"),
            bars(rows, "abc_class", "value_percent", "Stock value"),
        ],
        "layout": {"barmode": "group", "xaxis": {"type": "category"}},
    }


def _draw_level(rows: list[Row]) -> Plot:
    """Steps, since the stock stays until the next change; a gap where it is not known."""
    in_order = sorted(rows, key=lambda row: row["date_key"])
    days = [json_value(row["date_key"]) for row in in_order]
    return {
        "data": [
            {
                "type": "scatter", "mode": "lines+markers", "line": {"shape": "hv"}, "name": "In stock", "x": days,
                "y": [json_value(row["stock_level"]) for row in in_order], "connectgaps": False,
            },
            {
                "type": "bar", "name": "Sold", "x": days, "y": [row["units_sold"] for row in in_order],
            },
        ],
        "layout": {"yaxis": {"rangemode": "tozero"}, **period_axis(in_order, "date_key", "day")},
    }  # fmt: skip


def _draw_lost(rows: list[Row]) -> Plot:
    return {
        "data": [
            bars(rows, "period", "days_stocked_out", "Days without stock, of all products"),
            *lines_of(rows, "period", "estimated_lost_units", "Estimated lost units"),
        ],
        "layout": period_axis(rows),
    }


STOCK = FigurePage(
    name="stock",
    totals=Totals(
        mart="inventory_daily",
        day="date_key",
        # One of a thousand rows; there is an index of them.
        only="is_stocked_out",
        measures={
            FigureColumn(
                "days_stocked_out", "Days out of stock", Format.COUNT, source="product_category"
            ): "count(product_id)",
            FigureColumn(
                "lost_units", "Estimated lost units", Format.NUMBER, source="product_category"
            ): "sum(estimated_lost_units)",
        },
    ),
    title="Stock",
    lead="What to order and from whom, what does not sell, and what was lost while it was out of stock.",
    figures=(
        Figure(
            name="order",
            title="To order now",
            question="What should be ordered, how many, from which supplier, and why?",
            help="The quantity lasts for 21 days (14 until the delivery, 7 until the next) in 95 of 100 cases, less"
            " what is in stock. What has been ordered already is not known here.",
            mart="inventory_status",
            source="product_category",
            query=f"""
                select
                    supplier_id, product_id, product_name, category_name, suggested_order_quantity, stock_level,
                    daily_demand, days_of_stock, safety_stock, abc_class, {_REASON} as reason
                {_TO_ORDER}""",
            order_by="days_of_stock nulls last, suggested_order_quantity desc, product_id",
            sorted_by="those that run out first",
            when_empty="Nothing has to be ordered, as far as stock and sales are known.",
            columns=(
                _SUPPLIER,
                _PRODUCT,
                _NAME,
                CATEGORY,
                FigureColumn("suggested_order_quantity", "Order", Format.COUNT),
                _STOCK,
                FigureColumn("days_of_stock", "Lasts, days", Format.NUMBER),
                FigureColumn("daily_demand", "Sold a day", Format.NUMBER),
                FigureColumn("safety_stock", "For safety", Format.NUMBER),
                FigureColumn("abc_class", "ABC"),
                FigureColumn("reason", "Why"),
            ),
            chart_query=ranking(
                f"""
                    select product_id, concat_ws(' · ', product_name, product_id) as product_name,
                        suggested_order_quantity
                    {_TO_ORDER}""",
                order_by="suggested_order_quantity desc, product_id",
                total_of="suggested_order_quantity",
            ),
            series="products, by units to order",
            measure="Units to order",
            names="Product",
            draw=lambda rows: ranking_chart(rows, label="product_name", y="suggested_order_quantity"),
            keys={"product_id": "product_id"},
            links={"product_id": _level_path},
        ),
        Figure(
            name="suppliers",
            title="Orders by supplier",
            question="How much is to be ordered from each supplier?",
            mart="inventory_status",
            source="product_category",
            query=f"""
                select
                    supplier_id, count(*) as products, sum(suggested_order_quantity) as units,
                    count(*) filter (where stock_level <= 0) as out_of_stock,
                    count(*) filter (where abc_class = 'A') as of_class_a
                {_TO_ORDER}
                group by supplier_id""",
            order_by="units desc, supplier_id",
            sorted_by="by units",
            when_empty="Nothing has to be ordered, as far as stock and sales are known.",
            columns=(
                _SUPPLIER,
                FigureColumn("products", "Products", Format.COUNT),
                FigureColumn("units", "Units to order", Format.COUNT),
                FigureColumn("out_of_stock", "Out of stock", Format.COUNT),
                FigureColumn("of_class_a", "Of class A", Format.COUNT),
            ),
            chart_query=ranking(
                f"""
                    select supplier_id, sum(suggested_order_quantity) as units
                    {_TO_ORDER}
                    group by supplier_id""",
                order_by="units desc, supplier_id",
                total_of="units",
            ),
            series="suppliers",
            measure="Units to order",
            names="Supplier",
            draw=lambda rows: ranking_chart(rows, label="supplier_id", y="units"),
            links={
                "supplier_id": _supplier_path(),
                "products": _supplier_path(),
                "of_class_a": _supplier_path(abc_class="A"),
            },
        ),
        Figure(
            name="abc",
            title="ABC classes",
            question="Is the money in the stock where the profit is made?",
            help="A are the products that make the first 80 % of the contribution of the last 90 days, B those up to"
            " 95 %, C the rest. Without a class: nothing was sold, or no cost is known.",
            mart="inventory_status",
            source="product_category",
            query=f"""
                select
                    abc_class, count(*) as products, sum(units_sold_30d) as units_sold_30d,
                    sum(stock_value) as stock_value,
                    round(100.0 * count(*) / nullif(sum(count(*)) over (), 0), 2) as products_percent,
                    round(100.0 * sum(units_sold_30d) / nullif(sum(sum(units_sold_30d)) over (), 0), 2)
                        as units_percent,
                    round(100.0 * sum(stock_value) / nullif(sum(sum(stock_value)) over (), 0), 2) as value_percent
                from marts.inventory_status
                where {IN_CATEGORY}
                group by abc_class""",
            order_by="abc_class nulls last",
            sorted_by="by class",
            columns=(
                FigureColumn("abc_class", "Class"),
                FigureColumn("products", "Products", Format.COUNT),
                FigureColumn("products_percent", "Of all", Format.PERCENT),
                FigureColumn("units_sold_30d", "Sold in 30 days", Format.COUNT),
                FigureColumn("units_percent", "Of all", Format.PERCENT),
                _VALUE,
                FigureColumn("value_percent", "Of all", Format.PERCENT),
            ),
            measure="Share of all",
            measured_in=Format.PERCENT,
            names="Class",
            draw=_draw_classes,
            links={"abc_class": _class_path, "products": _class_path},
        ),
        Figure(
            name="dead",
            title="Dead stock",
            question="What lies in stock and has not been sold for 90 days?",
            help="Not in the first 90 days after a launch, nor where less than 90 days are loaded.",
            mart="inventory_status",
            source="product_category",
            query=f"""
                select
                    product_id, product_name, category_name, brand, supplier_id, stock_level, stock_value,
                    days_since_launch
                {_DEAD}""",
            order_by="stock_value desc nulls last, product_id",
            sorted_by="by value",
            when_empty="There is no dead stock, as far as stock and sales are known.",
            summary_query=f"""
                select
                    count(*) as products, sum(stock_value) as stock_value,
                    count(*) filter (where stock_value is null) as unknown
                {_DEAD}""",
            summarize=_summarize_dead,
            columns=(
                _PRODUCT,
                _NAME,
                CATEGORY,
                FigureColumn("brand", "Brand"),
                _SUPPLIER,
                _STOCK,
                _VALUE,
                FigureColumn("days_since_launch", "Days since launch", Format.COUNT),
            ),
            chart_query=ranking(
                f"""
                    select product_id, concat_ws(' · ', product_name, product_id) as product_name, stock_value
                    {_DEAD} and stock_value is not null""",
                order_by="stock_value desc, product_id",
                total_of="stock_value",
            ),
            series="products, by value",
            measure="Stock value",
            measured_in=Format.MONEY,
            names="Product",
            draw=lambda rows: ranking_chart(rows, label="product_name", y="stock_value"),
            keys={"product_id": "product_id"},
            links={"product_id": _level_path},
        ),
        Figure(
            name="without_stock",
            title="Out of stock",
            question="Which products were out of stock, for how long, and how many units did that cost?",
            help="A product is out of stock if it was known to be at the end of the day. Lost units are an estimate:"
            " what it sold on a mean day of the 90 before on which it could be bought.",
            mart="inventory_daily",
            source="product_category",
            query=f"""
                select
                    product_id, product_name, category_name, supplier_id, count(*) as days_stocked_out,
                    sum(estimated_lost_units) as estimated_lost_units, max(date_key) as last_day_without_stock
                {_WITHOUT_STOCK}
                group by product_id, product_name, category_name, supplier_id""",
            order_by="estimated_lost_units desc nulls last, days_stocked_out desc, product_id",
            sorted_by="by lost units",
            summary_query=f"""
                select
                    count(*) as days_stocked_out, count(distinct product_id) as products,
                    sum(estimated_lost_units) as estimated_lost_units
                {_WITHOUT_STOCK}""",
            summarize=_summarize_lost,
            when_empty="No product is known to have been out of stock in these days.",
            columns=(
                _PRODUCT,
                _NAME,
                CATEGORY,
                _SUPPLIER,
                _OUT,
                _LOST,
                FigureColumn("last_day_without_stock", "Last day", Format.DAY),
            ),
            chart_query=ranking(
                f"""
                    select
                        product_id, concat_ws(' · ', product_name, product_id) as product_name,
                        count(*) as days_stocked_out
                    {_WITHOUT_STOCK}
                    group by product_id, product_name""",
                order_by="days_stocked_out desc, product_id",
                total_of="days_stocked_out",
            ),
            series="products, by days out of stock",
            measure="Days out of stock",
            names="Product",
            draw=lambda rows: ranking_chart(rows, label="product_name", y="days_stocked_out"),
            links={"product_id": _level_path},
        ),
        Figure(
            name="lost",
            title="Lost units over time",
            question="Are there more or fewer days without stock than before, and units lost by them?",
            mart="inventory_daily",
            source="product_category",
            query=f"""
                select
                    date_key, count(*) as products, sum(estimated_lost_units) as estimated_lost_units
                {_WITHOUT_STOCK}
                group by date_key""",
            order_by="date_key",
            sorted_by="by day",
            when_empty="No product is known to have been out of stock in these days.",
            chart_query=by_period(
                f"""
                    select date_key, count(*) as products, sum(estimated_lost_units) as estimated_lost_units
                    {_WITHOUT_STOCK}
                    group by date_key""",
                time="date_key",
                units=DAYS,
                values={
                    "days_stocked_out": "sum(products)",
                    "estimated_lost_units": "sum(estimated_lost_units)",
                },
            ),
            columns=(
                FigureColumn("date_key", "Day", Format.DAY),
                FigureColumn("products", "Products out of stock", Format.COUNT),
                _LOST,
            ),
            measure="Days, and units",
            draw=_draw_lost,
            links={"products": _without_stock_path},
        ),
        Figure(
            name="level",
            title="Stock of a product over time",
            question="How did the stock of one product go, and what was sold of it?",
            help="Of the product that is chosen above, or else of the one that lost the most units in these days,"
            " or sold most in the last 30. Days"
            " without a sale and a change have no row: the stock is that of the row before. It is what the shop said"
            " when it was last read, so sales do not lower it between two reads.",
            mart="inventory_daily",
            source="product_category",
            query=f"""
                select
                    date_key, product_id, product_name, inventory_daily.stock_level,
                    inventory_daily.inventory_status, units_sold, estimated_lost_units
                from marts.inventory_daily
                left join marts.inventory_status using (product_id)
                where product_id = {_CHOSEN} and date_key between %(first)s and %(last)s""",
            order_by="date_key desc",
            sorted_by="the newest first",
            columns=(
                FigureColumn("date_key", "Day", Format.DAY),
                _PRODUCT,
                _NAME,
                _STOCK,
                FigureColumn("inventory_status", "Stock"),
                FigureColumn("units_sold", "Sold", Format.COUNT),
                _LOST,
            ),
            measure="Units",
            draw=_draw_level,
            keys={"date_key": "date_key", "product_id": "product_id"},
        ),
    ),
)
