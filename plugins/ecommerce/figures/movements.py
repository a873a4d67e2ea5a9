"""
Why a key figure moved between two days: the queries of its members by dimension, and the answer in sentences.

The dimensions are what the warehouse knows: categories, products, payment methods and kinds of customers of sales;
plans, and what happened to them, of subscriptions; categories, products and kinds of customers of events. Customers
have no region (see the canonical form of `customer`), so none is shown.

An order may have lines of several categories. Where orders are counted, it counts once, with all of its day's revenue,
for the category (product …) that most of its money of that day is for; if two are equal, for the first in the order of
characters. A customer who views products of several categories counts for the one of most of the day's events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from urllib.parse import urlencode

from ecommerce.figures.decomposition import PLACES, Decomposition, Effect, Member, decompose
from ecommerce.figures.key_figures import ALL_FIGURES, COMPARED_DAYS, KeyFigure, Row, change_between
from ecommerce.figures.number_formats import day as format_day
from ecommerce.figures.number_formats import format_number, signed

#: Members of a dimension that are read one by one; all smaller ones are one row.
MOST_MEMBERS = 1_000
#: Effects that a sentence names, of those that go with the difference, and of those against it.
_NAMED_WITH, _NAMED_AGAINST = 3, 2

#: Lines that marts count, of the two days, for each dimension.
_SALES_MEMBERS = """
    with lines as (
        select
            sales.date_key, sales.order_id collate "C" as order_id, sales.order_amount, sales.gross_profit,
            sales.product_id, sales.payment_method, products.product_name, products.category_name,
            case
                when sales.is_guest then 'Guests'
                when customers.first_order_date = sales.date_key then 'New customers'
                else 'Returning customers'
            end as customer_kind
        from core.fact_sales as sales
        inner join core.dim_products as products on sales.product_key = products.product_key
        left join core.int_customer_sales as customers on sales.customer_id = customers.customer_id
        where
            sales.date_key in (%(before)s::date, %(day)s::date)
            and sales.order_amount > 0 and not sales.is_cancelled
    ),
    members as (
        select
            lines.date_key, lines.order_id, lines.order_amount, lines.gross_profit,
            member.dimension, member.member_id collate "C" as member_id, member.member
        from lines
        cross join lateral (
            values
            ('category', category_name, category_name),
            ('product', product_id, product_name),
            ('payment_method', payment_method, payment_method),
            ('customer_kind', customer_kind, customer_kind)
        ) as member (dimension, member_id, member)
    ),"""

_BY_LINE = f"""{_SALES_MEMBERS}
    measured as (
        select
            dimension, member_id, member, date_key, order_amount as revenue,
            case when gross_profit is not null then order_amount end as known_cost_revenue, gross_profit
        from members
    ),
{{totals}}"""

_BY_ORDER = f"""{_SALES_MEMBERS}
    orders as (
        select
            date_key, order_id, dimension, member_id, max(member) as member, sum(order_amount) as amount
        from members
        group by date_key, order_id, dimension, member_id
    ),
    measured as (
        select distinct on (date_key, order_id, dimension)
            dimension, member_id, member, date_key, 1 as orders,
            sum(amount) over (partition by date_key, order_id, dimension) as revenue
        from orders
        order by date_key, order_id, dimension, amount desc, member_id
    ),
{{totals}}"""

_BY_VISITOR = """
    with events as (
        select
            date_key, customer_id, product_key, count(*) as events,
            count(*) filter (where interaction_type = 'view') as views,
            count(*) filter (where interaction_type = 'purchase') as purchases
        from core.fact_customer_events
        where date_key in (%(before)s::date, %(day)s::date)
        group by date_key, customer_id, product_key
    ),
    named as (
        select
            events.date_key, events.customer_id collate "C" as customer_id, events.events, events.views,
            events.purchases, products.product_id, products.product_name, products.category_name,
            case
                when customers.first_order_date < events.date_key then 'Ordered before'
                else 'No order before'
            end as customer_kind
        from events
        inner join core.dim_products as products on events.product_key = products.product_key
        left join core.int_customer_sales as customers on events.customer_id = customers.customer_id
    ),
    visitors as (
        select
            date_key, customer_id, member.dimension, member.member_id collate "C" as member_id,
            max(member.member) as member, sum(events) as events, sum(views) as views, sum(purchases) as purchases
        from named
        cross join lateral (
            values
            ('category', category_name, category_name),
            ('product', product_id, product_name),
            ('customer_kind', customer_kind, customer_kind)
        ) as member (dimension, member_id, member)
        group by date_key, customer_id, member.dimension, member.member_id collate "C"
    ),
    measured as (
        select distinct on (date_key, customer_id, dimension)
            dimension, member_id, member, date_key,
            (sum(views) over everything > 0)::int as viewers,
            (sum(purchases) over everything > 0)::int as buyers
        from visitors
        window everything as (partition by date_key, customer_id, dimension)
        order by date_key, customer_id, dimension, events desc, member_id
    ),
{totals}"""

_BY_SUBSCRIPTION = """
    with days (date_key) as (
        values (%(before)s::date), (%(day)s::date)
    ),
    active as (
        select days.date_key, subscriptions.*, fees.monthly_fee as fee
        from days
        inner join core.fact_subscriptions as subscriptions
            on
                subscriptions.start_date <= days.date_key
                and (subscriptions.end_date is null or subscriptions.end_date > days.date_key)
        inner join core.int_subscription_fees as fees
            on
                subscriptions.subscription_id = fees.subscription_id
                and fees.valid_from <= days.date_key and fees.valid_to > days.date_key
    ),
    compared as (
        select
            *,
            count(*) over every as days_active,
            min(fee) filter (where date_key = %(before)s::date) over every as fee_before,
            min(fee) filter (where date_key = %(day)s::date) over every as fee_after
        from active
        window every as (partition by subscription_id)
    ),
    measured as (
        select member.dimension, member.member_id, member.member, date_key, 1 as subscriptions, fee
        from compared
        cross join lateral (
            select
                case
                    when fee_before is null and is_reactivated then 'Reactivated'
                    when fee_before is null then 'New'
                    when fee_after is null then 'Ended'
                    when fee_after > fee_before then 'Fee raised'
                    when fee_after < fee_before then 'Fee lowered'
                    else 'Unchanged'
                end as movement
        ) as moved
        cross join lateral (
            values ('plan', plan_type, plan_type), ('movement', movement, movement)
        ) as member (dimension, member_id, member)
    ),
{totals}"""


def _query(template: str, measures: Sequence[str], most: int = MOST_MEMBERS) -> str:
    """
    The members of all dimensions with their measures on both days, the first measure's largest first.

    :param template: SQL up to `measured`, a row for each member and day with these measures
    :param most: members of a dimension that get a row of their own; the smaller ones share one
    """
    largest = f"greatest(coalesce({measures[0]}_before, 0), coalesce({measures[0]}_after, 0))"
    sums = ",\n            ".join(
        f"sum({name}) filter (where date_key = %({day})s::date) as {name}_{when}"
        for name in measures
        for day, when in (("before", "before"), ("day", "after"))
    )
    known = ", ".join(
        f"coalesce(sum({name}_{when}), 0) as {name}_{when}" for name in measures for when in ("before", "after")
    )
    totals = f"""
    totals as (
        select
            dimension, member_id,
            coalesce(max(member) filter (where date_key = %(day)s::date), max(member)) as member,
            {sums}
        from measured
        group by dimension, member_id
    ),
    ranked as (
        select
            *,
            row_number() over (partition by dimension order by {largest} desc, member_id) > {most} as is_small
        from totals
    )
    select
        dimension, is_small, case when not is_small then member_id end as member_id,
        min(case when not is_small then member end) as member, count(*) as members,
        {known}
    from ranked
    group by dimension, is_small, case when not is_small then member_id end"""
    return template.replace("{totals}", totals)


_SALES_BY_LINE = _query(_BY_LINE, ("revenue", "known_cost_revenue", "gross_profit"))
_SALES_BY_ORDER = _query(_BY_ORDER, ("revenue", "orders"))
_EVENTS_BY_VISITOR = _query(_BY_VISITOR, ("viewers", "buyers"))
_FEES_BY_SUBSCRIPTION = _query(_BY_SUBSCRIPTION, ("fee", "subscriptions"))


@dataclass(frozen=True)
class Dimension:
    """
    What a figure is split by.

    :param one: "category"; ``many``: "categories"
    :param unknown: the name of the member that has none
    """

    name: str
    one: str
    many: str
    unknown: str


DIMENSIONS = {
    dimension.name: dimension
    for dimension in (
        Dimension("category", "category", "categories", "No category"),
        Dimension("product", "product", "products", "No product"),
        Dimension("payment_method", "payment method", "payment methods", "Unknown"),
        Dimension("customer_kind", "kind of customer", "kinds of customers", "Unknown"),
        Dimension("plan", "plan", "plans", "No plan"),
        Dimension("movement", "movement", "movements", "Unknown"),
    )
}


@dataclass(frozen=True)
class Split:
    """
    How a figure is split into members.

    :param amount: the measure that it is the sum of, or the numerator; ``base`` the denominator of a ratio
    :param rate: what a member's own value of a ratio is called
    :param note: how something is counted that could be counted in another way
    """

    query: str
    amount: str
    dimensions: Sequence[str]
    base: str | None = None
    factor: int = 1
    places: int = PLACES
    rate: str = ""
    share: str = ""
    note: str = ""


_OF_SALES = ("category", "product", "payment_method", "customer_kind")
_ONE_MEMBER_AN_ORDER = (
    "An order counts once: for the category, product … that most of its money of that day is for, with all of it."
)
#: Key figure → how it is split.
SPLITS = {
    "revenue": Split(_SALES_BY_LINE, "revenue", _OF_SALES),
    "orders": Split(_SALES_BY_ORDER, "orders", _OF_SALES, places=0, note=_ONE_MEMBER_AN_ORDER),
    "average_order_value": Split(
        _SALES_BY_ORDER, "revenue", _OF_SALES, base="orders", note=_ONE_MEMBER_AN_ORDER,
        rate="its average", share="its share of orders",
    ),
    "gross_margin": Split(
        _SALES_BY_LINE, "gross_profit", _OF_SALES, base="known_cost_revenue", factor=100,
        rate="its margin", share="its share of revenue", note="Of the revenue whose cost is known.",
    ),
    "subscriptions": Split(_FEES_BY_SUBSCRIPTION, "subscriptions", ("plan", "movement"), places=0),
    "mrr": Split(_FEES_BY_SUBSCRIPTION, "fee", ("plan", "movement")),
    "conversion": Split(
        _EVENTS_BY_VISITOR, "buyers", ("category", "product", "customer_kind"), base="viewers", factor=100,
        rate="its conversion", share="its share of viewers",
        note="A customer counts once: for the category and product of most of its events of that day.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class DimensionEffects:
    """What the members of a dimension make of the difference, and the same as a sentence."""

    dimension: Dimension
    decomposition: Decomposition
    sentence: str


@dataclass(frozen=True)
class Movement:
    """
    Why a figure moved: the difference to an earlier day, by dimension.

    :param label: of the comparison, such as "day before"
    """

    figure: KeyFigure
    day: date
    before_day: date
    label: str
    dimensions: Sequence[DimensionEffects]

    @property
    def difference(self) -> Decimal | None:
        """By how much the figure moved, in its own unit; None if it has no value on one of the days."""
        return self.total.difference

    @property
    def total(self) -> Decomposition:
        """The figure on both days, which is that of every dimension."""
        return self.dimensions[0].decomposition if self.dimensions else Decomposition(None, None, ())

    @property
    def headline(self) -> str:
        """`Revenue on 1 Mar 2024: 1,000.00, +200.00 (+25.0 %) against 29 Feb 2024, the day before.`"""
        total, unit = self.total, self.figure.format
        shown = f"{self.figure.title} on {format_day(self.day)}: {format_number(total.after, unit)}"
        against = f"{format_day(self.before_day)}, the {_day_in_words(self.label)}"
        if total.difference is None:
            return f"{shown}; {against}: {format_number(total.before, unit)}. They cannot be compared."
        change = change_between(self.figure, self.label, self.before_day, total.after, total.before)
        percent = f" ({change.text})" if change.text.endswith(" %") else ""
        return f"{shown}, {signed(total.difference, unit)}{percent} against {against}."


def _day_in_words(label: str) -> str:
    return "same weekday a year before" if label == "year before" else label


def name_of(effect: Effect, dimension: Dimension) -> str:
    """The name of a member; of those that share a row, how many they are: a category may be called *Other*, too."""
    return f"{effect.name} ({effect.members:,} {dimension.many})" if effect.members > 1 else effect.name


def why_path(figure_name: str, day: date, label: str) -> str:
    """The path of the page Why about a comparison, below the pages' own."""
    return f"/why?{urlencode({'figure': figure_name, 'day': day.isoformat(), 'against': label.replace(' ', '_')})}"


