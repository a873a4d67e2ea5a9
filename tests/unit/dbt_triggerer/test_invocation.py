"""What dbt leaves in the process that runs it, and what its messages show in a task's log."""

import os
import subprocess
import sys
from pathlib import Path

from dbt_triggerer.invocation import without_rows

#: Imports dbt and runs a command as `run_dbt` does, in a folder with a `.env`.
COMMAND = """
import os, dbt_triggerer
from dbt.cli.main import dbtRunner
dbtRunner().invoke(["--version"])
print(os.environ.get("AIRFLOW_CONN_WAREHOUSE_LOADER"))
"""


def test_dbt_puts_no_env_file_into_the_process_of_a_task(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AIRFLOW_CONN_WAREHOUSE_LOADER=postgres://of-docker/warehouse\n")
    env = {name: value for name, value in os.environ.items() if name != "PYTHON_DOTENV_DISABLED"}
    found = subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(Path(__file__).parents[3] / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines()[-1] == "None"


def test_message_of_dbt_shows_no_row_that_breaks_a_constraint() -> None:
    message = (
        'Database Error in model m\n  null value in column "x" violates not-null constraint\n'
        "  DETAIL:  Failing row contains (C1, Anna (B), a@b.c\n), 1).\n  compiled code at m.sql"
    )
    assert without_rows(message) == (
        'Database Error in model m\n  null value in column "x" violates not-null constraint\n'
        "  DETAIL:  Failing row contains (not shown).\n  compiled code at m.sql"
    )
    assert without_rows("OK created table (12 rows)") == "OK created table (12 rows)"
