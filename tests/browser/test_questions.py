"""
Ten questions of someone who runs a shop: the clicks to the answer, and the answer against the facts.

`docs/questions.md` has the same questions. The answers are computed here from `core`, by SQL that shares nothing with
the pages' own, wherever the figure is not one of a person's judgement.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from include.demo.state import ROOT
from tests.browser.chromium import draw_all
from tests.running_stack import Demo

Query = Callable[..., list[tuple]]

#: Lines that marts count.
COUNTED = "order_amount > 0 and not is_cancelled"
#: Clicks after which an answer must be there.
MOST_CLICKS = 3


class Reader:
    """Somebody at the page Today who clicks."""

    def __init__(self, page: Page, query: Query) -> None:
        self.page, self.query, self.clicks = page, query, 0
        page.goto("/shop/today")

    def click(self, what: Locator) -> None:
        """One click."""
        what.click()
        self.clicks += 1

    def open_page(self, name: str) -> None:
        """A page of the navigation."""
        self.click(self.page.get_by_label("Pages of the shop").get_by_role("link", name=name, exact=True))

    def open_table(self, figure: str) -> None:
        """The table below a chart."""
        self.click(self.page.locator(f"#{figure} summary"))

    def click_point(self, figure: str, number: int) -> None:
        """A bar of a waterfall, where Plotly listens to the mouse."""
        draw_all(self.page)
        bar = self.page.locator(f"#plot-{figure} .point path").nth(number)
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.clicks += 1

    def rows(self, table: str) -> list[dict[str, str]]:
        """The rows of a table that is open: heading → text; of two equal headings the first."""
        headings, *lines = self.page.locator(f"{table} table").first.evaluate(
            """
            table => [...table.querySelectorAll("thead tr, tbody tr")]
                .map(row => [...row.cells].map(cell => cell.innerText.trim().replace(/,? EUR$/, "")))
            """
        )
        return [dict(reversed(list(zip(headings, line, strict=True)))) for line in lines]

    def value(self, query: str, *values: Any) -> Any:
        """The only value of a query."""
        ((value,),) = self.query(query, *values)
        return value

    def months(self) -> tuple[str, str]:
        """The first and the last day of the months that the page's range touches."""
        days = [self.page.get_by_label(f"{end} day").input_value() for end in ("First", "Last")]
        first, last = map(date.fromisoformat, days)
        return f"{first:%Y-%m}-01", f"{last:%Y-%m}-{monthrange(last.year, last.month)[1]}"


def money(value: Decimal | None) -> str:
    """As the pages write it."""
    return "–" if value is None else f"{value:,.2f}"


def percent(part: Decimal | None, whole: Decimal | None) -> str:
    """As the pages write it, rounded as Postgres does."""
    if part is None or not whole:
        return "–"
    return f"{(part * 100 / whole).quantize(Decimal('0.01'), 'ROUND_HALF_UP'):,.2f} %"


def discounts(reader: Reader) -> None:
    """What did the discounts on a category cost me?"""
    reader.open_page("Profit")
    first, last = reader.months()
    category, given, listed = reader.query(
        f"""
        select category_name, sum(discount_amount), sum(list_amount)
        from core.fact_sales
        inner join core.dim_products using (product_key)
        where {COUNTED} and date_key between %s and %s and category_name is not null
        group by category_name
        order by sum(discount_amount) desc nulls last
        limit 1
        """,
        first,
        last,
    )[0]
    reader.open_table("discounts")
    (row,) = [row for row in reader.rows("#discounts") if row["Category"] == category]
    assert (row["Discount"], row["List price"]) == (money(given), money(listed))
    reader.click(reader.page.locator("#discounts").get_by_role("link", name=category, exact=True))
    expect(reader.page.locator("#steps .summary")).to_contain_text(
        f"Discounts {money(given)}, {percent(given, listed)} of the list price"
    )


