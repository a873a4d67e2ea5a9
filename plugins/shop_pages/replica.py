"""
Whether the database that the pages read lacks a publication: `warehouse_reader` may lead to a replica that lags behind.

Marts change by publications only, so these say how far behind the figures are; no clock and no position in the
write-ahead log does. The replica is asked for the last publication that it has, the warehouse itself (by the inspector)
for the first one after it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shop_pages.limits import FRESH_SECONDS, REPLICA_LAG_SECONDS
from shop_pages.pool import WarehouseUnavailable
from shop_pages.queries import Warehouse

_MISSING = """
    select count(distinct publication_id) as publications, min(published_at) as since
    from ops.publication
    where publication_id > %(last)s"""


@dataclass(frozen=True)
class ReplicaLag:
    """
    What the pages' figures lack.

    :param publications: how many are not there yet
    :param since: when the first of them was published
    """

    publications: int
    since: datetime

    def __str__(self) -> str:
        """`2 publications, the first of 3 Jun 2024 06:10 UTC`, without the time that has passed, for cached pages."""
        many = "1 publication" if self.publications == 1 else f"{self.publications:,} publications, the first"
        return f"{many} of {self.since.astimezone(UTC):%-d %b %Y %H:%M} UTC"


class ReplicaWatch:
    """
    Compares the publications of the two databases, seldom, and beside the pages: none of them waits for it.

    :param reader: reads the marts, maybe those of a replica
    :param inspector: reads `ops` of the warehouse itself
    """

    def __init__(self, reader: Warehouse, inspector: Warehouse) -> None:
        self._reader = reader
        self._inspector = inspector
        self._lag: ReplicaLag | None = None
        self._looked_at = float("-inf")
        self._look: asyncio.Task[ReplicaLag | None] | None = None

    @property
    def lag(self) -> ReplicaLag | None:
        """What the reader's database lacked when it was looked at last; looks again if that is too long ago."""
        if time.monotonic() - self._looked_at >= FRESH_SECONDS and (self._look is None or self._look.done()):
            self._look = asyncio.create_task(self.look())
        return self._lag

    async def look(self) -> ReplicaLag | None:
        """What the reader's database lacks now; None also if it is not known, of which the pages themselves tell."""
        self._looked_at = time.monotonic()
        try:
            self._lag = await self._compare()
        except WarehouseUnavailable:
            self._lag = None
        return self._lag

    async def close(self) -> None:
        """End a look that has not ended."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])

    async def _compare(self) -> ReplicaLag | None:
        seen = await self._reader.publication()
        if seen is None:
            return None
        (missing,) = (await self._inspector.rows_now(_MISSING, last=seen["publication_id"] or 0)).rows
        since = missing["since"]
        if since is None or datetime.now(UTC) - since < timedelta(seconds=REPLICA_LAG_SECONDS):
            return None
        return ReplicaLag(missing["publications"], since)
