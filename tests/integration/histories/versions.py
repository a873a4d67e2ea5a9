"""
What the dimensions must hold, by the contract alone: at every instant the version in force is what was last known by
then, and a new version begins where that changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

#: Seconds since the epoch; the first version of a key holds since ever, the last one for ever.
EVER_SINCE, FOR_EVER = Decimal("-Infinity"), Decimal("Infinity")


@dataclass(frozen=True)
class Logged:
    """A row of a version log; a tombstone where the key had vanished."""

    opens: int
    values: dict[str, Any]
    is_deleted: bool = False


@dataclass(frozen=True)
class Version:
    """A row of a dimension: what it says, and from when to when."""

    values: dict[str, Any]
    valid_from: Decimal
    valid_to: Decimal


def customer_versions(log: Sequence[Logged]) -> list[Version]:
    """A deleted customer keeps what was last known of it."""

    def known_at(instant: Decimal) -> dict[str, Any]:
        rows = _known(log, instant)
        alive = [row for row in rows if not row.is_deleted]
        return alive[-1].values | {"is_deleted": rows[-1].is_deleted}

    return _versions(known_at, _openings(log))


def product_versions(products: Sequence[Logged], categories: Sequence[Logged]) -> list[Version]:
    """Two logs make one history; a product that vanished keeps its last version."""
    products = [row for row in products if not row.is_deleted]
    categories = [row for row in categories if not row.is_deleted]

    def known_at(instant: Decimal) -> dict[str, Any]:
        product = _last(_known(products, instant))
        category = _last(_known(categories, instant))
        margin = category.get("margin_percent")
        if margin is None:
            margin = _margin(category.get("cost_price"), category.get("retail_price"))
        return {
            "product_name": product.get("product_name"),
            "category_id": category.get("category_id") or product.get("product_category_id"),
            "category_name": category.get("category_name"),
            "subcategory": category.get("subcategory"),
            "brand": category.get("brand"),
            "supplier_id": category.get("supplier_id"),
            "cost_price": category.get("cost_price"),
            "retail_price": category.get("retail_price"),
            "margin_percent": margin,
            "is_discontinued": category.get("discontinued") or False,
        }

    return _versions(known_at, _openings(products) | _openings(categories))


def _openings(log: Sequence[Logged]) -> set[Decimal]:
    return {EVER_SINCE if n == 0 else Decimal(row.opens) for n, row in enumerate(log)}


def _known(log: Sequence[Logged], instant: Decimal) -> list[Logged]:
    """What had been logged by then; the first row counts from the beginning."""
    return [row for n, row in enumerate(log) if n == 0 or row.opens <= instant]


def _last(rows: Sequence[Logged]) -> dict[str, Any]:
    return rows[-1].values if rows else {}


def _versions(known_at: Any, instants: set[Decimal]) -> list[Version]:
    versions: list[Version] = []
    for instant in sorted(instants):
        values = known_at(instant)
        if versions and versions[-1].values == values:
            continue
        if versions:
            versions[-1] = Version(versions[-1].values, versions[-1].valid_from, instant)
        versions.append(Version(values, instant, FOR_EVER))
    return versions


def _margin(cost: Decimal | None, retail: Decimal | None) -> Decimal | None:
    if cost is None or not retail:
        return None
    return (100 * (retail - cost) / retail).quantize(Decimal("0.01"), ROUND_HALF_UP)
