"""What a rollback would change, in words, before it is started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import dict_row

from ecommerce.publish.rollback_preview import (
    MARTS_TO_RESTORE,
    RestoredMart,
    changes_query,
    columns_not_added_up,
    restored_mart,
)

_PUBLICATIONS = "select distinct publication_id from ops.publication order by publication_id desc"


def rollback_in_words(dsn: str, target: int | None) -> list[str]:
    """
    Which publications a rollback takes back, and what that changes in each mart.

    Nothing of a publication that cannot be restored: the run says why.

    :param dsn: the warehouse, for a role that may read `ops` and `marts`
    :param target: the publication whose state is restored; None for the one before the last
    """
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        found = connection.execute("select to_regclass('ops.publication') as found").fetchone()
        if not found or found["found"] is None:
            return []
        numbers = [row["publication_id"] for row in connection.execute(_PUBLICATIONS)]
        if target is None:
            target = numbers[1] if len(numbers) > 1 else None
        if target is None or target not in numbers[1:]:
            return []
        taken_back = ", ".join(str(number) for number in reversed(numbers[: numbers.index(target)]))
        return [f"Restores publication {target}, and so takes back {taken_back}:", *_changes(connection, target)]


def _changes(connection: Connection[dict[str, Any]], target: int) -> Iterator[str]:
    skipped = columns_not_added_up()
    is_changed = False
    for mart in connection.execute(MARTS_TO_RESTORE, {"target": target}).fetchall():
        query = changes_query(mart, target, skipped.get(mart["mart"], ()))
        row = connection.execute(query.encode()).fetchone()
        if row and (change := restored_mart(mart["mart"], row)).total:
            is_changed = True
            yield f"  {_in_words(change)}"
    if not is_changed:
        yield "  no row of any mart changes"


def _in_words(change: RestoredMart) -> str:
    counts = f"{change.back:,} rows come back, {change.changed:,} change, {change.gone:,} go"
    sums = [f"{column} {now:,.2f} → {then:,.2f}" for column, (now, then) in change.sums.items() if now != then]
    return "; ".join([f"{change.mart}: {counts}", *sums])
