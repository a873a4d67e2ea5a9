"""
Show what a change of the dbt project does to the marts, on the rows of a warehouse; nothing of it is changed.

`make preview` runs it on the stack; elsewhere `python -m ecommerce.change_preview`, with the warehouse's address and
the role `previewer` in the `WAREHOUSE_*` variables of `include/dbt/profiles.yml`. See `docs/change_preview.md`.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from ecommerce.change_preview.change_report import as_markdown, as_page
from ecommerce.change_preview.preview_change import preview
from ecommerce.common.errors import WarehouseError


def main() -> int:
    """Run the command line; 1: there is no preview, and a sentence says why."""
    parser = argparse.ArgumentParser(prog="python -m ecommerce.change_preview", description=__doc__)
    parser.add_argument("--base", default="main", help="the branch that the change goes to (default main)")
    parser.add_argument("--marts", default="", help="only these, comma-separated; default: all that the change reaches")
    parser.add_argument("--name", help="of the preview; only one of a name runs at a time (default: the branch)")
    parser.add_argument(
        "--out", type=Path, action="append", default=[], help="a file for the report; *.html is a page; may be repeated"
    )
    arguments = parser.parse_args()
    _import_dbt()
    marts = [name.strip() for name in arguments.marts.split(",") if name.strip()]
    try:
        with _connect() as connection:
            shown = preview(connection, arguments.base, marts=marts, name=arguments.name)
        for path in arguments.out:
            path.write_text(as_page(shown) if path.suffix == ".html" else as_markdown(shown))
    except (WarehouseError, psycopg.Error, OSError) as error:
        print(f"error: {str(error).strip()}", file=sys.stderr)
        return 1
    print(as_markdown(shown), end="")
    return 0


def _import_dbt() -> None:
    """Import dbt in half of its usual time: a preview takes seconds, and the import is the longest part of it."""
    # To look for garbage among all that dbt makes takes longer than a process of some seconds would gain by it.
    gc.disable()
    # With this package, which some others bring along, jsonschema builds a grammar of web addresses as it is imported.
    # Nothing here checks a web address; without the package jsonschema leaves the check out.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    # And not where dbt is first needed: so deep in the stack Python 3.11 asks the system for memory, and gives it back,
    # with each of many calls.
    importlib.import_module("dbt.cli.main")


def _connect() -> psycopg.Connection:
    """A session in the warehouse that the variables name, as dbt has it."""
    variables = ("HOST", "PORT", "USER", "PASSWORD", "DBNAME")
    parts = {name.lower(): os.environ.get(f"WAREHOUSE_{name}", "") for name in variables}
    address = make_conninfo(**parts, options="-c search_path=pg_catalog -c TimeZone=UTC")
    return psycopg.connect(address, autocommit=True)


if __name__ == "__main__":
    sys.exit(main())
