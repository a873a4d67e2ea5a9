"""
docs/metrics.md is true: on its example shop, its queries and its examples give what the marts have. So do the metrics
of the semantic layer.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from ecommerce.build.dbt_project import DBT_PROJECT
from ecommerce.common.connections import postgres as connect
from ecommerce.common.windows import Window
from tests import metrics_page
from tests.integration.dbt_runs import dbt_on
from tests.integration.histories.history import Build, Place
from tests.integration.histories.shop import Message, Shop, TopicReader
from tests.integration.support import Loader
from tests.unit.repository.test_metrics_page import marts, numeric_columns

#: The days that are loaded: those of the page, and others, so that orders are dated before and after them.
DAYS_OF_PAGE = date(2023, 1, 1), date(2024, 3, 10)
FEWER_DAYS = date(2023, 2, 10), date(2024, 3, 6)
RAISED_ON = date(2024, 3, 3)
#: The example shop has three customers.
VARIABLES = {"affinity_customers": 1}
VERSIONED = ("product", "product_category", "customer", "subscription_data")


@pytest.fixture(scope="module")
def place(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with (
        dbt_on(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], tmp_path_factory.mktemp("dbt"), VARIABLES) as dbt,
        connect("warehouse") as connection,
    ):
        dbt.run("--select", "staging")
        yield Place(connection, dbt)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(DAYS_OF_PAGE, id="days of the page"),
        pytest.param(FEWER_DAYS, id="fewer days", marks=pytest.mark.long_form),
    ],
)
def warehouse(request: pytest.FixtureRequest, place: Place) -> Iterator[psycopg.Connection]:
    """The marts of the example shop, loaded for some days, and the page's views."""
    first, last = request.param
    place.open()
    _load(place, first, last)
    Build(_midnight(last)).happen(place)
    place.connection.execute("set search_path = public, pg_catalog")
    for view in metrics_page.views():
        place.connection.execute(view.encode())
    yield place.connection
    place.connection.execute("discard temp")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), tzinfo=UTC)


def _load(place: Place, first: date, last: date) -> None:
    """
    As the page says: everything is read once, and the raised fee on its day.

    An order or refund of another day is recorded on the first or the last one.
    """
    loader, window = Loader(place.connection), (str(first), str(last))
    place.set_clock(_midnight(first))
    for source in VERSIONED:
        loader.load(source, str(first), rows=metrics_page.example_rows(source))
    place.set_clock(_midnight(RAISED_ON))
    subscriptions = metrics_page.example_rows("subscription_data")
    raised = [row | ({"monthly_fee": "12.00"} if row["subscription_id"] == "S1" else {}) for row in subscriptions]
    loader.load("subscription_data", str(RAISED_ON), rows=raised)
    place.set_clock(_midnight(last))
    for source, column in (("sales_fact", "order_date"), ("refund", "refund_date")):
        rows = metrics_page.example_rows(source)
        days = [min(max(str(row[column]), window[0]), window[1]) for row in rows]
        recorded = [row | {"created_at": f"{day} 12:00:00"} for row, day in zip(rows, days, strict=True)]
        loader.load(source, *window, rows=recorded)
    weather = [row for row in metrics_page.example_rows("weather_data") if window[0] <= str(row["date"]) <= window[1]]
    loader.load("weather_data", *window, rows=weather)
    shop = Shop()
    shop.topic[0] = [
        Message(0, datetime.fromisoformat(str(row["timestamp"])).replace(tzinfo=UTC), row)
        for row in metrics_page.example_rows("kafka_stream")
    ]
    days_of_events = Window.of_days(*DAYS_OF_PAGE)
    reader = TopicReader(shop, days_of_events)
    loader.load("kafka_stream", str(days_of_events.start), str(days_of_events.last), reader=reader)


def rows_of(warehouse: psycopg.Connection, query: sql.Composed | sql.SQL | bytes) -> tuple[list[str], list[tuple]]:
    cursor = warehouse.execute(query)
    assert cursor.description is not None
    return [column.name for column in cursor.description], cursor.fetchall()


def as_compared(row: tuple) -> tuple:
    """A row with its numbers as they are compared: 1.50 and 1.5 are equal, and so are 1 and 1.0."""
    return tuple(Decimal(value).normalize() if isinstance(value, int | Decimal) else value for value in row)


@pytest.mark.parametrize("mart", marts())
def test_queries_of_page_give_the_figures_of_the_mart(warehouse: psycopg.Connection, mart: str) -> None:
    computed: set[str] = set()
    for query in metrics_page.sections()[mart].queries:
        names, expected = rows_of(warehouse, query.encode())
        _, found = rows_of(
            warehouse,
            sql.SQL("select {} from marts.{}").format(
                sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(mart)
            ),
        )
        assert expected
        only_page, only_mart = (
            set(map(as_compared, one)) - set(map(as_compared, other))
            for one, other in ((expected, found), (found, expected))
        )
        assert (only_page, only_mart) == (set(), set()), names
        assert len(expected) == len(found)
        computed |= set(names)
    assert computed >= numeric_columns(marts()[mart])


def equals(shown: str | None, value: Any) -> bool:
    """Whether a mart's value is what a cell shows."""
    if shown is None or value is None:
        return shown is None and value is None
    try:
        return Decimal(shown) == Decimal(value)
    except (InvalidOperation, TypeError):
        return shown == str(value)


