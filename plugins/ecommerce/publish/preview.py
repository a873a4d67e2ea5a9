"""What a publication would change: how many rows of each mart, and which figures would change most."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import Connection, sql

from ecommerce.build import lease
from ecommerce.common.shown_text import VALUE_LENGTH, markdown_text
from ecommerce.publish.marts import Mart, built_marts, count_rows, hash_of_rows, key_object, published_columns
from ecommerce.publish.merge import create_changed_rows, hash_of_changed_rows

#: How many of a mart's biggest movers are named.
MOVERS = 3


@dataclass(frozen=True)
class Mover:
    """
    A row whose figure would change.

    :param key: column → value
    :param before: None if the row would be new
    :param after: None if the row would be deleted
    """

    key: dict[str, Any]
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Difference:
    """
    What would change in a mart.

    :param measure: the column whose biggest movers are named; None if the mart has no figure
    :param digest: of all rows that would change, as they are and as they would be
    """

    mart: str
    inserted: int
    updated: int
    deleted: int
    measure: str | None
    movers: Sequence[Mover]
    digest: str = ""

    @property
    def total(self) -> int:
        """Rows inserted, updated and deleted."""
        return self.inserted + self.updated + self.deleted


def differences(
    connection: Connection, run_id: str, *, gained: Mapping[str, Collection[str]] | None = None
) -> list[Difference]:
    """
    The marts that publishing the run's build would change. Nothing is written.

    :param connection: of the role that publishes
    :param gained: columns that this publication has already added to its marts; they count as not there yet
    """
    marts = built_marts(connection, lease.exclusions_of(connection, run_id).models)
    found = [_difference(connection, mart, (gained or {}).get(mart.name, ())) for mart in marts]
    return [difference for difference in found if difference.total]


def preview_publication(connection: Connection, run_id: str) -> tuple[list[dict[str, Any]], str]:
    """What publishing the run's build would change, as JSON and as Markdown; `QualityCheck` shows it to a person."""
    changed = differences(connection, run_id)
    return as_json(changed), as_markdown(changed)


def as_json(changed: Sequence[Difference]) -> list[dict[str, Any]]:
    """The differences as `ops.decision` keeps them."""
    return [asdict(difference) for difference in changed]


def as_markdown(changed: Sequence[Difference]) -> str:
    """The differences as a table for a person, one mart a row."""
    if not changed:
        return "No mart would change."
    lines = ["| Mart | New | Changed | Gone | Biggest movers |", "| --- | ---: | ---: | ---: | --- |"]
    for difference in changed:
        movers = "; ".join(
            f"{_key_text(mover.key)}: {_figure(mover.before)} → {_figure(mover.after)}" for mover in difference.movers
        )
        movers = f"{difference.measure}: {movers}" if difference.measure and movers else "–"
        counts = f"{difference.inserted:,} | {difference.updated:,} | {difference.deleted:,}"
        lines.append(f"| {difference.mart} | {counts} | {movers} |")
    return "\n".join(lines)


def _difference(connection: Connection, mart: Mart, gained: Collection[str]) -> Difference:
    published = [name for name in published_columns(connection, mart.name) if name not in gained]
    if not published:
        rows_hash = hash_of_rows(connection, mart.built_table, list(mart.columns))
        return Difference(mart.name, count_rows(connection, mart.built_table), 0, 0, None, [], f"{rows_hash:x}")
    measure, columns = _measure(mart), list(mart.columns)
    # A column that the mart is about to gain cannot be compared: nothing of it is published.
    mart = mart.with_columns(published)
    with connection.transaction(force_rollback=True):
        create_changed_rows(connection, mart)
        row = connection.execute(
            """
            select
                count(*) filter (where old_place is null),
                count(*) filter (where old_place is not null and new_place is not null),
                count(*) filter (where new_place is null)
            from pg_temp.changed
            """
        ).fetchone()
        inserted, updated, deleted = row or (0, 0, 0)
        movers = _movers(connection, mart, measure) if measure in mart.columns else []
        old = hash_of_changed_rows(connection, published, mart.published_table, "old_place")
        new = hash_of_changed_rows(connection, columns, mart.built_table, "new_place")
    return Difference(mart.name, inserted, updated, deleted, measure, movers, f"{old:x} {new:x}")


def _measure(mart: Mart) -> str | None:
    """The first column that is an amount of money, else the first other figure."""
    figures = {
        name: kind for name, kind in mart.columns.items() if name not in mart.key and not name.endswith("_percent")
    }
    for wanted in ("numeric(18,2)", "numeric", "bigint", "integer"):
        for name, kind in figures.items():
            if kind.startswith(wanted):
                return name
    return None


def _movers(connection: Connection, mart: Mart, measure: str | None) -> list[Mover]:
    rows = connection.execute(
        sql.SQL("""
            select {key}, old.{measure}, new.{measure}
            from pg_temp.changed
            left join {published} as old on old.ctid = changed.old_place
            left join {built} as new on new.ctid = changed.new_place
            where old.{measure} is distinct from new.{measure}
            order by abs(coalesce(new.{measure}, 0) - coalesce(old.{measure}, 0)) desc, {key}::text
            limit {limit}
        """).format(
            key=key_object(mart.key, "new", "old"),
            measure=sql.Identifier(measure or ""),
            published=mart.published_table,
            built=mart.built_table,
            limit=sql.Literal(MOVERS),
        )
    )
    return [Mover(key, *(None if value is None else float(value) for value in values)) for key, *values in rows]


def _key_text(key: dict[str, Any]) -> str:
    values = ("(none)" if value is None else value for value in key.values())
    return ", ".join(markdown_text(value, VALUE_LENGTH) for value in values)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"
