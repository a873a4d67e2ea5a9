"""The page Review: the orders that break a rule, one after the other, and what the rules find."""

from __future__ import annotations

from shop_pages.chart_queries import DAYS, by_period
from shop_pages.charts import grouped_chart, named
from shop_pages.figures import Figure, FigureColumn, FigurePage, PageTable, Plot
from shop_pages.formats import Format
from shop_pages.pages.shared import DAY, TOTAL_REVIEWS
from shop_pages.pool import Row

#: What a person may say of an order, and how the page calls an order of which nothing was said.
ANSWERS = {"fine": "Fine", "watch": "Watch", "problem": "Problem"}
STATUSES = {"open": "Open", **ANSWERS}
PRIORITIES = ("High", "Medium")
#: Characters of a note, as `ops.review` has them.
NOTE_CHARACTERS = 2_000

_QUEUE_COLUMNS = (
    FigureColumn("order_id", "Order"),
    DAY,
    FigureColumn("customer", "Customer"),
    FigureColumn("order_amount", "Amount", Format.MONEY),
    FigureColumn("expected_loss", "Expected loss", Format.MONEY),
    FigureColumn("risk_score", "Score", Format.COUNT),
    FigureColumn("reasons", "Why"),
    FigureColumn("status", "Status"),
)

#: The orders with what was said last of each: the marts have that since the last build, this at once. `inspector` reads
#: it, who may read both.
_ORDERS = """
    select
        orders.order_id, orders.order_date, orders.customer_id,
        case when orders.customer_id is null then 'Guest' else coalesce(orders.customer_name, orders.customer_id) end
            as customer,
        orders.order_amount, orders.discount_percent, orders.shipping_percent, orders.gross_profit,
        orders.contribution_amount, orders.expected_loss, orders.risk_score, orders.review_priority,
        orders.broken_rules, orders.reasons, coalesce(said.status, 'open') as status
    from marts.order_for_reviews as orders
    left join (
        select distinct on (order_id) order_id, status
        from ops.review
        order by order_id, review_id desc
    ) as said on orders.order_id = said.order_id"""
_IS_CHOSEN = """
        orders.order_date between %(first)s and %(last)s
        and (%(priority)s::text is null or orders.review_priority = %(priority)s::text)
        and (%(rule)s::text is null or %(rule)s::text = any(orders.broken_rules))"""
_CHOSEN = f"""{_ORDERS}
    where {_IS_CHOSEN}"""
#: In two halves, so that Postgres knows how many orders are open: it then reads only the first of them, in their order.
_HAS_STATUS = """(%(status)s::text is distinct from 'open' or said.order_id is null)
        and (%(status)s::text is null or %(status)s::text = 'open' or said.status = %(status)s::text)"""
#: Those that cost most first.
_IN_ORDER = "order by orders.risk_score desc, orders.expected_loss desc, orders.order_date desc, orders.order_id"

QUEUE = PageTable(
    name="queue",
    title="Orders to review",
    query=f"{_CHOSEN} and {_HAS_STATUS}",
    order_by=_IN_ORDER.removeprefix("order by ").replace("orders.", ""),
    sorted_by="those with the most points and the greatest loss first",
    columns=_QUEUE_COLUMNS,
)
ORDER = f"""{_ORDERS}
    where orders.order_id = %(order_id)s"""
NEXT_ORDER = f"""{_CHOSEN} and {_HAS_STATUS} and orders.order_id <> %(order_id)s
    {_IN_ORDER}
    limit 1"""
#: What was said last of each chosen order of which anything was said.
_SAID = f"""
        select distinct on (review.order_id)
            review.order_id, review.status, review.rules, orders.expected_loss
        from ops.review
        inner join marts.order_for_reviews as orders on review.order_id = orders.order_id
        where {_IS_CHOSEN}
        order by review.order_id, review.review_id desc"""
#: Of most orders nothing was said: the open ones are all but the others, and none of them is looked up in `ops.review`.
COUNTS = f"""
    with chosen as (
        select count(*) as orders, sum(orders.expected_loss) as expected_loss
        from marts.order_for_reviews as orders
        where {_IS_CHOSEN}
    ),
    said as ({_SAID}
    ),
    counted as (
        select status, count(*) as orders, sum(expected_loss) as expected_loss
        from said
        group by status
        union all
        select
            'open', orders - (select count(*) from said),
            expected_loss - (select coalesce(sum(expected_loss), 0) from said)
        from chosen
    )
    select status, orders, expected_loss
    from counted
    where orders > 0"""

HISTORY = PageTable(
    name="history",
    title="What was said",
    query="""
        select
            review_id, initcap(status) as status, note, array_to_string(rules, ', ') as rules, reviewed_by, reviewed_at
        from ops.review
        where order_id = %(order_id)s""",
    order_by="review_id desc",
    sorted_by="the newest first",
    columns=(
        FigureColumn("reviewed_at", "When", Format.TIMESTAMP, help="When it was said."),
        FigureColumn("reviewed_by", "Who", help="Who said it."),
        FigureColumn("status", "Answer", help="What the order is, as that person says."),
        FigureColumn("note", "Note", is_long=True, help="What was said."),
        FigureColumn("rules", "Rules broken then", Format.NAME, is_long=True, help="The rules that it broke."),
    ),
)

