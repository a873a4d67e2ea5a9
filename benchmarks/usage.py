"""What processes cost, with all their descendants: seconds of CPU, and memory at its peak."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import psutil

#: Looking at memory may itself take this share of one core.
_SHARE = 0.05
_SHORTEST = 0.5


def family(roots: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    """Processes and their descendants."""
    for root in roots:
        try:
            yield from (root, *root.children(recursive=True))
        except psutil.NoSuchProcess:
            continue


def cpu_seconds(roots: Iterable[psutil.Process]) -> float:
    """CPU seconds of processes and descendants so far, with those that have ended: their parents have their times."""
    total = 0.0
    for process in family(roots):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(roots: Iterable[psutil.Process]) -> int:
    """Bytes of processes and descendants; what several share is counted once (proportional set size)."""
    total = 0
    for process in family(roots):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


class Usage:
    """
    What process trees cost while the block runs.

    :param roots: the processes at the tops of the trees; may grow while the block runs. Children of this process that
        begin and end in the block are added to the CPU seconds
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
            pause = max(_SHORTEST, (time.thread_time() - began) / _SHARE)


def _ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
