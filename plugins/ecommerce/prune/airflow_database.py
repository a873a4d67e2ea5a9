"""
Prunes Airflow's own database by Airflow's command `airflow db clean`, with the days of `include/retention.yml`.

A task cannot: Airflow gives it no access to that database. So this is a command for a place that has it, such as the
machine of the scheduler: `python -m ecommerce.prune.airflow_database` (`make prune` runs it for the demo).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import datetime

from ecommerce.common.errors import RetentionError
from ecommerce.prune.retention_file import AIRFLOW_DATABASE, read_retention

#: Rows that Airflow deletes in one transaction.
_ROWS_OF_A_STEP = 5000


def clean_command(before: datetime, *, dry_run: bool) -> list[str]:
    """The command of Airflow. Rows are deleted, not moved to tables beside: there they would take the same space."""
    return [
        sys.executable, "-m", "airflow", "db", "clean",
        "--clean-before-timestamp", before.isoformat(timespec="seconds"),
        "--batch-size", str(_ROWS_OF_A_STEP),
        "--skip-archive",
        "--error-on-cleanup-failure",
        "--dry-run" if dry_run else "--yes",
    ]  # fmt: skip


def main() -> int:
    """Run the command line; the exit code of Airflow's command, or 1: the file has a mistake."""
    parser = argparse.ArgumentParser(prog="python -m ecommerce.prune.airflow_database", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only count the rows, delete nothing")
    arguments = parser.parse_args()
    try:
        before = read_retention().before(AIRFLOW_DATABASE)
    except RetentionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if before is None:
        print("Airflow's own database is kept for ever (include/retention.yml)")
        return 0
    print(f"Airflow's own database: rows older than {before:%Y-%m-%d %H:%M} UTC", flush=True)
    return subprocess.run(clean_command(before, dry_run=arguments.dry_run), check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
