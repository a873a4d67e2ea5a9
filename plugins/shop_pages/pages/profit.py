"""The page Profit: from list price to contribution, by discount and shipping, what loses money, and what changed."""

from __future__ import annotations

from decimal import Decimal
from itertools import accumulate
from urllib.parse import urlencode

from shop_pages.absent_sources import absence_of_source
from shop_pages.chart_queries import largest_and_other
from shop_pages.charts import named, ranking_chart
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, Totals
from shop_pages.formats import Format, format_value
from shop_pages.limits import RANKED_BARS
from shop_pages.pages.shared import (
    CATEGORY,
    CONTRIBUTION,
    IN_CATEGORY,
    KNOWN_COST,
    MARGIN,
    MONTH,
    MONTH_IN_RANGE,
    REVENUE_AMOUNT,
    TOTAL_PROFIT,
    TOTAL_REVENUE,
)
from shop_pages.pool import Row

_IN_MONTHS = f"where revenue_month {MONTH_IN_RANGE} and {IN_CATEGORY}"
_LINES = f"from marts.order_profitability_monthly {_IN_MONTHS}"
_REFUNDED = f"from marts.product_category_revenue_monthly {_IN_MONTHS}"
_PRODUCTS = f"from marts.product_performance_monthly {_IN_MONTHS}"
_SUMS_OF_PRODUCT = """
                    product_id, max(product_name) as product_name, max(category_name) as category_name,
                    sum(revenue) as revenue,
                    sum(gross_profit) as gross_profit, sum(contribution_amount) as contribution_amount,
                    sum(refunded_amount) as refunded_amount, sum(units_sold) as units_sold"""
_BRIDGE = f"from marts.margin_bridge_monthly where revenue_month {MONTH_IN_RANGE}"

#: Figures that add up over the rows of `order_profitability_monthly`, and shares of them.
_SUMS = """
                    sum(list_amount) as list_amount, sum(discount_amount) as discount_amount,
                    round(sum(discount_amount) * 100 / nullif(sum(list_amount), 0), 2) as discount_percent,
                    sum(revenue) as revenue, sum(cost_amount) as cost_amount, sum(gross_profit) as gross_profit,
                    sum(shipping_cost) as shipping_cost, sum(contribution_amount) as contribution_amount,
                    round(sum(gross_profit) * 100 / nullif(sum(cost_amount + gross_profit), 0), 2)
                        as gross_margin_percent,
                    round(sum(contribution_amount) * 100 / nullif(sum(cost_amount + gross_profit), 0), 2)
                        as contribution_percent,
                    round(coalesce(sum(cost_amount + gross_profit), 0) * 100 / nullif(sum(revenue), 0), 2)
                        as known_cost_percent,
                    sum(loss_amount) as loss_amount"""

#: From list price to contribution, of lines and refunds of the same months. Lines without a list price or a known cost
#: have steps of their own: the steps add up to the cent.
_STEPS = f"""
                with months as (
                    select
                        revenue_month, list_amount, discount_amount, revenue, 0 as refunded_amount,
                        coalesce(cost_amount, 0) as cost_amount,
                        coalesce(gross_profit, 0) as profit,
                        coalesce(gross_profit - contribution_amount, 0) as shipping_cost
                    {_LINES}
                    union all
                    select revenue_month, 0, 0, 0, refunded_amount, 0, 0, 0
                    {_REFUNDED}
                )
                select
                    revenue_month as month,
                    sum(list_amount) as list_amount,
                    sum(discount_amount) as discount_amount,
                    round(sum(discount_amount) * 100 / nullif(sum(list_amount), 0), 2) as discount_percent,
                    sum(revenue - list_amount + discount_amount) as unlisted_revenue,
                    sum(revenue) as revenue,
                    sum(refunded_amount) as refunded_amount,
                    sum(revenue - refunded_amount) as net_revenue,
                    sum(revenue - cost_amount - profit) as unknown_cost_revenue,
                    sum(cost_amount) as cost_amount,
                    sum(profit - refunded_amount) as net_gross_profit,
                    sum(shipping_cost) as shipping_cost,
                    sum(profit - refunded_amount - shipping_cost) as net_contribution
                from months
                group by revenue_month"""