def losing_products(reader: Reader) -> None:
    """Which products lose money?"""
    reader.open_page("Profit")
    losing = reader.query(
        f"""
        select product_id, sum(contribution_amount)
        from core.fact_sales
        where {COUNTED} and date_key between %s and %s
        group by product_id
        having sum(contribution_amount) < 0
        order by 2, 1
        """,
        *reader.months(),
    )
    assert losing
    reader.open_table("losing_products")
    shown = [(row["Product"], row["Contribution"]) for row in reader.rows("#losing_products")]
    assert shown == [(product, money(contribution)) for product, contribution in losing[:100]]
    if len(losing) > len(shown):
        expect(reader.page.locator("#losing_products summary")).to_contain_text(f"{len(losing):,} rows")


def to_order(reader: Reader) -> None:
    """How many of each product should I order, and from which supplier?"""
    orders = reader.query(
        """
        select supplier_id, product_id, suggested_order_quantity
        from marts.inventory_status
        where suggested_order_quantity > 0
        order by days_of_stock nulls last, suggested_order_quantity desc, product_id
        """
    )
    assert orders
    reader.click(reader.page.locator("#attention ~ ul").get_by_role("link", name=re.compile("to order$")))
    reader.open_table("order")
    shown = [(row["Supplier"], row["Product"], row["Order"]) for row in reader.rows("#order")]
    assert shown == [(supplier or "–", product, f"{units:,}") for supplier, product, units in orders[:100]]
    # What is suggested covers what 90 days have sold in the 21 days to the next delivery, less what there is.
    _, product, units = orders[0]
    sold, stock = reader.query(
        f"""
        select
            (select coalesce(sum(order_quantity), 0) from core.fact_sales
             where product_id = %(product)s and {COUNTED}
             and date_key between (select max(order_date) from marts.daily_revenue) - 89
             and (select max(order_date) from marts.daily_revenue)),
            (select stock_level from core.dim_products where product_id = %(product)s and is_current)
        """.replace("%(product)s", "%s"),
        product,
        product,
    )[0]
    assert units >= Decimal(sold) / 90 * 21 - max(stock, 0) - 1


