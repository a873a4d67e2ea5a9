"""Did about as many orders come as on such days before?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from psycopg import Connection

from ecommerce.sensors.base import Judgement, QualitySensor
from ecommerce.windows import Request

#: Weeks of the same weekday before a day that say what to expect of it, and how many of them must have sold.
HISTORY_WEEKS = 8
MINIMUM_WEEKS = 4
#: Outside these shares of the expected orders a day warns.
LOW, HIGH = 0.4, 2.5
#: So many days without one order, up to the window's end, where at least this many orders were expected, fail.
OUTAGE_DAYS = 3
OUTAGE_EXPECTED = 30


class VolumeSensor(QualitySensor):
    """
    Orders a day against the median of the same weekday in the weeks before it, never against itself.

    One odd day warns (shops close on holidays); several last days without any order where orders were expected fail.
    """

    check_name = "volume"

    def judge(self, connection: Connection, request: Request, run_id: str) -> Iterator[Judgement]:
        """One judgement for the window's odd days, and one for an outage at its end, whether or not it began inside."""
        # A daily run has one day: the days before it, where they were loaded, tell an outage from a holiday.
        before = [request.window.start - timedelta(days=n) for n in range(OUTAGE_DAYS - 1, 0, -1)]
        days = connection.execute(
            "with orders as ("
            "  select order_date, count(*) as n from raw.sales_fact group by order_date"
            ") select asked.day::date, coalesce(orders.n, 0),"
            "  (select case when count(earlier.n) >= %(minimum)s"
            "     then percentile_cont(0.5) within group (order by earlier.n) end"
            "   from orders as earlier where earlier.order_date < asked.day"
            "   and earlier.order_date >= asked.day - %(weeks)s * 7"
            "   and extract(isodow from earlier.order_date) = extract(isodow from asked.day))::numeric"
            " from unnest(%(days)s::date[]) as asked(day) left join orders on orders.order_date = asked.day"
            " where asked.day >= %(start)s or exists (select from ops.load_batch where source = 'sales_fact'"
            "  and status = 'loaded' and window_start <= asked.day and asked.day < window_end)"
            " order by 1",
            {
                "minimum": MINIMUM_WEEKS,
                "weeks": HISTORY_WEEKS,
                "days": [*before, *request.window.days],
                "start": request.window.start,
            },
        ).fetchall()
        comparable = [(day, n, float(expected)) for day, n, expected in days if expected]
        judged = [(day, n, expected) for day, n, expected in comparable if day >= request.window.start]
        if not judged:
            message = f"no day of {request.window} has {MINIMUM_WEEKS} earlier weeks to compare with"
            orders = sum(n for day, n, _ in days if day >= request.window.start)
            yield Judgement("raw.sales_fact", "pass", orders, None, message)
            return
        odd = [f"{day}: {n} of about {expected:.0f}" for day, n, expected in judged if not LOW <= n / expected <= HIGH]
        yield Judgement(
            "raw.sales_fact",
            "warn" if odd else "pass",
            sum(n for _, n, _ in judged),
            round(sum(expected for _, _, expected in judged)),
            f"{len(odd)} of {len(judged)} days have an unusual number of orders"
            + (f": {', '.join(odd[:5])}" if odd else ""),
        )
        last = comparable[-OUTAGE_DAYS:]
        expected_last = round(sum(expected for _, _, expected in last))
        is_outage = len(last) == OUTAGE_DAYS and expected_last >= OUTAGE_EXPECTED and not any(n for _, n, _ in last)
        yield Judgement(
            "raw.sales_fact last days",
            "fail" if is_outage else "pass",
            sum(n for _, n, _ in last),
            expected_last,
            f"{sum(n for _, n, _ in last)} orders in the last {len(last)} days, about {expected_last} expected",
        )