_STEP_SUMS = ", ".join(
    f"sum({name}) as {name}"
    for name in (
        "list_amount", "discount_amount", "unlisted_revenue", "revenue", "refunded_amount", "net_revenue",
        "unknown_cost_revenue", "cost_amount", "net_gross_profit", "shipping_cost", "net_contribution",
    )
)  # fmt: skip
_ALL_STEPS = f"""
                select {_STEP_SUMS}
                from ({_STEPS}) as steps
                having count(*) > 0"""

#: The steps of the waterfall: column, label, and its sign; None: what has been reached.
_WATERFALL = (
    ("list_amount", "List price", 1),
    ("discount_amount", "Discount", -1),
    ("unlisted_revenue", "Without list price", 1),
    ("revenue", "Revenue", None),
    ("refunded_amount", "Refunds", -1),
    ("net_revenue", "Net revenue", None),
    ("unknown_cost_revenue", "Cost not known", -1),
    ("cost_amount", "Cost", -1),
    ("net_gross_profit", "Gross profit", None),
    ("shipping_cost", "Shipping", -1),
    ("net_contribution", "Contribution", None),
)
#: Steps that are left out where they are 0: most shops never see them.
_RARE = ("unlisted_revenue", "unknown_cost_revenue")

#: The effects of the margin bridge: column → label.
_EFFECTS = {
    "volume_effect": "Volume",
    "mix_effect": "Mix",
    "list_price_effect": "List prices",
    "discount_effect": "Discounts",
    "cost_effect": "Costs",
    "shipping_effect": "Shipping",
}


def _draw_waterfall(rows: list[Row]) -> Plot:
    """From the list price, by what is taken off it, to the contribution."""
    (totals,) = rows
    steps = [step for step in _WATERFALL if step[0] not in _RARE or totals[step[0]]]
    if absence_of_source("refund"):
        steps = [step for step in steps if step[0] not in ("refunded_amount", "net_revenue")]
    return {
        "data": [
            {
                "type": "waterfall",
                "name": "Amount",
                "x": [label for _, label, _ in steps],
                "y": [0.0 if sign is None else float(totals[name]) * sign for name, _, sign in steps],
                "measure": ["absolute", *("total" if sign is None else "relative" for _, _, sign in steps[1:])],
                "text": [format_value(totals[name], Format.MONEY) for name, _, _ in steps],
                "hovertemplate": "%{x}<br><b>%{text}</b><extra></extra>",
            }
        ],
        "layout": {"showlegend": False, "xaxis": {"type": "category"}},
    }


def _summarize_steps(totals: Row) -> str:
    """`Discounts 120.00, 8.11 % of the list price · refunds 20.00 · left 310.00, 22.79 % of the revenue`."""
    if totals["revenue"] is None:
        return ""
    parts = [f"Discounts {format_value(totals['discount_amount'], Format.MONEY)}"]
    if totals["list_amount"]:
        parts[0] += f", {_share(totals['discount_amount'], totals['list_amount'])} of the list price"
    if totals["refunded_amount"]:
        parts.append(f"refunds {format_value(totals['refunded_amount'], Format.MONEY)}")
    parts.append(f"left {format_value(totals['net_contribution'], Format.MONEY)}")
    if totals["revenue"]:
        parts[-1] += f", {_share(totals['net_contribution'], totals['revenue'])} of the revenue"
    return " · ".join(parts)


def _share(part: Decimal, whole: Decimal) -> str:
    return format_value(100 * part / whole, Format.PERCENT)


