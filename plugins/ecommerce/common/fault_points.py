"""
The places where a load can be broken on purpose, listed once, and how one of them is armed.

``ECOMMERCE_FAULT=before_commit:kill`` ends the process the first time it comes by that point; ``mid_copy@3:stop`` stops
it (SIGSTOP) the third time. Without the variable nothing is armed, and a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

VARIABLE = "ECOMMERCE_FAULT"

#: Point → when a load comes by. `tests/faults` breaks a load at each, and fails when no load comes by.
POINTS: dict[str, str] = {
    "waiting_for_lock": "another load of the source holds its lock; this one is about to queue",
    "before_batch": "the lock is held, and the ledger has no row of this load yet",
    "before_read": "the ledger says `running`; nothing was read",
    "mid_copy": "a piece of what was read has gone to the staging table; once a piece",
    "topic_asked": "the offsets to read are known; no message was fetched",
    "topic_read": "the last message of a topic's range was read, and the consumer is still open; it commits nothing to"
    " Kafka, so what lies between Kafka and the warehouse's COMMIT is `before_commit`, and after it `after_commit`",
    "quarantined": "the refused rows are in quarantine, the accepted ones not yet in raw",
    "landed": "raw has the rows; the ledger still says `running`",
    "before_commit": "rows, positions and ledger are written; COMMIT was not sent",
    "after_commit": "COMMIT was answered; the load still holds the lock and its connections",
    "before_report": "every connection is closed; the task has not told Airflow",
}


class FaultRaised(Exception):
    """What an armed point raises when it was told to raise."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise() -> None:
    raise FaultRaised("raised on purpose, see ECOMMERCE_FAULT")


_ACTIONS: dict[str, Callable[[], None]] = {"kill": _kill, "stop": _stop, "raise": _raise}


@dataclass
class _Fault:
    point: str
    action: Callable[[], None]
    passes: int


_armed: _Fault | None = None


def arm(text: str | None) -> None:
    """
    Arm one point by the variable's text, or none.

    :raises ValueError: no such point or action, which would be a test of nothing
    """
    global _armed
    if not text:
        _armed = None
        return
    place, _, action = text.partition(":")
    name, _, passes = place.partition("@")
    if name not in POINTS or action not in _ACTIONS or not (passes or "1").isdigit():
        raise ValueError(
            f"{VARIABLE}={text} is not of the form point[@n]:action; "
            f"points: {', '.join(POINTS)}; actions: {', '.join(_ACTIONS)}"
        )
    _armed = _Fault(name, _ACTIONS[action], int(passes or 1))


def point(name: str) -> None:
    """A load comes by the point ``name``."""
    if _armed is not None and _armed.point == name:
        _armed.passes -= 1
        if _armed.passes == 0:
            _armed.action()


arm(os.environ.get(VARIABLE))
