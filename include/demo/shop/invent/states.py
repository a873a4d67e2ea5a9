"""Tables that change: how they looked when the shop opened, and how they look at the end."""

from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass
class States:
    """One table's rows by key, on the first day (``opening``) and after the last (``final``)."""

    opening: dict[str, Row] = field(default_factory=dict)
    final: dict[str, Row] = field(default_factory=dict)

    def steady_keys(self) -> list[str]:
        """The keys whose row is the same in both."""
        return [key for key, row in self.final.items() if self.opening.get(key) == row]
