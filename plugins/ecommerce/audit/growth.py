"""The check of how much the marts grow in a publication: a value without a bound can make one of them endless."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from psycopg import AsyncConnection, sql
from pydantic import Field

from ecommerce.audit.check import Check, CheckContext, Limits, fetch_rows
from ecommerce.audit.check_results import CheckResult

#: The marts that were built, and were published before. While dbt builds a table it has another name for it.
_MARTS = """
select built.relname::text
from pg_class as built
where
    built.relnamespace = to_regnamespace('marts_build')
    and built.relkind = 'r'
    and built.relname !~ '__dbt_(tmp|backup)$'
    and to_regclass(format('marts.%%I', built.relname)) is not null
order by built.relname
"""

_ROWS = sql.SQL("""
select
    (select count(*) from {built}),
    (select count(*) from {published})
""")


class Growth(Check, Limits):
    """
    How many times as many rows a mart would have after the publication.

    :param minimum_rows: a mart that would have fewer always passes, and so does one that has no row yet
    """

    kind: Literal["growth"]
    minimum_rows: Annotated[int, Field(ge=0)] = 0
    warn_above: Decimal | None = Decimal(10)

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each mart."""
        return [
            await self._evaluate_mart(connection, mart)
            for (mart,) in await fetch_rows(connection, _MARTS)
            if not context.exclusions.covers(f"marts_build.{mart}")
        ]

    async def _evaluate_mart(self, connection: AsyncConnection, mart: str) -> CheckResult:
        query = _ROWS.format(built=sql.Identifier("marts_build", mart), published=sql.Identifier("marts", mart))
        ((built, published),) = await fetch_rows(connection, query)
        times = round(Decimal(built) / published, 1) if published else Decimal(1)
        status = self.status(times) if built >= self.minimum_rows else "pass"
        message = f"{published:,} rows become {built:,}"
        if status != "pass":
            message += (
                f", {times:,} times as many. Right after a backfill; otherwise look for a value that is far from all "
                "others, such as a first day long ago"
            )
        return CheckResult(f"marts.{mart}", status, times, self.limit, message)
