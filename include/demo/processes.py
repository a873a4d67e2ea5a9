"""Background processes of the stack: started in a session of their own, found again by their pid files."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from include.demo.errors import StackError
from include.demo.state import ROOT, STACK

LOGS = STACK / "logs"
PIDS = STACK / "pids"


def start(name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
    """
    Start a process that outlives this one; its output goes to the stack's logs.

    What an earlier one of that name left behind when it was killed ends first: forks of a killed scheduler hold its
    connections to the metadata database open, and with them its locks, so that the next one would wait for ever.
    """
    _end_orphans(name)
    LOGS.mkdir(parents=True, exist_ok=True)
    PIDS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # The pid alone could belong to anyone after a reboot; with the time of its start it is this process.
    (PIDS / name).write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}")


def find(name: str) -> psutil.Process | None:
    """The running process of that name, or None."""
    path = PIDS / name
    if not path.exists():
        return None
    pid, created = path.read_text().split()
    try:
        process = psutil.Process(int(pid))
        if process.create_time() == float(created) and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.NoSuchProcess:
        return None
    return None


def _end_orphans(name: str) -> None:
    path = PIDS / name
    if not path.exists():
        return
    pid, created = path.read_text().split()
    if float(created) < psutil.boot_time():
        # Numbers of before a reboot are anyone's now.
        return
    leader = int(pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        if psutil.Process(leader).status() != psutil.STATUS_ZOMBIE:
            return
    # With its leader gone, its number still stands for the session that it began, as long as anyone is in it.
    orphans = [process for process in psutil.process_iter() if _session_of(process) == leader]
    for orphan in orphans:
        orphan.kill()
    psutil.wait_procs(orphans, timeout=5)


def _session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


def stop(name: str, *, patience: float = 20.0) -> bool:
    """Stop a process and all its children, politely, then firmly; whether there was one."""
    process = find(name)
    if process is not None:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=patience)
        for survivor in alive:
            survivor.kill()
        psutil.wait_procs(alive, timeout=5)
    else:
        _end_orphans(name)
    (PIDS / name).unlink(missing_ok=True)
    return process is not None


def wait_until(ready: Callable[[], bool], name: str, *, seconds: float) -> None:
    """
    Wait for a service to answer.

    :raises StackError: it ended, or did not answer in time; with the last lines of its log
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if find(name) is None:
            raise StackError(f"{name} ended while starting; the end of its log:\n{tail(name)}")
        if time.monotonic() > deadline:
            raise StackError(f"{name} did not answer within {seconds:.0f} s; the end of its log:\n{tail(name)}")
        time.sleep(0.2)


def tail(name: str, lines: int = 15) -> str:
    """The last lines of a service's log, with where it is."""
    path = LOGS / f"{name}.log"
    text = path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []
    return "\n".join([*(f"  {line}" for line in text), f"  ({os.path.relpath(path)})"])
