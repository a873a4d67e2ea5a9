"""What a load did: the figures that go into the log, the XCom and the asset event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ecommerce.extract.reader_protocol import Gap

#: Lost ranges of offsets that a result names; all of them are in ops.kafka_gap.
MAX_LOST_RANGES = 20


@dataclass(frozen=True)
class LoadResult:
    """What one load did, in rows; ``rows_read = rows_loaded + rows_unchanged + rows_quarantined``."""

    source: str
    window_start: str
    window_end: str
    batch_id: int
    bytes_read: int
    rows_read: int
    rows_loaded: int
    rows_unchanged: int
    rows_quarantined: int
    rows_removed: int
    days_marked: int
    seconds: float
    #: Rows that were rejected before, and that raw has now.
    rows_replayed: int = 0
    #: Offsets of a topic that are lost, as texts.
    lost: tuple[str, ...] = ()
    dry_run: bool = False
    is_of_earlier_try: bool = False

    @property
    def rows_per_second(self) -> int:
        """Rows read a second."""
        return round(self.rows_read / self.seconds) if self.seconds else 0

    def figures(self) -> dict[str, Any]:
        """All of it, for XComs and asset events."""
        return {**asdict(self), "rows_per_second": self.rows_per_second}

    def __str__(self) -> str:
        end = "; dry run, rolled back" if self.dry_run else f"; batch {self.batch_id}"
        if self.is_of_earlier_try:
            end += ", which an earlier try had committed: nothing was read again"
        if self.rows_replayed:
            end += f"; {self.rows_replayed:,} rows that were rejected before are replayed"
        if self.lost:
            end += f"; LOST BEFORE THEY WERE READ: {'; '.join(self.lost)}"
        return (
            f"{self.source} {self.window_start} to {self.window_end} (exclusive): {self.rows_read:,} rows read, "
            f"{self.rows_loaded:,} loaded, {self.rows_unchanged:,} unchanged, {self.rows_quarantined:,} quarantined, "
            f"{self.rows_removed:,} gone from the source, {self.days_marked:,} days to rebuild, "
            f"{self.bytes_read / 1e6:,.1f} MB in {self.seconds:.1f} s ({self.rows_per_second:,} rows/s){end}"
        )


def lost_ranges(gaps: Sequence[tuple[str, Gap]]) -> tuple[str, ...]:
    """The gaps that are losses, as texts; of many only the first ones."""
    lost = [f"{topic}[{gap.partition}] {gap.first}-{gap.last} ({gap.cause})" for topic, gap in gaps if gap.is_loss]
    more = (f"{len(lost) - MAX_LOST_RANGES} more",) if len(lost) > MAX_LOST_RANGES else ()
    return (*lost[:MAX_LOST_RANGES], *more)
