"""Is every day of the window loaded, for every source?"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import Connection

from ecommerce.sensors.base import Judgement, QualitySensor, Status
from ecommerce.sources import SOURCES
from ecommerce.windows import Request


class FreshnessSensor(QualitySensor):
    """
    Each day of the window is covered by a batch that loaded: per source and day, so that reading an old day again
    cannot make today look fresh. A source that this run left out only warns.
    """

    check_name = "freshness"

    def judge(self, connection: Connection, request: Request, run_id: str) -> Iterator[Judgement]:
        """One judgement a source: days covered of the window's days."""
        days = list(request.window.days)
        for source in SOURCES:
            row = connection.execute(
                "select count(*), min(day)::date from unnest(%s::date[]) as asked(day) where not exists ("
                " select from ops.load_batch where source = %s and status = 'loaded'"
                " and window_start <= asked.day and asked.day < window_end)",
                [days, source],
            ).fetchone()
            missing, first = row if row else (len(days), days[0])
            if not missing:
                message = f"all {len(days)} days of {request.window} are loaded"
            else:
                message = f"{missing} of the {len(days)} days of {request.window} are not loaded, the first {first}"
            status: Status = "pass" if not missing else "fail" if source in request.sources else "warn"
            yield Judgement(source, status, len(days) - missing, len(days), message)
