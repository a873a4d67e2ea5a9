"""
Points at which the tests break a load on purpose, and the variable that chooses one.

``ECOMMERCE_FAULT=before_commit:kill`` kills the process when it first reaches that point; ``mid_copy@3:stop`` stops it
(SIGSTOP) the third time. Without the variable nothing happens, and a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

VARIABLE = "ECOMMERCE_FAULT"

#: Point → where a load reaches it. `tests/faults` breaks a load at each, and fails if no load reaches one.
POINTS: dict[str, str] = {
    "waiting_for_lock": "another load of the source holds its lock; this one is about to wait for it",
    "before_batch": "the lock is held, and the ledger has no row of this load yet",
    "before_read": "the ledger has the load as `running`; nothing was read",
    "mid_copy": "a chunk of rows has gone into a table; once for each chunk",
    "offsets_resolved": "the offsets to read are known; no message was fetched",
    "topic_read": "the last message of a topic's range was read, and the consumer is still open; it commits nothing to"
    " Kafka, so the points between Kafka and the warehouse's COMMIT are this one, `before_commit` and `after_commit`",
    "quarantined": "the rejected rows are in quarantine, the accepted ones not yet in raw",
    "written_to_raw": "raw has the rows; the ledger still has the load as `running`",
    "before_commit": "rows, offsets and ledger are written; COMMIT was not sent",
    "after_commit": "COMMIT was answered; the load still holds the lock and its connections",
    "before_report": "every connection is closed; Airflow does not know the result yet",
}


class FaultRaised(Exception):
    """Raised by a point that is armed with the action `raise`."""


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
    Arm the point that the variable's text names; no text arms none.

    :raises ValueError: no such point or action: such a test would test nothing
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
    """Act if this point is armed; called by a load when it reaches the point."""
    if _armed is not None and _armed.point == name:
        _armed.passes -= 1
        if _armed.passes == 0:
            _armed.action()


arm(os.environ.get(VARIABLE))
