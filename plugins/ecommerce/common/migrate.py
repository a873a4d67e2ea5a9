"""
Brings the tables of `ops`, `raw` and `marts` up to date, as the first task of a run does, and says what was applied.

`make migrate` runs it for the demo; elsewhere `python -m ecommerce.common.migrate`, see `docs/migration.md`.
"""

from __future__ import annotations

import sys

from ecommerce.common.connections import PUBLISHER, postgres, warehouse
from ecommerce.common.errors import WarehouseError


def migrate() -> list[tuple[int, str]]:
    """
    Apply what the warehouse lacks; number and name of the migrations that it now has and did not have before.

    :raises SourceError: there is no such connection, or the warehouse is newer than this code
    """
    with postgres(PUBLISHER) as connection:
        (table,) = connection.execute("select to_regclass('ops.migration')").fetchone() or (None,)
        query = "select number, name from ops.migration order by number"
        before = connection.execute(query).fetchall() if table else []
        with warehouse(PUBLISHER):
            return [row for row in connection.execute(query).fetchall() if row not in before]


def main() -> int:
    """Run the command line; 1: the warehouse cannot be brought up to date."""
    try:
        applied = migrate()
    except WarehouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for _, name in applied:
        print(f"applied {name}")
    print("the warehouse is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