def before_day(day: date, label: str) -> date:
    """The day that a day is compared with."""
    return day - timedelta(days=COMPARED_DAYS[label])


def explain(figure_name: str, day: date, label: str, rows: list[Row]) -> Movement:
    """
    Why a figure moved.

    :param rows: of the query of its `SPLITS`, with the parameters `day` and `before`
    """
    figure, split = ALL_FIGURES[figure_name], SPLITS[figure_name]
    dimensions = []
    for name in split.dimensions:
        dimension = DIMENSIONS[name]
        members = _members(split, dimension, [row for row in rows if row["dimension"] == name])
        decomposition = decompose(members, factor=split.factor, places=split.places)
        dimensions.append(DimensionEffects(dimension, decomposition, _sentence(figure, dimension, decomposition)))
    return Movement(figure, day, before_day(day, label), label, dimensions)


def _members(split: Split, dimension: Dimension, rows: Sequence[Row]) -> list[Member]:
    """The rows of a dimension; a name that several have is followed by the id."""
    names = Counter(row["member"] for row in rows)
    members = [
        Member(
            name=_name(row, dimension, is_unique=names[row["member"]] == 1),
            before=Decimal(row[f"{split.amount}_before"]),
            after=Decimal(row[f"{split.amount}_after"]),
            base_before=Decimal(row[f"{split.base}_before"]) if split.base else None,
            base_after=Decimal(row[f"{split.base}_after"]) if split.base else None,
            members=row["members"],
        )
        for row in rows
    ]
    return [member for member in members if any((*member.sizes, member.before, member.after))]


