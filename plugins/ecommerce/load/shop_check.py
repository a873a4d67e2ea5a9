"""
Checks a shop's profile: can each source be read, does it have the columns that it needs, and would its rows be taken?

Nothing is changed: rows are validated as a load does, in temporary tables of a transaction that is rolled back.
`make shop-check` runs it, and the DAG `check_shop`; see `docs/your_shop.md`.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from psycopg import Connection, sql

from ecommerce.common.connections import LOADER, postgres
from ecommerce.common.days import today
from ecommerce.common.errors import WarehouseError
from ecommerce.common.shop import REQUIRED, Shop, SourceLocation, shop
from ecommerce.common.shown_text import one_line
from ecommerce.common.sources import SOURCES, Column, Source, WriteDisposition
from ecommerce.common.targets import targets
from ecommerce.common.value_rules import SQL_TYPES, rule_in_sql
from ecommerce.common.windows import Window, request_of
from ecommerce.extract.reader_protocol import (
    BINARY_TRAILER,
    AppendingReader,
    ChangesReader,
    PrevalidatingReader,
    Reader,
)
from ecommerce.extract.readers import reader_of
from ecommerce.load import schema_drift, validate
from ecommerce.load.staging import ACCEPTED, STAGE, Staging

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Days that are read, up to the newest order, unless others are asked for.
DAYS = 7
#: What is read of a source at most, once of its valid and once of its suspect rows: so many pieces as its reader gives
#: them. That is about 3 MB of a table in Postgres, and of one in MySQL 50,000 valid and 100 suspect rows.
MAX_BLOCKS = 100
#: Characters of an example.
MAX_EXAMPLE = 30

log = logging.getLogger(__name__)


class Rejection(NamedTuple):
    """Rows that would be rejected for one reason."""

    rows: int
    reason: str


@dataclass
class SourceReport:
    """
    What was found of one source.

    :param rows: rows of the window; None: they could not be read, or not counted
    :param types: column → its type at the source
    :param example: column → a value of it
    :param checked: how many of the rows were validated
    :param problem: why a load would fail
    """

    source: Source
    location: SourceLocation
    rows: int | None = None
    types: dict[str, str] = field(default_factory=dict)
    example: dict[str, str | None] = field(default_factory=dict)
    checked: int = 0
    rejections: Sequence[Rejection] = ()
    problem: str | None = None

    def __str__(self) -> str:
        """The report as a table."""
        lines = [f"{self.source.name}: {self.location.where}"]
        if self.problem:
            lines += textwrap.wrap(f"PROBLEM: {self.problem}", 110, initial_indent="  ", subsequent_indent="    ")
        if self.types:
            lines += self._table()
        if not self.problem:
            rejected = sum(rejection.rows for rejection in self.rejections)
            rows = "rows not counted" if self.rows is None else f"{self.rows:,} rows"
            lines.append(f"  {rows}; of {self.checked:,} checked, {rejected:,} would be rejected")
        lines += [f"    {rejection.rows:,} × {rejection.reason}" for rejection in self.rejections]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows = [("column", "expected", "found", "example")]
        for column in self.source.columns:
            example = self.example.get(column.name)
            shown = "" if example is None else example[:MAX_EXAMPLE]
            rows.append((column.name, SQL_TYPES[column.kind], self.types.get(column.name, _missing(column)), shown))
        widths = [max(len(row[n]) for row in rows) for n in range(4)]
        lines = [
            "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        known = {column.name for column in self.source.columns}
        if unused := [name for name in self.types if name not in known]:
            lines.append(f"  not used: {', '.join(unused)}")
        return lines


def _missing(column: Column) -> str:
    if column.required:
        return "MISSING"
    return f"missing: {column.default if column.default is not None else 'null'} is taken"


@dataclass
class ShopReport:
    """What was found of all sources of the shop."""

    shop: Shop
    window: Window
    sources: list[SourceReport]

    @property
    def problems(self) -> list[str]:
        """What would fail a load."""
        return [f"{report.source.name}: {report.problem}" for report in self.sources if report.problem]

    def __str__(self) -> str:
        """All tables, and a sentence at the end."""
        parts = [
            f"The shop {self.shop.name}, {self.window} (days of {self.shop.time_zone}, inclusive). Nothing is changed.",
            *map(str, self.sources),
        ]
        if self.shop.absent:
            parts.append(f"absent: {', '.join(self.shop.absent)}")
        failed = [report.source.name for report in self.sources if report.problem]
        parts.append(f"{len(failed)} sources cannot be loaded: {', '.join(failed)}" if failed else self._all_is_well)
        return "\n\n".join(parts)

    @property
    def _all_is_well(self) -> str:
        if any(report.source.name == REQUIRED and report.rows == 0 for report in self.sources):
            return "There is no order in these days, so none was checked: choose days that have some (FROM= and TO=)."
        return "All can be loaded."


def check_shop(connection: Connection, window: Window | None = None) -> ShopReport:
    """
    Read a window of each source, validate its rows, and change nothing.

    :param connection: to the warehouse, in autocommit
    :param window: None: the `DAYS` days up to the newest order, or to yesterday where that is not known
    :raises ShopError: the profile or its targets have a mistake
    """
    profile = shop()
    targets()
    window = window or _newest_days(profile)
    reports = [_check(connection, SOURCES[name], location, window) for name, location in profile.sources.items()]
    return ShopReport(profile, window, reports)


def _newest_days(profile: Shop) -> Window:
    yesterday = today() - timedelta(days=1)
    try:
        last = _newest_day(profile.location_of(REQUIRED)) or yesterday
    except WarehouseError as error:
        # The report of the source itself has this error as its problem.
        log.info("the day of the newest order is not known: %s", error)
        last = yesterday
    return Window.of_days(last - timedelta(days=DAYS - 1), last)


def _newest_day(location: SourceLocation) -> date | None:
    reader = reader_of(SOURCES[REQUIRED], Window.of_days(today(), today()), location)
    if not isinstance(reader, PrevalidatingReader):
        return None
    with reader.snapshot():
        return reader.newest_day()


def _check(connection: Connection, source: Source, location: SourceLocation, window: Window) -> SourceReport:
    report = SourceReport(source, location)
    try:
        reader = reader_of(source, window, location)
        with connection.transaction(force_rollback=True):
            match reader:
                case PrevalidatingReader():
                    _check_table(connection, report, reader)
                case AppendingReader():
                    _check_topic(connection, report, reader)
                case ChangesReader():
                    report.source = reader.source
                    _check_rows(connection, report, reader)
                case _:
                    _check_rows(connection, report, reader)
    except WarehouseError as error:
        report.problem = str(error).removeprefix(f"{source.name}: ")
    return report


def _check_table(connection: Connection, report: SourceReport, reader: PrevalidatingReader) -> None:
    source, staging = report.source, Staging(connection, report.source)
    names = [column.name for column in source.columns]
    staging.create_accepted()
    with reader.snapshot():
        report.types = {name: kind.spelling for name, kind in reader.column_types.items()}
        seen = _seen_columns(connection, source)
        differences = list(schema_drift.changes(source, reader.column_types, seen))
        schema_drift.fail_if_broken(source, report.location, differences)
        by_day = reader.rows_by_day()
        report.rows = None if by_day is None else sum(by_day.values())
        with closing(reader.suspect(None)) as rows:  # type: ignore[type-var]
            suspect = staging.copy_suspect(reader.columns, itertools.islice(rows, MAX_BLOCKS))
        # Last, since a binary COPY that is not read to its end may end the source's transaction.
        trailer = BINARY_TRAILER if reader.copy_format == "format binary" else b""
        blocks = _first_blocks(reader.prevalidated(None, []), trailer)
        prevalidated = staging.copy(ACCEPTED, names, blocks, reader.copy_format)
    _validate(connection, report, staging)
    report.checked = prevalidated + suspect


def _seen_columns(connection: Connection, source: Source) -> set[str]:
    """The columns of earlier loads; none in a warehouse that has loaded nothing and has no tables yet."""
    row = connection.execute("select to_regclass('ops.source_column') is not null").fetchone()
    return schema_drift.seen_columns(connection, source) if row and row[0] else set()


def _check_topic(connection: Connection, report: SourceReport, reader: AppendingReader) -> None:
    source, staging = report.source, Staging(connection, report.source)
    staging.create_accepted()
    names = [column.name for column in source.loaded_columns]
    with closing(reader.new_rows(_NothingRead(), [])) as rows:  # type: ignore[type-var]
        plain = staging.copy(ACCEPTED, names, itertools.islice(rows, MAX_BLOCKS), "format text")
    suspect = staging.copy_suspect(reader.columns, itertools.islice(reader.read(_NothingRead()), MAX_BLOCKS))
    report.types = dict.fromkeys((column.name for column in source.columns), "JSON")
    report.types |= dict.fromkeys(sorted(map(one_line, reader.unknown_fields)), "JSON")
    _validate(connection, report, staging)
    report.rows = report.checked = plain + suspect


def _check_rows(connection: Connection, report: SourceReport, reader: Reader) -> None:
    staging = Staging(connection, report.source)
    staging.create_accepted()
    report.rows = report.checked = staging.copy_suspect(reader.columns, reader.read(_NothingRead()))
    report.types = dict.fromkeys((column.name for column in report.source.columns), "JSON")
    _validate(connection, report, staging)


def _validate(connection: Connection, report: SourceReport, staging: Staging) -> None:
    """Fill in the reasons to reject staged rows, and an example."""
    validate.reject_bad_values(connection, report.source)
    staging.accept_passed()
    if not (report.source.is_changes or report.source.write_disposition is WriteDisposition.APPEND):
        validate.reject_repeated_keys(connection, report.source)
    report.rejections = [
        Rejection(rows, reason)
        for rows, reason in connection.execute(
            sql.SQL("""
                select count(*), min(left(_rejection, 200))
                from {stage}
                where _rejection is not null
                -- One of the values that broke the rule is named.
                group by {rule}
                order by 1 desc
                limit 10
            """).format(stage=STAGE, rule=sql.SQL(rule_in_sql("_rejection")))
        )
    ]
    report.example = _example(connection, report.source)


def _example(connection: Connection, source: Source) -> dict[str, str | None]:
    """A value of each column, of a row that would be taken if there is one."""
    names = [column.name for column in source.columns]
    values = sql.SQL(", ").join(sql.SQL("min({}::text)").format(sql.Identifier(name)) for name in names)
    for table in (ACCEPTED, STAGE):
        row: Any = connection.execute(
            sql.SQL("select count(*), {} from (select * from {} limit 100) as first").format(values, table)
        ).fetchone()
        if row[0]:
            return dict(zip(names, row[1:], strict=True))
    return {}


def _first_blocks(blocks: Iterator[bytes], trailer: bytes) -> Iterator[bytes]:
    """The first blocks of a COPY, each of whole rows, as a COPY of its own."""
    with closing(blocks):  # type: ignore[type-var]
        for number, block in enumerate(blocks):
            yield block
            if number >= MAX_BLOCKS and block != BINARY_TRAILER:
                yield trailer
                return


class _NothingRead:
    """A warehouse that has read nothing of any topic."""

    def of(self, topic: str) -> dict[int, int]:
        return {}

    def topic_ids(self, topic: str) -> set[str]:
        return set()

    def resume_at(self, topic: str, partition: int, first: int) -> int:
        return first

    def holds_any(self, topic: str, partition: int, begin: int) -> bool:
        return False


class CheckShop(BaseOperator):
    """
    Check the shop's profile, and log what was found.

    :param warehouse_conn_id: a Postgres for temporary tables
    :raises AirflowFailException: a source cannot be loaded
    """

    def __init__(self, *, warehouse_conn_id: str = LOADER, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.warehouse_conn_id = warehouse_conn_id

    def execute(self, context: Context) -> dict[str, int | None]:
        """Return the rows of each source."""
        try:
            # Not only with a first day: a last day alone is a mistake, which says so.
            has_days = any(context["params"].get(name) for name in ("start_date", "end_date"))
            window = request_of(context).window if has_days else None
            with postgres(self.warehouse_conn_id) as connection:
                report = check_shop(connection, window)
        except WarehouseError as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("%s", report)
        if report.problems:
            raise AirflowFailException("; ".join(report.problems))
        return {found.source.name: found.rows for found in report.sources}


def main() -> int:
    """Run the command line; 1: a source cannot be loaded."""
    parser = argparse.ArgumentParser(prog="make shop-check", description=check_shop.__doc__)
    parser.add_argument("--from", dest="first", type=date.fromisoformat, help="first day of the shop, inclusive")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, help="last day of the shop, inclusive")
    arguments = parser.parse_args()
    first = arguments.first or arguments.last
    try:
        window = Window.of_days(first, arguments.last or first) if first else None
        with postgres(LOADER) as connection:
            report = check_shop(connection, window)
    except WarehouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
