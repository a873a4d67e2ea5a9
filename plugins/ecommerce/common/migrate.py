"""
Brings the tables of `ops`, `raw` and `marts` up to date, as the first task of a run does, and says what was applied.

`make migrate` runs it for the demo; elsewhere `python -m ecommerce.common.migrate`, see `docs/migration.md`.
"""

from __future__ import annotations

import sys

from ecommerce.common.connections import PUBLISHER, postgres, warehouse
from ecommerce.common.errors import WarehouseError
from ecommerce.common.migrations import applied


def migrate() -> list[tuple[int, str]]:
    """
    Apply what the warehouse lacks; number and name of the migrations that it now has and did not have before.

    :raises SourceError: there is no such connection, or the warehouse is newer than this code
    """
    with postgres(PUBLISHER) as connection:
        before = applied(connection)
        with warehouse(PUBLISHER):
            now = applied(connection)
    return [(number, name) for number, (name, _) in sorted(now.items()) if number not in before]


def main() -> int:
    """Run the command line; 1: the warehouse cannot be brought up to date."""
    try:
        new = migrate()
    except WarehouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for _, name in new:
        print(f"applied {name}")
    print("the warehouse is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
