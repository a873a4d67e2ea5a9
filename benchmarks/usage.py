"""Measure what processes and their descendants use: seconds of CPU, and memory."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import psutil
import psycopg

from include.demo import airflow_services, processes

#: Reading the memory of processes may itself take this share of one core.
_SHARE = 0.05
_MIN_PAUSE = 0.5


def family(roots: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    """Iterate over processes and their descendants."""
    for root in roots:
        try:
            yield from (root, *root.children(recursive=True))
        except psutil.NoSuchProcess:
            continue


def cpu_seconds(roots: Iterable[psutil.Process]) -> float:
    """Sum the CPU seconds of processes and descendants until now, including descendants that have ended."""
    total = 0.0
    for process in family(roots):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(roots: Iterable[psutil.Process]) -> int:
    """Sum the bytes of processes and descendants; shared pages are counted once (proportional set size)."""
    total = 0
    for process in family(roots):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def airflow_processes() -> dict[str, psutil.Process]:
    """Map the names of the stack's Airflow services to their processes, for those that run."""
    services = {f"airflow-{name}": processes.find(f"airflow-{name}") for name in airflow_services.SERVICES}
    return {name: process for name, process in services.items() if process is not None}


def postgres_process(connection: psycopg.Connection) -> psutil.Process:
    """Find the main process of the server on this machine that a connection belongs to."""
    # The process that serves a connection is a child of it.
    return psutil.Process(psutil.Process(connection.info.backend_pid).ppid())


class Usage:
    """
    CPU seconds and peak memory of process trees while a block runs.

    :param roots: returns the processes at the tops of the trees; more may be added while the block runs. Children of
        this process that start and end in the block are added to the CPU seconds
    """

    def __init__(self, roots: Callable[[], list[psutil.Process]]) -> None:
        self.cpu = 0.0
        self.peak = 0
        self._roots = roots
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Usage:
        self._before = cpu_seconds(self._roots()) + _ended_children()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.cpu = cpu_seconds(self._roots()) + _ended_children() - self._before

    def _sample(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            began = time.thread_time()
            self.peak = max(self.peak, memory(self._roots()))
            pause = max(_MIN_PAUSE, (time.thread_time() - began) / _SHARE)


def _ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