def at_risk(reader: Reader) -> None:
    """Who is at risk of leaving?"""
    reader.open_page("Customers")
    ((segment, many),) = reader.query(
        """
        select rfm_segment, count(*) from marts.customer_segments
        where rfm_segment in ('At Risk', 'Hibernating', 'Cannot Lose')
        group by rfm_segment
        order by rfm_segment
        limit 1
        """
    )
    reader.open_table("segments")
    (row,) = [row for row in reader.rows("#segments") if row["Segment"] == segment]
    assert row["Customers"] == f"{many:,}"
    reader.click(reader.page.locator("#segments").get_by_role("link", name=segment, exact=True))
    listed = reader.rows("#best")
    assert len(listed) == min(many, 100)
    assert {row["Segment"] for row in listed} == {segment}
    # By hand: each of them has ordered, and the last time before the later half of all customers.
    days = sorted(
        day for (day,) in reader.query(
            f"""
            select (select max(order_date) from marts.daily_revenue) - max(date_key)
            from core.fact_sales
            where {COUNTED} and customer_id is not null
            group by customer_id
            """
        )
    )  # fmt: skip
    assert min(int(row["Days since"].replace(",", "")) for row in listed) >= days[len(days) // 2]


def why(reader: Reader) -> None:
    """Why did revenue move yesterday?"""
    (day, revenue), (day_before, before) = reader.query(
        f"""
        select days.date_key, coalesce(sum(order_amount) filter (where {COUNTED}), 0)
        from (select date_key from core.dim_date
              where date_key in ((select max(order_date) from marts.daily_revenue),
                                 (select max(order_date) - 1 from marts.daily_revenue))) as days
        left join core.fact_sales on days.date_key = fact_sales.date_key
        group by days.date_key
        order by days.date_key desc
        """
    )
    reader.click(reader.page.locator("#revenue").get_by_role("link", name=re.compile("^Why")))
    heading = reader.page.locator(".heading p")
    expect(heading).to_contain_text(f"{day.day} {day:%b %Y}: {money(revenue)}")
    expect(heading).to_contain_text(f"{day_before.day} {day_before:%b %Y}")
    for dimension in ("category", "product", "payment_method", "customer_kind"):
        effects = [_number(row["Effect"]) for row in reader.rows(f"#{dimension}")]
        assert sum(effects) == revenue - before, dimension


def _number(text: str) -> Decimal:
    return Decimal(text.replace("−", "-").replace("±", "").replace(",", ""))


def quarter(reader: Reader) -> None:
    """How does this quarter compare with last year, like for like?"""
    revenue, last_year, is_covered = reader.query(
        f"""
        with today as (
            select max(order_date) as day, min(order_date) as earliest from marts.daily_revenue
        ),
        quarter as (
            select day, date_trunc('quarter', day::timestamp)::date as first_day from today
        ),
        covered as (
            select min(window_start) as first_day from ops.load_batch where source = 'sales_fact' and status = 'loaded'
        )
        select
            sum(order_amount) filter (where date_key between quarter.first_day and day),
            sum(order_amount) filter (
                where date_key >= quarter.first_day - interval '1 year'
                and date_key <= quarter.first_day - interval '1 year' + (day - quarter.first_day) * interval '1 day'
            ),
            (select first_day from covered)::date <= (min(quarter.first_day) - interval '1 year')::date
        from core.fact_sales
        cross join quarter
        where {COUNTED}
        """
    )[0]
    reader.open_page("Trends")
    (row,) = [row for row in reader.rows("#to_date") if row["Period"] == "quarter"]
    assert row["Revenue"] == money(revenue)
    growth = percent(revenue - last_year, last_year) if is_covered and last_year else "–"
    assert row["Against the year before"] == growth


def broken_rules(reader: Reader) -> None:
    """Which orders break which rule, and what was found?"""
    reader.open_page("Review")
    listed = reader.rows("#queue")
    assert listed
    order = listed[0]["Order"]
    amount, rate = reader.query(
        f"select sum(order_amount), max(discount_rate) from core.fact_sales where order_id = %s and {COUNTED}", order
    )[0]
    assert listed[0]["Amount"] == money(amount)
    rules, reasons = reader.query(
        "select broken_rules, reasons from marts.order_for_reviews where order_id = %s", order
    )[0]
    assert ("high_discount" in rules) == (rate > Decimal("0.30"))
    assert all(reason in listed[0]["Why"] for reason in reasons)
    reader.query(
        "insert into ops.review (order_id, status, note, rules, reviewed_by) values (%s, 'problem', '', %s, 'test')",
        order,
        rules,
    )
    try:
        reader.page.reload()
        found = {row["Rule"]: row for row in reader.rows("#outcomes")}
        for (description,) in reader.query("select description from core.review_rules where rule = any(%s)", rules):
            assert int(found[description]["Problem"]) >= 1
        assert order not in [row["Order"] for row in reader.rows("#queue")]
    finally:
        reader.query("delete from ops.review where order_id = %s and reviewed_by = 'test'", order)


def together(reader: Reader) -> None:
    """What is bought together?"""
    reader.open_page("Customers")
    reader.open_table("together")
    row = reader.rows("#together")[0]
    both = reader.value(
        f"""
        with months as (
            select period_start as month
            from marts.revenue_trend
            where grain = 'month' and category_name = 'All categories' and is_complete
            order by period_start desc
            limit 12
        ),
        lines as (
            select distinct customer_id, product_id, date_key
            from core.fact_sales
            where
                {COUNTED} and customer_id is not null and product_id in (%s, %s)
                and date_trunc('month', date_key::timestamp) in (select month from months)
        )
        select count(distinct one.customer_id)
        from lines as one
        inner join lines as other using (customer_id)
        where one.product_id < other.product_id and abs(one.date_key - other.date_key) <= 90
        """,
        row["Product"],
        row["With"],
    )
    assert row["Customers"] == f"{both:,}"


def retention(reader: Reader) -> None:
    """How much recurring revenue stays, and who is behind what was lost?"""
    reader.open_page("Subscriptions")
    draw_all(reader.page)
    plot = reader.page.evaluate("JSON.parse(document.querySelector('script[data-plot=subscriptions]').textContent)")
    values = plot["data"][0]["y"]
    sizes = [abs(value) if link else 0 for value, link in zip(values, plot["links"], strict=True)]
    number = sizes.index(max(sizes))
    kind = plot["data"][0]["x"][1][number]
    reader.open_table("retention")
    row = reader.rows("#retention")[-1]
    opening, lost = _number(row["Opening MRR"]), _number(row["Contraction"]) + _number(row["Churned MRR"])
    assert row["Gross retention"] == percent(opening - lost, opening)
    assert row["Net retention"] == percent(opening - lost + _number(row["Expansion"]), opening)
    # By hand: what was active on the last day of the month before, with the fee of that day.
    by_hand = reader.value(
        """
        with opens as (
            select date_trunc('month', max(order_date)::timestamp)::date - 1 as day from marts.daily_revenue
        )
        select coalesce(sum(fees.monthly_fee), 0)
        from core.fact_subscriptions as subscriptions
        cross join opens
        inner join core.int_subscription_fees as fees
            on subscriptions.subscription_id = fees.subscription_id
            and fees.valid_from <= opens.day and fees.valid_to > opens.day
        where
            subscriptions.start_date <= opens.day
            and (subscriptions.end_date is null or subscriptions.end_date > opens.day)
        """
    )
    assert opening == by_hand
    reader.click_point("subscriptions", number)
    reader.page.wait_for_url("**/rows/subscription_performance_monthly?*")
    of_kind = [_number(row["Fee"]) for row in reader.rows("#movements") if row["Kind"] == kind]
    assert sum(of_kind) == abs(Decimal(str(values[number])))


def dead_stock(reader: Reader) -> None:
    """How much money lies in stock that does not sell?"""
    products, value = reader.query(
        f"""
        with today as (
            select max(order_date) as day from marts.daily_revenue
        ),
        covered as (
            select min(window_start)::date as first_day
            from ops.load_batch where source = 'sales_fact' and status = 'loaded'
        )
        select count(*), sum(round(stock_level * cost_price, 2))
        from core.dim_products
        cross join today
        cross join covered
        where
            is_current and stock_level > 0
            and covered.first_day <= today.day - 89
            and coalesce(launch_date <= today.day - 90, true)
            and not exists (
                select from core.fact_sales
                where
                    fact_sales.product_id = dim_products.product_id and {COUNTED}
                    and date_key between today.day - 89 and today.day
            )
        """
    )[0]
    reader.open_page("Stock")
    figure = reader.page.locator("#dead")
    if products:
        expect(figure.locator(".summary")).to_contain_text(f"{products:,} products, worth {money(value)} at cost")
    else:
        expect(figure).to_contain_text("There is no dead stock, as far as stock and sales are known.")


#: Question of the page → how it is answered, in the order of the page.
QUESTIONS = {
    question.__doc__ or "": question
    for question in (
        discounts, losing_products, to_order, at_risk, why, quarter, broken_rules, together, retention, dead_stock,
    )
}  # fmt: skip


def headings(path: Path) -> Iterator[str]:
    """The questions of the page, without their numbers."""
    for line in path.read_text().splitlines():
        if line.startswith("## "):
            yield re.sub(r"^## \d+\. ", "", line)


def test_page_has_the_questions() -> None:
    assert list(headings(ROOT / "docs" / "questions.md")) == list(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_question_is_answered_in_few_clicks(page: Page, whole_range: Demo, question: str) -> None:
    reader = Reader(page, whole_range.query)
    QUESTIONS[question](reader)
    assert 1 <= reader.clicks <= MOST_CLICKS
