"""Counts and amounts, to the cent: source ↔ raw ↔ fact ↔ mart."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from psycopg import Connection, sql

from ecommerce import lease
from ecommerce.sensors.base import Judgement, QualitySensor
from ecommerce.sources import SOURCES
from ecommerce.warehouse import postgres
from ecommerce.windows import Request


class SourceReconciliationSensor(QualitySensor):
    """
    Each order that the source has in the window is in `raw` with its amount, or in quarantine; and no other is.

    Skips itself with a warning when the run did not read sales. A source that changed since it was read differs
    too: running the window again mends that.
    """

    check_name = "reconciliation_source"

    def judge(self, connection: Connection, request: Request, run_id: str) -> Iterator[Judgement]:
        """Orders and their amounts."""
        if "sales_fact" not in request.sources:
            yield Judgement("raw.sales_fact", "warn", None, None, "this run did not read sales; not compared")
            return
        with connection.transaction(force_rollback=True):
            connection.execute("create temp table at_source (order_id text, order_amount text) on commit drop")
            self._copy_keys(connection, request)
            inside = sql.SQL("created_at >= {} and created_at < {}").format(request.window.start, request.window.end)
            row = connection.execute(
                sql.SQL(
                    "with taken as ("
                    "  select order_id, order_amount from raw.sales_fact where {inside}"
                    "), refused as ("
                    "  select btrim(payload ->> 'order_id') as order_id, payload ->> 'order_amount' as order_amount"
                    "  from ops.quarantine where source = 'sales_fact'"
                    "), open as ("
                    "  select order_id, order_amount from at_source except all"
                    "  select order_id, order_amount::text from taken"
                    "), lost as ("
                    "  select open.order_id from open where not exists ("
                    "    select from refused where refused.order_id is not distinct from open.order_id"
                    "    and refused.order_amount is not distinct from open.order_amount)"
                    "), surplus as ("
                    "  select order_id, order_amount::text from taken except all"
                    "  select order_id, order_amount from at_source"
                    ") select (select count(*) from at_source), (select count(*) from taken),"
                    " (select count(*) from open) - (select count(*) from lost),"
                    " (select count(*) from lost), (select count(*) from surplus),"
                    " (select min(order_id) from lost), (select min(order_id) from surplus),"
                    " (select coalesce(sum(order_amount), 0) from taken)"
                ).format(inside=inside)
            ).fetchone()
        if row is None:
            raise RuntimeError("the reconciliation query returned no row")
        at_source, taken, refused, lost, surplus, first_lost, first_surplus, amount = row
        if lost or surplus:
            message = (
                f"{lost} orders of the source are neither in raw nor in quarantine with their amount"
                f"{f' (e.g. {first_lost})' if lost else ''}, {surplus} in raw are not at the source"
                f"{f' (e.g. {first_surplus})' if surplus else ''}; if the source has changed since it was read, "
                f"run {request.window} again"
            )
            yield Judgement("raw.sales_fact", "fail", taken, at_source - refused, message)
            return
        yield Judgement(
            "raw.sales_fact",
            "pass",
            taken,
            at_source - refused,
            f"{at_source:,} orders at the source = {taken:,} in raw ({amount:,.2f}) + {refused:,} in quarantine",
        )

    @staticmethod
    def _copy_keys(connection: Connection, request: Request) -> None:
        query = sql.SQL(
            "copy (select btrim(order_id::text), order_amount::text from public.sales_fact"
            " where created_at >= {} and created_at < {}) to stdout"
        ).format(request.window.start, request.window.end)
        with (
            postgres(SOURCES["sales_fact"].connection) as source,
            source.cursor() as reading,
            connection.cursor() as writing,
            reading.copy(query) as blocks,
            writing.copy("copy pg_temp.at_source from stdin") as target,
        ):
            for block in blocks:
                target.write(block)


#: Pairs that must agree: subject, what is observed, what it must equal. Each query gives a count and an amount.
#: Days that were loaded after this run's claim are marked but not built, and are left out on both sides.
_NOT_BUILT = "(select dirty_date from ops.dirty_date where claimed_by is distinct from %(run_id)s)"
_PAIRS = (
    (
        "core.fact_sales",
        f"select count(*), sum(order_amount) from core.fact_sales where date_key not in {_NOT_BUILT}",
        f"select count(*), sum(round(order_amount, 2)) from raw.sales_fact where order_date not in {_NOT_BUILT}",
    ),
    (
        "core.fact_customer_events",
        f"select count(*), null::numeric from core.fact_customer_events where date_key not in {_NOT_BUILT}",
        "select count(*), null::numeric from (select distinct btrim(customer_id), btrim(product_id),"
        ' btrim(interaction_type), "timestamp" from raw.kafka_stream'
        f" where (\"timestamp\" at time zone 'UTC')::date not in {_NOT_BUILT}) as events",
    ),
    (
        "marts_build.product_category_revenue_monthly",
        "select sum(order_count), sum(total_revenue) from marts_build.product_category_revenue_monthly",
        "select count(*), sum(order_amount) from core.fact_sales where order_amount > 0",
    ),
    (
        "marts_build.product_revenue_payment_analysis",
        "select sum(order_count), sum(revenue) from marts_build.product_revenue_payment_analysis",
        "select count(*), sum(order_amount) from core.fact_sales where order_amount > 0",
    ),
    (
        "marts_build.payment_method_preference",
        "select sum(total_orders), sum(total_revenue) from marts_build.payment_method_preference",
        "select count(*), sum(order_amount) from core.fact_sales where order_amount > 0",
    ),
    (
        "marts_build.customer_segments",
        "select sum(total_orders), sum(lifetime_value) from marts_build.customer_segments",
        "select count(*), sum(order_amount) from core.fact_sales where order_amount > 0",
    ),
    (
        "marts_build.seasonal_sales_analysis",
        "select sum(monthly_orders), sum(monthly_revenue) from marts_build.seasonal_sales_analysis",
        "select count(*), sum(order_amount) from core.fact_sales where order_amount > 0",
    ),
    (
        "marts_build.product_performance_monthly",
        "select sum(order_count), sum(revenue) from marts_build.product_performance_monthly",
        "select count(*), sum(order_amount) from core.fact_sales where order_amount > 0",
    ),
    (
        "marts_build.customer_cohorts_monthly",
        "select sum(active_customers) filter (where months_since_first = 0), sum(revenue)"
        " from marts_build.customer_cohorts_monthly",
        "select count(*), sum(revenue) from (select sum(order_amount) as revenue from core.fact_sales"
        " where order_amount > 0 group by customer_id) as customers",
    ),
    (
        "marts_build.daily_revenue",
        "select sum(daily_orders), sum(daily_revenue) from marts_build.daily_revenue",
        "select count(*), sum(order_amount) from core.fact_sales"
        " where order_amount > 0 and date_key <= (select as_of_date from ops.as_of)",
    ),
)


class CoreReconciliationSensor(QualitySensor):
    """
    Facts hold what raw holds, and each mart adds up to the facts: counts and amounts, all days.

    What the build left out is not judged.
    """

    check_name = "reconciliation_core"

    def judge(self, connection: Connection, request: Request, run_id: str) -> Iterator[Judgement]:
        """Two judgements a pair where it has an amount: rows, then money."""
        left_out = lease.left_out(connection, run_id)
        for subject, observed_query, expected_query in _PAIRS:
            if left_out.covers(subject):
                continue
            row = connection.execute(
                f"select * from ({observed_query}) as observed(n, amount)"
                f" cross join ({expected_query}) as expected(n, amount)",
                {"run_id": run_id},
            ).fetchone()
            if row is None:
                raise RuntimeError(f"no figures for {subject}")
            observed, observed_amount, expected, expected_amount = row
            yield _compare(f"{subject} rows", observed or 0, expected or 0)
            if expected_amount is not None or observed_amount is not None:
                yield _compare(f"{subject} amount", observed_amount or Decimal(0), expected_amount or Decimal(0))


def _compare(subject: str, observed: Decimal | int, expected: Decimal | int) -> Judgement:
    if observed == expected:
        return Judgement(subject, "pass", observed, expected, f"{observed:,} as expected")
    return Judgement(subject, "fail", observed, expected, f"{observed:,}, expected {expected:,}")
