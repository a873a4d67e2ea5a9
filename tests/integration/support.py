"""Helpers of the tests that load into a real warehouse: a loader, a reader of given rows, and roles."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql
from psycopg.pq import TransactionStatus

from ecommerce.audit.checks_file import read_checks
from ecommerce.common.shop import PROFILE, VARIABLE, SourceLocation, shop
from ecommerce.common.sources import SOURCES, Source
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import Reader, ResumePoints, TopicRead
from ecommerce.extract.readers import reader_of
from ecommerce.load.batches import RunIdentity
from ecommerce.load.loader import load
from ecommerce.load.result import LoadResult

#: The Airflow run of a load, if a test does not need another.
RUN = RunIdentity("a_dag", "a_run")

#: A row as a reader gives it: column → text; absent means null.
Row = Mapping[str, str | None]

#: Everything but the note of which DDL was applied; what refers to a batch goes before the batches.
_EMPTY = "; ".join(
    f"delete from {table}"
    for table in (
        "ops.quarantine", "ops.kafka_offset", "ops.kafka_gap", "ops.dirty_date", "ops.schema_change",
        "ops.source_column", "ops.message_schema", "ops.loaded_day", "ops.load_batch",
        "ops.build", "ops.check_failure", "ops.check_result", "ops.claimed_date", "ops.rebuild", "ops.publication",
        "ops.published_mart", "ops.decision", "ops.alert", "ops.incident_note", "ops.erased_value", "ops.erasure",
        "ops.pruning",
        *(f"raw.{source}" for source in SOURCES),
        *(f"raw.{source.packed_table}" for source in SOURCES.values() if source.packed_table),
    )
)  # fmt: skip


#: What the shop's tables need to have every column of the registry.
ALL_COLUMNS = """
alter table sales_fact
add column if not exists line_number integer,
add column if not exists tax_amount numeric,
add column if not exists order_status text;

create table if not exists refund (
    refund_id text,
    order_id text,
    line_number integer,
    product_id text,
    customer_id text,
    refund_date date,
    refund_amount numeric,
    refund_quantity integer,
    reason text,
    created_at timestamp not null
);
"""


@contextmanager
def acting_as(connection: psycopg.Connection, role: str) -> Iterator[None]:
    """Inside, statements of the connection run as one of the warehouse's roles."""
    connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    try:
        yield
    finally:
        if connection.info.transaction_status == TransactionStatus.INERROR:
            connection.rollback()
        connection.execute("reset role")


@contextmanager
def checks_passed(connection: psycopg.Connection, run_id: str, *, except_for: Sequence[str] = ()) -> Iterator[None]:
    """
    Inside, a run has what it needs to publish: it has built each mart of `marts_build`, and each check has passed.

    :param except_for: checks that have no result
    """
    connection.execute(
        """
        insert into ops.rebuild (run_id, model, period, sources, rows_inserted, rebuilt_at)
        select %s, relname, 'all', '{}', -1, clock_timestamp()
        from pg_class
        where relnamespace = 'marts_build'::regnamespace and relkind = 'r'
        on conflict (run_id, model) do update set rebuilt_at = excluded.rebuilt_at
        """,
        [run_id],
    )
    connection.execute(
        """
        insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)
        select statement_timestamp(), %s, check_name, 'of a test', 'pass', ''
        from unnest(%s::text[]) as check_name
        """,
        [run_id, [name for name in read_checks().checks if name not in except_for]],
    )
    yield
    connection.execute("delete from ops.check_result where subject = 'of a test'")
    connection.execute("delete from ops.rebuild where rows_inserted = -1")


def write_shop(
    *, templates: Mapping[str, str] | None = None, settings: Mapping[str, str | None] | None = None, **locations: Any
) -> Path:
    """
    The folder of a new profile: the one that is chosen now, but with other locations of some sources.

    :param templates: file name → SQL, in the folder of the new profile
    :param settings: further keys of the profile, such as `time_zone`; None: without that key
    """
    chosen = shop().folder
    folder = Path(tempfile.mkdtemp(prefix="shop-", dir=os.environ["ECOMMERCE_TESTS_FOLDER"]))
    profile = yaml.safe_load((chosen / PROFILE).read_text())
    profile["sources"] |= locations
    profile = {key: value for key, value in (profile | (settings or {})).items() if value is not None}
    (folder / PROFILE).write_text(yaml.safe_dump(profile))
    for template in chosen.glob("*.sql"):
        shutil.copy(template, folder)
    for name, text in (templates or {}).items():
        (folder / name).write_text(text)
    return folder


def set_shop(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """Choose such a profile for the test; its folder."""
    folder = write_shop(**changes)
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


def set_topic(monkeypatch: pytest.MonkeyPatch, topic: str, source: str = "kafka_stream") -> None:
    """Let a source of the shop read another topic."""
    set_shop(monkeypatch, **{source: {"connection": "shop_kafka", "topic": topic}})


def location_of(source: Source) -> SourceLocation:
    """Where the shop has a source; one that is not in the registry lies in a table of its name."""
    if shop().has(source.name):
        return shop().location_of(source.name)
    return SourceLocation.model_construct(source=source.name, connection="shop_postgres", table=f"public.{source.name}")


@dataclass
class Rows:
    """A reader of rows that the test passes to it."""

    source: Source
    rows: Sequence[Row]

    def __post_init__(self) -> None:
        self.columns = [column.name for column in self.source.columns]
        self.topics: Sequence[TopicRead] = ()

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        for row in self.rows:
            yield [row.get(name) for name in self.columns]


@dataclass
class Loader:
    """Loads sources into a warehouse, and queries it."""

    connection: psycopg.Connection

    def load(
        self,
        source: str | Source,
        first: str,
        last: str | None = None,
        *,
        rows: Sequence[Row] | None = None,
        reader: Reader | None = None,
        dry_run: bool = False,
        allow_mass_removal: bool = False,
        run: RunIdentity = RUN,
        **changes: Any,
    ) -> LoadResult:
        """Load the days ``first`` to ``last``, from the real source, or from other rows or another reader."""
        entry = replace(SOURCES[source] if isinstance(source, str) else source, **changes)
        window = Window.of_days(date.fromisoformat(first), date.fromisoformat(last or first))
        if rows is not None:
            reader = Rows(entry, rows)
        return load(
            self.connection,
            entry,
            window,
            lambda source, window: reader or reader_of(source, window, location_of(source)),
            run=run,
            dry_run=dry_run,
            allow_mass_removal=allow_mass_removal,
        )

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple]:
        return self.connection.execute(query.encode(), parameters or None).fetchall()

    def value(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        ((value,),) = self.rows(query, parameters)
        return value

    def empty(self) -> None:
        """Delete every row."""
        self.connection.execute(_EMPTY.encode())

    def pop_dirty_dates(self) -> set[tuple[str, str]]:
        """Source and day of the dirty dates; they are deleted, as a publication does."""
        return {(s, str(d)) for s, d in self.rows("delete from ops.dirty_date returning source, dirty_date")}

    def everything(self) -> dict[str, list[str]]:
        """Every row of raw and ops."""
        tables = self.rows(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('raw', 'ops') order by 1"
        )
        return {name: sorted(repr(row) for row in self.rows(f"select * from {name}")) for (name,) in tables}