def _draw_bridge(rows: list[Row]) -> Plot:
    """From the contribution of the month before, by its effects, to that of the last month of the range."""
    month = rows[-1]
    name = f"{month['month']:%b %Y}" + ("" if month["is_complete"] else " so far")
    effects = [(label, month[column]) for column, label in _EFFECTS.items()]
    # The effects are small beside the contribution: drawn from 0 they could not be seen.
    levels = list(accumulate([month["previous_contribution"], *(value for _, value in effects)]))
    margin = max(levels) - min(levels) or max(abs(levels[0]), 1)
    return {
        "data": [
            {
                "type": "waterfall",
                "name": "Contribution",
                "x": ["Month before", *(label for label, _ in effects), name],
                "y": [float(month["previous_contribution"]), *(float(value) for _, value in effects), 0.0],
                "measure": ["absolute", *("relative" for _ in effects), "total"],
                "text": [
                    format_value(month["previous_contribution"], Format.MONEY),
                    *(f"{value:+,.2f}" for _, value in effects),
                    format_value(month["contribution"], Format.MONEY),
                ],
                "hovertemplate": "%{x}<br><b>%{text}</b><extra></extra>",
            }
        ],
        "layout": {
            "showlegend": False,
            "xaxis": {"type": "category"},
            "yaxis": {"range": [float(min(levels) - margin / 2), float(max(levels) + margin / 4)]},
        },
    }


def _summarize_bridge(totals: Row) -> str:
    """`Mar 2024 so far: contribution 331.00, 13.00 less than in the month before. Most of it: discounts -14.00`."""
    if totals["month"] is None:
        return ""
    difference = totals["contribution"] - totals["previous_contribution"]
    largest = max(_EFFECTS, key=lambda effect: abs(totals[effect]))
    change = f"{format_value(abs(difference), Format.MONEY)} {'less' if difference < 0 else 'more'}"
    return (
        f"{totals['month']:%b %Y}{'' if totals['is_complete'] else ' so far'}:"
        f" contribution {format_value(totals['contribution'], Format.MONEY)},"
        f" {change} than in {'the month before' if totals['is_complete'] else 'as many days of the month before'}."
        f" The largest effect: {_EFFECTS[largest].lower()} {totals[largest]:+,.2f}"
    )


def _bands(column: str) -> str:
    """The query for the bands of a column, from the lowest to the highest."""
    return f"""
                select
                    {column}, {_SUMS},
                    case left({column}, 2) when 'to' then length({column}) when 'ov' then 99 else 0 end as place
                {_LINES}
                group by {column}"""


_LIST_AMOUNT = FigureColumn("list_amount", "List price", Format.MONEY)
_DISCOUNT = FigureColumn("discount_amount", "Discount", Format.MONEY)
_DISCOUNT_PERCENT = FigureColumn("discount_percent", "Of the list price", Format.PERCENT)
_COST = FigureColumn("cost_amount", "Cost", Format.MONEY)
_GROSS_PROFIT = FigureColumn("gross_profit", "Gross profit", Format.MONEY)
_SHIPPING = FigureColumn("shipping_cost", "Shipping", Format.MONEY)
_CONTRIBUTION_PERCENT = FigureColumn("contribution_percent", "Contribution of the revenue", Format.PERCENT)
_LOSS = FigureColumn(
    "loss_amount", "Lost", Format.MONEY, help="Lost is what the lines with a contribution below 0 add up to."
)
#: What the sums of a page of months leave out.
_KNOWN_COST_ONLY = "Profit and contribution are those of the revenue whose cost is known, before refunds."

_BAND_COLUMNS = (
    REVENUE_AMOUNT,
    _LIST_AMOUNT,
    _DISCOUNT,
    _DISCOUNT_PERCENT,
    _GROSS_PROFIT,
    MARGIN,
    _SHIPPING,
    CONTRIBUTION,
    _CONTRIBUTION_PERCENT,
    KNOWN_COST,
    _LOSS,
)


