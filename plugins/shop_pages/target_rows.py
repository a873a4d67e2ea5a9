"""The shop's targets as a parameter of the pages' queries, which read nothing else than `marts`."""

from __future__ import annotations

import json

from ecommerce.common.errors import ShopError
from ecommerce.common.targets import targets

#: The targets as rows, for the `from` of a query.
TARGETS = "jsonb_to_recordset(%(targets)s::jsonb) as targets (month date, category_name text, target numeric)"


def targets_as_json(first_year: int, last_year: int) -> str:
    """The targets of whole years, which have those of all their quarters; those of a file with a mistake are none."""
    try:
        found = targets()
    except ShopError:
        return "[]"
    return json.dumps(
        [
            {"month": target.month.isoformat(), "category_name": target.category, "target": str(target.revenue)}
            for target in found
            if first_year <= target.month.year <= last_year
        ]
    )


def mistake_in_targets() -> str:
    """Why there are no targets although the shop has a file of them; empty if nothing is wrong."""
    try:
        targets()
    except ShopError as error:
        return f"No targets are shown: {error}."
    return ""
