"""
What happens to a shop and its warehouse, step by step, and what must be true of it in the end: the incremental builds
leave what one full refresh of the same raw leaves.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from psycopg import Connection, sql

from ecommerce.build import lease
from ecommerce.common.errors import MassRemoval, QuarantineOverflow
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import ResumePoints, TopicRead
from ecommerce.publish.publication import publish
from tests.integration.dbt_runs import Dbt
from tests.integration.histories.shop import LAST, Message, Shop, TopicReader, key_of
from tests.integration.support import Loader, Row, Rows, acting_as, checks_passed

#: The loader asks for `now()`: in these sessions it is the history's, so that versions open among the orders' days.
_CLOCK = """
create schema if not exists clock;
grant usage on schema clock to public;
create or replace function clock.now() returns timestamptz stable language sql
    as $$ select current_setting('clock.now')::timestamptz $$;
set search_path = clock, pg_catalog;
"""


@dataclass
class Place:
    """A shop, its warehouse, and dbt."""

    connection: Connection
    dbt: Dbt
    #: tells the warehouse whose days it has; None: it stays with those of UTC
    choose_zone: Callable[[str], None] | None = None
    shop: Shop = field(default_factory=Shop)
    #: done before each claim; a way to break what the histories are to prove
    before_claim: Callable[[Connection], None] | None = None
    builds: int = 0

    def open(self) -> None:
        """An empty shop in UTC, and a warehouse in which nothing was ever loaded or built."""
        if self.shop.zone != "UTC":
            self.set_time_zone("UTC")
        self.shop = Shop()
        self.builds = 0
        self.connection.execute(_CLOCK.encode())
        Loader(self.connection).empty()
        for table in self.dbt.tables:
            for schema in (table.schema, "marts"):
                self.connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(schema, table.name)))

    def set_time_zone(self, zone: str) -> None:
        """From now on the shop's days are those of this time zone."""
        assert self.choose_zone is not None
        self.choose_zone(zone)
        self.shop.zone = zone

    def set_clock(self, at: datetime) -> None:
        self.connection.execute("select set_config('clock.now', %s, false)", [at.isoformat()])

    def tables(self) -> dict[str, list[str]]:
        """Every row of core, `marts_build` and `marts` as JSON."""
        names = [(table.schema, table.name) for table in self.dbt.tables]
        names += [("marts", table.name) for table in self.dbt.tables if table.schema == "marts_build"]
        return {f"{schema}.{name}": self._rows(schema, name) for schema, name in sorted(names)}

    def key_of(self, table: str) -> list[str]:
        """The columns of the table's unique index, or all of them where it has none."""
        return [
            name
            for (name,) in self.connection.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
                " and coalesce(attnum = any((select indkey"
                " from pg_index where indrelid = %s::regclass and indisunique limit 1)::smallint[]), true)",
                [table, table],
            )
        ]

    def _rows(self, schema: str, name: str) -> list[str]:
        query = sql.SQL("select to_jsonb(held)::text from {} as held order by 1").format(sql.Identifier(schema, name))
        return [row for (row,) in self.connection.execute(query)]


class Step(ABC):
    """Something that happens."""

    @abstractmethod
    def happen(self, place: Place) -> None: ...


@dataclass(frozen=True)
class SetTimeZone(Step):
    """The shop's profile says another time zone."""

    zone: str

    def happen(self, place: Place) -> None:
        place.set_time_zone(self.zone)


@dataclass(frozen=True)
class Put(Step):
    """A row of the shop is new, or changed; a correction reaches only what is there."""

    table: str
    row: Row
    is_correction: bool = False

    def happen(self, place: Place) -> None:
        if key_of(self.table, self.row) in place.shop.tables[self.table] or not self.is_correction:
            place.shop.put(self.table, self.row)


@dataclass(frozen=True)
class Remove(Step):
    """A row of the shop vanishes."""

    table: str
    key: tuple

    def happen(self, place: Place) -> None:
        place.shop.remove(self.table, self.key)


@dataclass(frozen=True)
class Send(Step):
    """The topic gets a message."""

    message: Message

    def happen(self, place: Place) -> None:
        place.shop.topic[self.message.partition].append(self.message)


