"""
Run a benchmark on a stack of its own, in a temporary folder that is deleted at the end.

Import this module before the stack and Airflow: both read the place of their files once, when they are imported.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Below STACK_DIR if that is set: for a disk that is large or fast enough.
FOLDER = Path(tempfile.mkdtemp(prefix="ecommerce-benchmark-", dir=os.environ.get("STACK_DIR") or None)).resolve()
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
# Postgres may run as another user.
FOLDER.chmod(0o755)
os.environ.update(
    {
        "STACK_DIR": str(FOLDER / "stack"),
        "AIRFLOW_HOME": str(FOLDER / "stack" / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
)

from include.demo import database, stack  # noqa: E402
from include.demo.state import STACK, State  # noqa: E402


@contextmanager
def own_stack() -> Iterator[State]:
    """Create a stack and start its Postgres; afterwards stop all its services and delete its data."""
    if not STACK.is_relative_to(FOLDER):
        raise RuntimeError("import benchmarks.own_stack before include.demo: this would delete the stack in use")
    # So that a benchmark that is stopped by SIGTERM stops its services too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state = State.create_beside()
    try:
        database.start(state)
        yield state
    finally:
        stack.reset()