@pytest.mark.parametrize("warehouse", [pytest.param(DAYS_OF_PAGE, id="days of the page")], indirect=True)
@pytest.mark.parametrize("mart", marts())
def test_examples_of_page_are_in_the_mart(warehouse: psycopg.Connection, mart: str) -> None:
    for table in metrics_page.sections()[mart].examples:
        _, found = rows_of(
            warehouse,
            sql.SQL("select {} from marts.{}").format(
                sql.SQL(", ").join(map(sql.Identifier, table.columns)), sql.Identifier(mart)
            ),
        )
        for row in table.rows:
            matches = [other for other in found if all(map(equals, row, other))]
            nearest = [other for other in found if equals(row[0], other[0])]
            assert len(matches) == 1, f"{row} is not in {nearest}"


# -- metrics of the semantic layer -------------------------------------------------------------------------------------

SEMANTIC = DBT_PROJECT / "models" / "semantic"
#: `{{ Dimension('sales_period__grain') }}` in a filter.
DIMENSION = re.compile(r"\{\{ Dimension\('\w+__(\w+)'\) \}\}")

#: Metric → what it is by month, from another mart or from the order lines, which the page's views have.
BY_MONTH = {
    "revenue": "select period_start, revenue from marts.revenue_trend where {of_month}",
    "net_revenue": "select period_start, net_revenue from marts.revenue_trend where {of_month}",
    "discounts": "select order_month, sum(discount_amount) from counted_lines group by 1",
    "gross_profit": "select order_month, sum(gross_profit) from counted_lines group by 1",
    "known_cost_revenue": """
        select order_month, sum(order_amount) from counted_lines
        where gross_profit is not null
        group by 1
    """,
    "contribution": "select revenue_month, contribution from marts.margin_bridge_monthly",
    "margin": "select period_start, gross_margin_percent from marts.revenue_trend where {of_month}",
    "orders": "select order_month, count(distinct order_id) from counted_lines group by 1",
    "customers": "select order_month, count(distinct customer_id) from counted_lines group by 1",
    "average_order_value": "select period_start, avg_order_value from marts.revenue_trend where {of_month}",
    "returning_customers": """
        select order_month, count(distinct customer_id) filter (where order_month > first_month)
        from counted_lines
        inner join first_months using (customer_id)
        group by 1
    """,
    "customers_to_return": """
        select period_start, count(customer_id)
        from periods
        inner join first_months on first_months.first_month < periods.period_start
        where grain = 'month'
        group by 1
    """,
    "retention": """
        select
            period_start,
            100.0 * (
                select count(distinct customer_id)
                from counted_lines
                inner join first_months as firsts using (customer_id)
                where order_month = period_start and firsts.first_month < period_start
            ) / count(customer_id)
        from periods
        inner join first_months on first_months.first_month < periods.period_start
        where grain = 'month'
        group by 1
    """,
    "mrr": """
        select revenue_month, sum(closing_mrr) from marts.subscription_performance_monthly
        where plan_type <> 'All plans'
        group by 1
    """,
}


def semantic_layer() -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics by name, and the measures by name with their semantic model."""
    models = yaml.safe_load((SEMANTIC / "semantic_models.yml").read_text())["semantic_models"]
    metrics = yaml.safe_load((SEMANTIC / "metrics.yml").read_text())["metrics"]
    measures = {measure["name"]: {**measure, "of": model} for model in models for measure in model["measures"]}
    return {metric["name"]: metric for metric in metrics}, measures


def metric_by_month(name: str) -> str:
    """The query for a metric by month, from its YAML."""
    metrics, measures = semantic_layer()
    metric = metrics[name]
    if metric["type"] == "derived":
        first, *others = metric["type_params"]["metrics"]
        joins = "".join(f" full join ({metric_by_month(other)}) as {other} using (month)" for other in others)
        return (
            f"select month, {metric['type_params']['expr']} as {name} from ({metric_by_month(first)}) as {first}{joins}"
        )
    measure = measures[metric["type_params"]["measure"]]
    model = measure["of"]
    (mart,) = re.findall(r"ref\('(\w+)'\)", model["model"])
    time = model["defaults"]["agg_time_dimension"]
    condition = DIMENSION.sub(r"\1", metric.get("filter", "true"))
    return (
        f"select date_trunc('month', {time}::timestamp)::date as month,"
        f" {measure['agg']}({measure.get('expr', measure['name'])}) as {name}"
        f" from marts.{mart} where {condition} group by 1"
    )


def test_each_metric_has_a_second_computation() -> None:
    metrics, measures = semantic_layer()
    assert set(metrics) == set(BY_MONTH)
    assert {metric["type_params"].get("measure") for metric in metrics.values()} - {None} == set(measures)


@pytest.mark.parametrize("warehouse", [pytest.param(DAYS_OF_PAGE, id="days of the page")], indirect=True)
@pytest.mark.parametrize("metric", BY_MONTH)
def test_metric_of_the_semantic_layer_equals_the_mart(warehouse: psycopg.Connection, metric: str) -> None:
    of_month = "grain = 'month' and category_name = 'All categories'"
    firsts = "select customer_id, min(order_month) as first_month from counted_lines where not is_guest group by 1"
    expected = f"with first_months as ({firsts}) {BY_MONTH[metric].format(of_month=of_month)}"

    def by_month(query: str) -> dict[date, Decimal]:
        _, found = rows_of(warehouse, query.encode())
        return {month: round(Decimal(value), 2) for month, value in found if value}

    assert by_month(expected) == by_month(metric_by_month(metric)) != {}