@dataclass(frozen=True)
class Load(Step):
    """A window of a source is loaded, or nothing is: the source breaks off, is empty, or has too many bad rows."""

    at: datetime
    source: str
    first: date
    last: date
    breaks_off: bool = False

    def happen(self, place: Place) -> None:
        place.set_clock(self.at)
        window = Window.of_days(self.first, self.last)
        if self.source == "kafka_stream":
            reader: Any = TopicReader(place.shop, window)
        else:
            reader = Rows(SOURCES[self.source], place.shop.rows(self.source, window))
        try:
            Loader(place.connection).load(
                self.source, str(self.first), str(self.last), reader=_BreaksOff(reader) if self.breaks_off else reader
            )
        except (ConnectionAbortedError, MassRemoval, QuarantineOverflow):
            return
        assert not self.breaks_off


Outcome = Literal["published", "died after claim", "died after core", "died before publishing"]


@dataclass(frozen=True)
class Build(Step):
    """A run claims, builds and publishes as the DAG does, or dies on the way; others load while it builds."""

    at: datetime
    outcome: Outcome = "published"
    full_refresh: bool = False
    after_claim: tuple[Load, ...] = ()
    after_core: tuple[Load, ...] = ()

    def happen(self, place: Place) -> None:
        place.set_clock(self.at)
        if place.before_claim:
            place.before_claim(place.connection)
        place.builds += 1
        run_id = f"run {place.builds}"
        held_by = lease.holder(place.connection)
        claim = lease.take(
            place.connection,
            "a_dag",
            run_id,
            project="p",
            full_refresh=self.full_refresh,
            take_over_from=held_by[1] if held_by else None,
        )
        assert claim is not None
        for load in self.after_claim:
            load.happen(place)
        if self.outcome == "died after claim":
            return
        if claim.is_build_needed:
            if self.after_core or self.outcome == "died after core":
                place.dbt.run("--select", "core", "resource_type:seed")
                for load in self.after_core:
                    load.happen(place)
                if self.outcome == "died after core":
                    return
                place.dbt.run("--select", "marts")
            else:
                place.dbt.run("--select", "core", "marts", "resource_type:seed")
        if self.outcome == "published":
            with checks_passed(place.connection, run_id), acting_as(place.connection, "publisher"):
                publish(place.connection, run_id)


@dataclass(frozen=True)
class Difference:
    """The first row that incremental builds and a full refresh do not agree on."""

    table: str
    key: dict[str, Any]
    incremental: str | None
    full_refresh: str | None

    def __str__(self) -> str:
        return f"{self.table} {self.key}\n  incremental:  {self.incremental}\n  full refresh: {self.full_refresh}"


def play(steps: Sequence[Step], place: Place) -> Difference | None:
    """Let a history happen, settle it by one more run, and compare with a full refresh."""
    end = datetime.combine(LAST + timedelta(days=30), datetime.min.time(), tzinfo=UTC)
    place.open()
    for step in [*steps, Build(end)]:
        step.happen(place)
    marks = place.connection.execute("select * from ops.dirty_date").fetchall()
    assert marks == [], "a publication clears every mark"
    incremental = place.tables()
    place.before_claim, sabotage = None, place.before_claim
    Build(end + timedelta(hours=1), full_refresh=True).happen(place)
    place.before_claim = sabotage
    return _first_difference(place, incremental, place.tables())


def shrink(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool], trials: int = 150) -> list[Step]:
    """Drop steps, in ever smaller pieces, while the history still fails; at most so many trials."""
    kept, size = list(steps), max(1, len(steps) // 2)
    while trials > 0:
        start, dropped = 0, False
        while start < len(kept) and trials > 0:
            fewer = kept[:start] + kept[start + size :]
            trials -= 1
            if fails(fewer):
                kept, dropped = fewer, True
            else:
                start += size
        if size == 1 and not dropped:
            break
        size = max(1, size // 2)
    return kept


def _first_difference(place: Place, one: dict[str, list[str]], other: dict[str, list[str]]) -> Difference | None:
    for table, rows in one.items():
        if rows == other[table]:
            continue
        key = place.key_of(table)
        mine, theirs = (
            {json.dumps({name: row[name] for name in key}): line for line, row in _decoded(lines)}
            for lines in (rows, other[table])
        )
        for found in sorted(mine.keys() | theirs.keys()):
            if mine.get(found) != theirs.get(found):
                return Difference(table, json.loads(found), mine.get(found), theirs.get(found))
        raise AssertionError(f"{table}: rows that share a key of {key}")
    return None


def _decoded(lines: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((line, json.loads(line)) for line in lines)


class _BreaksOff:
    """A reader whose source goes away after half of its rows."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.columns = reader.columns
        self.topics: Sequence[TopicRead] = ()

    def read(self, resume: ResumePoints) -> Iterator[Any]:
        rows = list(self._reader.read(resume))
        yield from rows[: len(rows) // 2]
        raise ConnectionAbortedError("the source went away")
