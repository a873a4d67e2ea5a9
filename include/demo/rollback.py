"""What a rollback would change, in words, before it is started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import dict_row

from ecommerce.common.errors import RollbackError
from ecommerce.publish.kept_publications import KEPT_QUERY, KeptPublication, publication_to_restore
from ecommerce.publish.rollback_preview import (
    MARTS_TO_RESTORE,
    RestoredMart,
    changes_query,
    columns_not_added_up,
    restored_mart,
)
from include.demo.errors import StackError


def rollback_in_words(dsn: str, to: int | None) -> list[str]:
    """
    Which publications a rollback takes back, and what that changes in each mart.

    :param dsn: the warehouse, for a role that may read `ops` and `marts`
    :param to: the publication whose state is restored; None for the one before the last
    :raises StackError: there is no such publication, or it cannot be restored
    """
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        found = connection.execute("select to_regclass('ops.publication') as found").fetchone()
        if not found or found["found"] is None:
            raise StackError("nothing was published yet")
        publications = [KeptPublication(**row) for row in connection.execute(KEPT_QUERY)]
        try:
            target = publication_to_restore(publications, to)
        except RollbackError as error:
            raise StackError(str(error)) from error
        later = sorted(number for number, _, _ in publications if number > target)
        taken_back = ", ".join(map(str, later))
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
