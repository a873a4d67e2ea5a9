"""Run dbt's own command line on the stack's warehouse."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ecommerce.build.dbt_project import DBT_PROJECT
from include.demo.state import STACK


def environment(dsn: str) -> dict[str, str]:
    """Environment variables that `include/dbt/profiles.yml` reads."""
    return {**os.environ, **warehouse_address(dsn), "WAREHOUSE_PASSWORD": urlsplit(dsn).password or ""}


def warehouse_address(dsn: str) -> dict[str, str]:
    """The variables of `environment` that say where the warehouse is, and for whom, without a password."""
    warehouse = urlsplit(dsn)
    return {
        "WAREHOUSE_HOST": warehouse.hostname or "",
        "WAREHOUSE_PORT": str(warehouse.port),
        "WAREHOUSE_USER": warehouse.username or "",
        "WAREHOUSE_DBNAME": warehouse.path.lstrip("/"),
    }


def run(dsn: str, arguments: Sequence[str]) -> int:
    """
    Run one dbt command in the project's folder; its exit code.

    dbt writes to the stack's folder: `include/dbt/target` holds the manifest from which Airflow renders the DAG, and
    Airflow must not read it while dbt writes it.
    """
    program = Path(sys.executable).with_name("dbt")
    env = {**environment(dsn), "DBT_TARGET_PATH": str(STACK / "dbt"), "DBT_LOG_PATH": str(STACK / "logs")}
    return subprocess.run([program, *arguments], cwd=DBT_PROJECT, env=env, check=False).returncode
