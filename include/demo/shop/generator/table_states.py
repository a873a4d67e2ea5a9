"""Hold the rows of a table that changes: as it was before the shop's first day, and as it is after the last."""

from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass
class States:
    """The rows of one table by key, before the first day (``opening``) and after the last (``final``)."""

    opening: dict[str, Row] = field(default_factory=dict)
    final: dict[str, Row] = field(default_factory=dict)

    def unchanged_keys(self) -> list[str]:
        """List the keys whose row is the same in both."""
        return [key for key, row in self.final.items() if self.opening.get(key) == row]
