"""What the shop does not have, in the words of the pages."""

from __future__ import annotations

from ecommerce.common.shop import shop
from ecommerce.common.sources import FILLED_BY, absence_in_words


def absent_in_words() -> str:
    """All that the shop does not have, as "This shop has no subscriptions or weather."; empty if it has everything."""
    return absence_in_words(shop().absent)


def absences() -> dict[str, str]:
    """Each source that the shop does not have, with the sentence that says so."""
    return {source: absence_in_words([source]) for source in shop().absent}


def absence_of_source(source: str) -> str | None:
    """ "This shop has no refunds."; None: the shop has the source."""
    return absences().get(source)


def absence_of(table: str) -> str | None:
    """Why a table of core or marts is empty, as "This shop has no refunds."; None: not for want of a source."""
    source = FILLED_BY.get(table)
    return absence_of_source(source) if source else None