def _name(row: Row, dimension: Dimension, *, is_unique: bool) -> str:
    if row["is_small"]:
        return f"All smaller {dimension.many}"
    if row["member_id"] is None:
        return dimension.unknown
    if row["member"] is None:
        return str(row["member_id"])
    return row["member"] if is_unique else f"{row['member']} ({row['member_id']})"


def _sentence(figure: KeyFigure, dimension: Dimension, decomposition: Decomposition) -> str:
    """`Mostly Toys (+300.00), Books (+40.00); against it Food (−100.00).`"""
    difference = decomposition.difference
    moved = [effect for effect in decomposition.effects if effect.effect]
    if difference is None:
        return "Nothing can be compared."
    if not moved:
        return f"No {dimension.one} makes a difference."
    if not difference:
        return f"Up and down make up for each other: {_named(figure, moved[: _NAMED_WITH + _NAMED_AGAINST])}."
    along = [effect for effect in moved if (effect.effect > 0) == (difference > 0)]
    against = [effect for effect in moved if (effect.effect > 0) != (difference > 0)]
    text = f"Mostly {_named(figure, along[:_NAMED_WITH])}"
    return f"{text}; against it {_named(figure, against[:_NAMED_AGAINST])}." if against else f"{text}."


def _named(figure: KeyFigure, effects: Sequence[Effect]) -> str:
    return ", ".join(f"{effect.name} ({signed(effect.effect, figure.format)})" for effect in effects)
