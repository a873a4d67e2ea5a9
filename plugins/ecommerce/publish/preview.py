"""What a publication would change: how many rows of each mart, and which of them moves most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import Connection, sql

from ecommerce.build import lease
from ecommerce.publish.merge import Mart, columns_of, find_changed, key_object
from ecommerce.publish.publication import built_marts

#: Rows a mart that are named.
MOVERS = 3


@dataclass(frozen=True)
class Mover:
    """
    A row whose figure would change.

    :param key: column → value
    :param before: None of a row that is not there yet; ``after``: of one that would be gone
    """

    key: dict[str, Any]
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Difference:
    """
    What would change of a mart.

    :param measure: the column whose biggest movers are named; None where the mart has no figure
    """

    mart: str
    inserted: int
    updated: int
    deleted: int
    measure: str | None
    movers: Sequence[Mover]

    @property
    def changed(self) -> int:
        """Rows."""
        return self.inserted + self.updated + self.deleted


def differences(connection: Connection, run_id: str) -> list[Difference]:
    """
    Each mart that the run's build would change. Nothing is written.

    :param connection: of the role that publishes
    """
    marts = built_marts(connection, lease.exclusions_of(connection, run_id).models)
    return [found for mart in marts if (found := _of(connection, mart)).changed]


def preview_publication(connection: Connection, run_id: str) -> tuple[list[dict[str, Any]], str]:
    """What publishing the run's build would change: as JSON, and as Markdown; for `QualityCheck`."""
    found = differences(connection, run_id)
    return as_json(found), as_markdown(found)


def as_json(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """For `ops.decision`."""
    return [asdict(difference) for difference in found]


def as_markdown(found: Sequence[Difference]) -> str:
    """For a person: a table, a mart a row."""
    if not found:
        return "No mart would change."
    lines = ["| Mart | New | Changed | Gone | Biggest movers |", "| --- | ---: | ---: | ---: | --- |"]
    for one in found:
        movers = "; ".join(
            f"{_named(mover.key)}: {_figure(mover.before)} → {_figure(mover.after)}" for mover in one.movers
        )
        movers = f"{one.measure}: {movers}" if one.measure and movers else "–"
        lines.append(f"| {one.mart} | {one.inserted:,} | {one.updated:,} | {one.deleted:,} | {movers} |")
    return "\n".join(lines)


def _of(connection: Connection, mart: Mart) -> Difference:
    published = {name for name, _, _ in columns_of(connection, "marts", mart.name)}
    measure = _measure(mart)
    if not published:
        row = connection.execute(sql.SQL("select count(*) from {}").format(mart.built)).fetchone()
        return Difference(mart.name, row[0] if row else 0, 0, 0, None, [])
    # A column that the mart is about to gain is empty in what is published.
    known = mart.only(published)
    with connection.transaction(force_rollback=True):
        find_changed(connection, known)
        row = connection.execute(
            "select count(*) filter (where old_place is null),"
            " count(*) filter (where old_place is not null and new_place is not null),"
            " count(*) filter (where new_place is null) from pg_temp.changed"
        ).fetchone()
        inserted, updated, deleted = row or (0, 0, 0)
        movers = _movers(connection, known, measure) if measure in known.columns else []
    return Difference(mart.name, inserted, updated, deleted, measure, movers)


def _measure(mart: Mart) -> str | None:
    """The first amount of money, else the first figure."""
    figures = {name: kind for name, kind in mart.columns.items() if name not in mart.key}
    for wanted in ("numeric(18,2)", "numeric", "bigint", "integer"):
        for name, kind in figures.items():
            if kind.startswith(wanted) and not name.endswith("_percent"):
                return name
    return None


def _movers(connection: Connection, mart: Mart, measure: str | None) -> list[Mover]:
    figure = sql.Identifier(measure or "")
    return [
        Mover(key, *(None if value is None else float(value) for value in values))
        for key, *values in connection.execute(
            sql.SQL(
                "select {key}, old.{figure}, new.{figure} from pg_temp.changed"
                " left join {target} as old on old.ctid = changed.old_place"
                " left join {built} as new on new.ctid = changed.new_place"
                " where old.{figure} is distinct from new.{figure}"
                " order by abs(coalesce(new.{figure}, 0) - coalesce(old.{figure}, 0)) desc, {key}::text limit {most}"
            ).format(
                key=key_object(mart.key, "new", "old"),
                figure=figure,
                target=mart.target,
                built=mart.built,
                most=sql.Literal(MOVERS),
            )
        )
    ]


def _named(key: dict[str, Any]) -> str:
    # A bar would end the cell.
    return ", ".join(str(value if value is not None else "(none)") for value in key.values()).replace("|", "\\|")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"
