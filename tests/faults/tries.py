"""Tries of extract tasks: each in a process of its own, forked from one that has everything imported."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.faults.task import Order, work

_ROOT = Path(__file__).parents[2]
_FORKS = multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """Start the process that the tries are forked from; what Airflow's imports take is paid once."""
    # Its own start finds modules by the environment alone, and would go on without those it does not find.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT / "plugins"), str(_ROOT)])
    _FORKS.set_forkserver_preload([work.__module__])
    multiprocessing.forkserver.ensure_running()


@dataclass
class Outcome:
    """How a try ended: its exit code (-9: killed), and what it reported."""

    exit_code: int
    figures: dict[str, Any] | None
    error: str | None
    log: str

    @property
    def is_success(self) -> bool:
        return self.exit_code == 0 and self.figures is not None


class Try:
    """One try, under way."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._process = _FORKS.Process(target=work, args=(order,), daemon=True)
        self._process.start()

    @property
    def session_name(self) -> str:
        """How its sessions in Postgres call themselves."""
        return session_name(self.order.number)

    def wait(self, seconds: float = 40) -> Outcome:
        """Its end. One that does not end is a failure, whatever it was doing."""
        self._process.join(seconds)
        log = self.order.log.read_text(errors="replace") if self.order.log.exists() else ""
        if self._process.exitcode is None:
            self.kill()
            raise AssertionError(f"{self.order} did not end in {seconds:.0f} s; its log:\n{log}")
        report = json.loads(self.order.report.read_text()) if self.order.report.exists() else {}
        return Outcome(self._process.exitcode, report.get("figures"), report.get("error"), log)

    def stops(self, seconds: float = 20) -> bool:
        """Whether it stops itself at a fault point, and does not end before."""
        assert self._process.pid is not None
        process, deadline = psutil.Process(self._process.pid), time.monotonic() + seconds
        while self._process.exitcode is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_STOPPED:
                    return True
            assert time.monotonic() < deadline, f"neither stops nor ends: {self.order}"
            time.sleep(0.005)
        return False

    def wait_until_stopped(self) -> None:
        """Wait until it has stopped itself at a fault point."""
        assert self.stops(), f"ended before it came to its point: {self.wait()}"

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.join(10)

    def _signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def session_name(number: int) -> str:
    return f"try_{number}"
