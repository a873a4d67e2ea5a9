"""Which publications a rollback can restore. Without Airflow: the commands and the pages ask it, too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from ecommerce.common.errors import RollbackError

#: How many of the last publications can be rolled back.
KEPT_PUBLICATIONS = int(os.environ.get("ECOMMERCE_KEPT_PUBLICATIONS", "7"))


class KeptPublication(NamedTuple):
    """
    A publication, as far as it matters for a rollback.

    :param mart: one of its marts whose rows of before were not kept; None if all were
    :param undo_by: of that mart, see `ops.publication`
    """

    publication_id: int
    mart: str | None
    undo_by: str | None


#: All publications, the newest first: the fields of `KeptPublication`.
KEPT_QUERY = """
select
    publication_id,
    (array_agg(mart order by mart) filter (where undo_by is null or undo_by = 'nothing'))[1] as mart,
    (array_agg(undo_by order by mart) filter (where undo_by is null or undo_by = 'nothing'))[1] as undo_by
from ops.publication
group by publication_id
order by publication_id desc
"""


def why_not_restorable(publications: Sequence[KeptPublication], target: int) -> str | None:
    """Why the state after a publication cannot be restored; None if it can, by what is known of all publications."""
    numbers = [publication.publication_id for publication in publications]
    if target not in numbers:
        return f"there is no publication {target}; see ops.publication"
    later = publications[: numbers.index(target)]
    if not later:
        return f"publication {target} is the last one: the marts are as it left them"
    if len(later) > KEPT_PUBLICATIONS:
        return (
            f"publication {target} is {len(later)} publications ago, but only the last {KEPT_PUBLICATIONS} "
            "can be undone (ECOMMERCE_KEPT_PUBLICATIONS)"
        )
    for publication_id, mart, undo_by in later:
        if mart is not None:
            reason = "created the mart again, with other columns" if undo_by else "did not keep the rows it replaced"
            return f"publication {target} cannot be restored: publication {publication_id} of {mart} {reason}"
    return None


def publication_before(publications: Sequence[KeptPublication], publication_id: int) -> int | None:
    """The publication that a rollback restores to take this one back; None if this one cannot be taken back."""
    before = next((number for number, _, _ in publications if number < publication_id), None)
    return None if before is None or why_not_restorable(publications, before) else before


def publication_to_restore(publications: Sequence[KeptPublication], to: int | None) -> int:
    """
    The publication whose state a rollback restores.

    :param publications: all, the newest first
    :param to: the publication that was asked for; None for the one before the last
    :raises RollbackError: there is none, or it cannot be restored
    """
    if to is None and len(publications) < 2:
        raise RollbackError("there is no publication before the last one")
    target = publications[1].publication_id if to is None else to
    if reason := why_not_restorable(publications, target):
        raise RollbackError(reason)
    return target