_OUTCOME_COLUMNS = (
    FigureColumn("description", "Rule"),
    FigureColumn("owner", "Owner"),
    FigureColumn("weight", "Points", Format.COUNT),
    FigureColumn("orders", "Orders", Format.COUNT),
    FigureColumn("expected_loss", "Expected loss", Format.MONEY),
    FigureColumn("reviewed", "Reviewed", Format.COUNT),
    FigureColumn("problems", "Problem", Format.COUNT),
    FigureColumn("watched", "Watch", Format.COUNT),
    FigureColumn("fine", "Fine", Format.COUNT),
    FigureColumn("problem_percent", "Problems of reviewed", Format.PERCENT),
)
#: What a rule has found, and what became of it: an order counts with each rule that it broke when it was reviewed.
_OUTCOMES = f"""
    with rules as (
        -- Of a rule whose threshold has changed, the newest row.
        select distinct on (rule) rule, description, owner, weight
        from core.review_rules
        order by rule, valid_from desc nulls last
    ),
    -- Thousands of orders break the same rules: counted before they are taken apart.
    sets as (
        select broken_rules, count(*) as orders, sum(orders.expected_loss) as expected_loss
        from marts.order_for_reviews as orders
        where {_IS_CHOSEN}
        group by broken_rules
    ),
    found as (
        select rule, sum(orders)::bigint as orders, sum(expected_loss) as expected_loss
        from sets
        cross join unnest(broken_rules) as rule
        group by rule
    ),
    said as ({_SAID}
    ),
    outcomes as (
        select
            rule, count(*) as reviewed,
            count(*) filter (where said.status = 'problem') as problems,
            count(*) filter (where said.status = 'watch') as watched,
            count(*) filter (where said.status = 'fine') as fine
        from said
        cross join unnest(said.rules) as rule
        group by rule
    )
    select
        rules.rule, rules.description, rules.owner, rules.weight, coalesce(found.orders, 0) as orders,
        coalesce(found.expected_loss, 0) as expected_loss, coalesce(outcomes.reviewed, 0) as reviewed,
        coalesce(outcomes.problems, 0) as problems, coalesce(outcomes.watched, 0) as watched,
        coalesce(outcomes.fine, 0) as fine,
        round(100.0 * outcomes.problems / outcomes.reviewed, 2) as problem_percent
    from rules
    left join found on rules.rule = found.rule
    left join outcomes on rules.rule = outcomes.rule"""
OUTCOMES = PageTable(
    name="outcomes",
    title="What the rules find",
    query=_OUTCOMES,
    order_by="problem_percent desc nulls last, orders desc, rule",
    sorted_by="those that find most problems first",
    columns=_OUTCOME_COLUMNS,
)

RULES = """
    select distinct on (rule) rule, description
    from core.review_rules
    order by rule, valid_from desc nulls last"""


def _draw_compliance(rows: list[Row]) -> Plot:
    drawn = [{**row, "rule": row["rule"].replace("_", " ").capitalize()} for row in named(rows, "rule")]
    return grouped_chart(drawn, "rule", x="period", y="compliance_percent", kind="line")


REVIEW = FigurePage(
    name="review",
    totals=TOTAL_REVIEWS,
    title="Review",
    lead="Orders that break a rule, for a person to look at, and what the rules find.",
    figures=(
        Figure(
            name="compliance",
            title="Compliance",
            question="How many orders keep to each rule?",
            help="The table also has the percentage of the 28 days to each day. An order that breaks several rules is "
            "counted with each.",
            mart="rule_compliance_daily",
            query="""
                select
                    order_date, rule, orders_checked, violations, compliance_percent, compliance_28d_percent,
                    amount_at_risk
                from marts.rule_compliance_daily
                where order_date between %(first)s and %(last)s""",
            order_by="order_date desc, rule",
            sorted_by="the newest first",
            columns=(
                DAY,
                FigureColumn("rule", "Rule", Format.NAME),
                FigureColumn("orders_checked", "Orders", Format.COUNT),
                FigureColumn("violations", "Break it", Format.COUNT),
                FigureColumn("compliance_percent", "Compliance", Format.PERCENT),
                FigureColumn("compliance_28d_percent", "28 days", Format.PERCENT),
                FigureColumn("amount_at_risk", "Amount at risk", Format.MONEY),
            ),
            chart_query=by_period(
                """
                    select order_date, rule, orders_checked, violations
                    from marts.rule_compliance_daily
                    where order_date between %(first)s and %(last)s""",
                time="order_date",
                units=DAYS,
                values={"orders_checked": "sum(orders_checked)", "violations": "sum(violations)"},
                by="rule",
                largest_by="violations",
                computed={
                    "compliance_percent": "round(100.0 * (orders_checked - violations) / nullif(orders_checked, 0), 2)"
                },
            ),
            series="rules",
            measure="Orders that keep to the rule",
            measured_in=Format.PERCENT,
            names_query="""
                select distinct upper(left(rule, 1)) || replace(substr(rule, 2), '_', ' ') as name
                from marts.rule_compliance_daily
                order by name""",
            draw=_draw_compliance,
        ),
    ),
    days=30,
)
