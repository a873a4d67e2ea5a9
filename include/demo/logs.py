"""Show the logs of the stack's services."""

from __future__ import annotations

import subprocess

from include.demo import processes
from include.demo.errors import StackError


def services() -> list[str]:
    """The services that have a log, as `show_log` takes them."""
    return sorted(path.stem.removeprefix("airflow-") for path in processes.LOGS.glob("*.log"))


def show_log(service: str, *, lines: int, is_followed: bool) -> int:
    """
    Print the last lines of a service's log, and go on with those that come, if they are to be followed.

    :raises StackError: it has no log
    """
    name = service.removeprefix("airflow-")
    paths = [processes.LOGS / f"{prefix}{name}.log" for prefix in ("airflow-", "")]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise StackError(f"{service} has no log; there are logs of {', '.join(services()) or 'nothing yet'}")
    options = ["-F"] if is_followed else []
    return subprocess.run(["tail", "-n", str(lines), *options, str(found)], check=False).returncode