def _bands_figure(band: FigureColumn, name: str, title: str, question: str, help: str) -> Figure:
    """The contribution of the bands of a column of `order_profitability_monthly`."""
    order_by = f"place, {band.name}"
    return Figure(
        name=name,
        title=title,
        question=question,
        help=f"{help} {_KNOWN_COST_ONLY}",
        mart="order_profitability_monthly",
        query=_bands(band.name),
        order_by=order_by,
        sorted_by="from the lowest to the highest",
        chart_query=f"select * from ({_bands(band.name)}) as bands order by {order_by}",
        columns=(band, *_BAND_COLUMNS),
        measure="Contribution",
        measured_in=Format.MONEY,
        names=band.label,
        draw=lambda rows: ranking_chart(rows, label=band.name, y="contribution_amount"),
    )


def _category_path(row: Row) -> str:
    """The same page and days, of a category."""
    choices = {"first": row["first_day"], "last": row["last_day"], "category": row["category_name"]}
    return f"/profit?{urlencode(choices)}"


PROFIT = FigurePage(
    name="profit",
    totals=Totals(
        mart="daily_revenue",
        day="order_date",
        measures={**TOTAL_REVENUE, **TOTAL_PROFIT},
        note="Contribution is known by month only: see below.",
    ),
    title="Profit",
    lead="What is left of the list price after discounts, refunds, costs and shipping, and where money is lost.",
    days=365,
    figures=(
        Figure(
            name="steps",
            title="From list price to contribution",
            question="How much of the list price is left, and what takes the rest?",
            help="Whole months, each that has a day of the range. A refund counts in the month in which it was paid"
            " back, also of what has no known cost; nothing comes back to the shelf. Revenue whose cost is not known"
            " brings no profit here. Shipping is that of the lines with known cost.",
            mart="order_profitability_monthly",
            query=_STEPS,
            order_by="month",
            sorted_by="by month",
            chart_query=_ALL_STEPS,
            summary_query=f"select {_STEP_SUMS} from ({_STEPS}) as steps",
            columns=(
                MONTH,
                _LIST_AMOUNT,
                _DISCOUNT,
                _DISCOUNT_PERCENT,
                FigureColumn("unlisted_revenue", "Without list price", Format.MONEY),
                REVENUE_AMOUNT,
                FigureColumn("refunded_amount", "Refunds", Format.MONEY, source="refund"),
                FigureColumn("net_revenue", "Net revenue", Format.MONEY, source="refund"),
                FigureColumn("unknown_cost_revenue", "Cost not known", Format.MONEY),
                _COST,
                FigureColumn("net_gross_profit", "Gross profit", Format.MONEY),
                _SHIPPING,
                FigureColumn("net_contribution", "Contribution", Format.MONEY),
            ),
            measure="Amount",
            measured_in=Format.MONEY,
            names="Step",
            draw=_draw_waterfall,
            summarize=_summarize_steps,
        ),
        Figure(
            name="bridge",
            title="Why the contribution changed",
            question="Is more or less left than in the month before, and why?",
            help="The chart is of the last month of the range; its axis does not begin at 0. Volume: more or fewer"
            " units. Mix: other products, new and gone ones too. The others: another list price, discount, cost or"
            " shipping of the same products. A running month is compared with as many days of the month before. Only"
            " lines with known cost, before refunds.",
            mart="margin_bridge_monthly",
            query=f"""
                select
                    revenue_month as month, previous_contribution, {", ".join(_EFFECTS)}, contribution,
                    known_cost_percent, previous_known_cost_percent, is_complete
                {_BRIDGE}""",
            order_by="month desc",
            sorted_by="the newest first",
            chart_query=f"""
                select
                    revenue_month as month, previous_contribution, {", ".join(_EFFECTS)}, contribution, is_complete
                {_BRIDGE} and volume_effect is not null
                order by revenue_month desc
                limit 1""",
            summary_query=f"""
                select months.*
                from (select 1) as one
                left join (
                    select
                        revenue_month as month, previous_contribution, {", ".join(_EFFECTS)}, contribution, is_complete
                    {_BRIDGE} and volume_effect is not null
                    order by revenue_month desc
                    limit 1
                ) as months on true""",
            columns=(
                MONTH,
                FigureColumn("previous_contribution", "Month before", Format.MONEY),
                *(FigureColumn(name, label, Format.MONEY) for name, label in _EFFECTS.items()),
                FigureColumn("contribution", "Contribution", Format.MONEY),
                KNOWN_COST,
                FigureColumn("previous_known_cost_percent", "Known cost, month before", Format.PERCENT),
                FigureColumn("is_complete", "Complete", Format.BOOLEAN),
            ),
            measure="Contribution",
            measured_in=Format.MONEY,
            names="Effect",
            draw=_draw_bridge,
            summarize=_summarize_bridge,
            keys={"revenue_month": "month"},
        ),
        Figure(
            name="discounts",
            title="What discounts cost",
            question="Which categories give away most?",
            help="Discount is list price minus what was paid for it. A click on a category shows what is left of its"
            " list price.",
            mart="order_profitability_monthly",
            query=f"""
                select category_name, {_SUMS}, %(first)s::date as first_day, %(last)s::date as last_day
                {_LINES}
                group by category_name""",
            order_by="discount_amount desc, category_name",
            sorted_by="by discount",
            chart_query=largest_and_other(
                f"""
                    select category_name, sum(discount_amount) as discount_amount
                    {_LINES}
                    group by category_name""",
                by="category_name",
                largest_by="discount_amount",
                values=("discount_amount",),
            ),
            series="categories",
            columns=(
                CATEGORY,
                _DISCOUNT,
                _DISCOUNT_PERCENT,
                _LIST_AMOUNT,
                REVENUE_AMOUNT,
                _COST,
                _GROSS_PROFIT,
                MARGIN,
                _SHIPPING,
                CONTRIBUTION,
                _CONTRIBUTION_PERCENT,
                KNOWN_COST,
                _LOSS,
            ),
            measure="Discount",
            measured_in=Format.MONEY,
            names="Category",
            draw=lambda rows: ranking_chart(named(rows, "category_name"), label="category_name", y="discount_amount"),
            links={"category_name": _category_path},
        ),
        Figure(
            name="categories",
            title="Contribution by category",
            question="Which categories bring the money, and which lose some?",
            help=_KNOWN_COST_ONLY,
            mart="order_profitability_monthly",
            query=f"""
                select category_name, {_SUMS}
                {_LINES}
                group by category_name""",
            order_by="contribution_amount, category_name",
            sorted_by="the lowest contribution first",
            chart_query=largest_and_other(
                f"""
                    select
                        category_name, coalesce(sum(contribution_amount), 0) as contribution_amount,
                        abs(coalesce(sum(contribution_amount), 0)) as magnitude
                    {_LINES}
                    group by category_name""",
                by="category_name",
                # Large losses are drawn, too.
                largest_by="magnitude",
                values=("contribution_amount", "magnitude"),
            ),
            series="categories",
            columns=(
                CATEGORY,
                CONTRIBUTION,
                _CONTRIBUTION_PERCENT,
                _GROSS_PROFIT,
                MARGIN,
                _SHIPPING,
                REVENUE_AMOUNT,
                KNOWN_COST,
                _LOSS,
            ),
            measure="Contribution",
            measured_in=Format.MONEY,
            names="Category",
            draw=lambda rows: ranking_chart(
                named(rows, "category_name"), label="category_name", y="contribution_amount"
            ),
        ),
        _bands_figure(
            FigureColumn("discount_band", "Discount"),
            name="discount_bands",
            title="Contribution by discount",
            question="Do high discounts still bring money?",
            help="The discount of each order line, in percent of its list price.",
        ),
        _bands_figure(
            FigureColumn("shipping_band", "Shipping cost"),
            name="shipping_bands",
            title="Contribution by shipping cost",
            question="Does shipping eat up what the orders bring?",
            help="The shipping cost of each order line, in percent of its amount.",
        ),
        Figure(
            name="losing_products",
            title="Products that lose money",
            question="Which products cost more than they bring?",
            help="Over the whole range; contribution is that of the revenue whose cost is known, before refunds.",
            mart="product_performance_monthly",
            query=f"""
                select {_SUMS_OF_PRODUCT}
                {_PRODUCTS}
                group by product_id
                having sum(contribution_amount) < 0""",
            order_by="contribution_amount, product_id",
            sorted_by="those that lose most first",
            # The losses are added up once, for the table, the chart and the number of rows, and the other sums only for
            # the products that are shown: to add up all of all products takes longer than a page may. The order in
            # their sum makes Postgres read the mart's index, which has the products one after the other.
            first_rows_query=f"""
                with losing as materialized (
                    select product_id, sum(contribution_amount order by product_id) as contribution_amount
                    {_PRODUCTS}
                    group by product_id
                    having sum(contribution_amount order by product_id) < 0
                ),
                first as (
                    select product_id, row_number() over (order by contribution_amount, product_id) as place
                    from losing
                    order by contribution_amount, product_id
                    limit %(page_rows)s
                ),
                counted as (
                    select count(*) as ranked_count, sum(contribution_amount) as total
                    from losing
                ),
                shown as (
                    select {_SUMS_OF_PRODUCT}
                    {_PRODUCTS} and product_id in (select product_id from first)
                    group by product_id
                    having sum(contribution_amount) < 0
                )
                select
                    shown.*, counted.ranked_count,
                    counted.total - sum(shown.contribution_amount) filter (where first.place <= {RANKED_BARS}) over ()
                        as rest
                from shown
                inner join first on shown.product_id = first.product_id
                cross join counted
                order by shown.contribution_amount, shown.product_id""",
            draws_first_rows=True,
            series="products, by loss",
            when_empty="No product of these months lost money.",
            columns=(
                FigureColumn("product_id", "Product"),
                FigureColumn("product_name", "Name"),
                CATEGORY,
                CONTRIBUTION,
                _GROSS_PROFIT,
                REVENUE_AMOUNT,
                FigureColumn("refunded_amount", "Refunds", Format.MONEY, source="refund"),
                FigureColumn("units_sold", "Units", Format.COUNT),
            ),
            measure="Contribution",
            measured_in=Format.MONEY,
            names="Product",
            draw=lambda rows: ranking_chart(
                rows[:RANKED_BARS], label="product_name", key="product_id", y="contribution_amount"
            ),
        ),
        Figure(
            name="losing_orders",
            title="Orders that lose money",
            question="With which discounts and which shipping do orders cost more than they bring?",
            help="Each row opens its order lines, those that lose most first. An order may be in several rows.",
            mart="order_profitability_monthly",
            query=f"""
                select
                    revenue_month as month, category_name, discount_band, shipping_band, loss_orders, loss_amount,
                    orders, revenue, gross_profit, contribution_amount
                {_LINES} and loss_amount > 0""",
            order_by="loss_amount desc, month, category_name, discount_band, shipping_band",
            sorted_by="those that lose most first",
            when_empty="No order line of these months lost money.",
            columns=(
                MONTH,
                CATEGORY,
                FigureColumn("discount_band", "Discount"),
                FigureColumn("shipping_band", "Shipping cost"),
                FigureColumn("loss_orders", "Orders that lose", Format.COUNT),
                _LOSS,
                FigureColumn("orders", "Orders", Format.COUNT),
                REVENUE_AMOUNT,
                _GROSS_PROFIT,
                CONTRIBUTION,
            ),
            keys={
                "revenue_month": "month",
                "category_name": "category_name",
                "discount_band": "discount_band",
                "shipping_band": "shipping_band",
            },
        ),
    ),
)
