"""`include/quality/checks.yml`: which checks there are, and from where on each of them warns and fails."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from ecommerce.audit.anomaly import Anomaly
from ecommerce.audit.check import Check, Settings
from ecommerce.audit.dbt_tests import DbtTests
from ecommerce.audit.load_checks import Completeness, Freshness, Quarantined, SchemaDrift
from ecommerce.audit.reconciliation import Reconciliation, SourceReconciliation
from ecommerce.audit.table_checks import FOLDER, BadRows, Distribution, Orphans, Uniqueness
from ecommerce.common.errors import CheckSettingsError

CHECKS_FILE = FOLDER / "checks.yml"

AnyCheck = Annotated[
    Anomaly
    | BadRows
    | Completeness
    | DbtTests
    | Distribution
    | Freshness
    | Orphans
    | Quarantined
    | Reconciliation
    | SchemaDrift
    | SourceReconciliation
    | Uniqueness,
    Field(discriminator="kind"),
]
CheckName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class Incident(Settings):
    """Days that are known to be unlike others: one, or from one to another, both included."""

    name: str
    day: date | None = None
    first_day: date | None = None
    last_day: date | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.day and not (self.first_day or self.last_day):
            return self
        if self.day or not self.first_day or not self.last_day or self.first_day > self.last_day:
            raise ValueError("give `day`, or `first_day` and a `last_day` that is not before it")
        return self

    @property
    def days(self) -> list[date]:
        """Each of them."""
        first, last = self.day or self.first_day, self.day or self.last_day
        if first is None or last is None:
            raise RuntimeError(f"incident {self.name} has no day")
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]


class Checks(Settings):
    """The file."""

    checks: Annotated[dict[CheckName, AnyCheck], Field(min_length=1)]
    known_incidents: list[Incident] = Field(default_factory=list)

    @property
    def incidents(self) -> dict[date, str]:
        """The known incidents, by day."""
        return {day: incident.name for incident in self.known_incidents for day in incident.days}


def read_checks() -> Checks:
    """
    The checks as the file has them now.

    :raises CheckSettingsError: it cannot be read; the message says the line, the check and the field
    """
    return _read(CHECKS_FILE, CHECKS_FILE.stat().st_mtime_ns)


def check_of(name: str) -> Check:
    """
    One check of the file, by its name.

    :raises CheckSettingsError: the file has no such check any more
    """
    checks = read_checks().checks
    if name not in checks:
        raise CheckSettingsError(f"{CHECKS_FILE.name} has no check {name!r} (any more); there are {', '.join(checks)}")
    return checks[name]


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Checks:
    text = path.read_text()
    try:
        return Checks.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise CheckSettingsError(f"{path.name} is no YAML: {error}") from error
    except ValidationError as error:
        raise CheckSettingsError("; ".join(_sentences(path.name, text, error))) from error


def _sentences(name: str, text: str, error: ValidationError) -> list[str]:
    lines = _lines(yaml.compose(text))
    sentences = []
    for found in error.errors():
        # A tagged union puts the kind into the path, where the file has none.
        place: list[int | str] = []
        for step in found["loc"]:
            if step == "[key]" or (len(found["loc"]) > 2 and len(place) == 2 and step in _KINDS):
                continue
            place.append(step)
        line = next(lines[path] for n in range(len(place), -1, -1) if (path := tuple(place[:n])) in lines)
        field = ".".join(map(str, place)) or "the file"
        sentences.append(f"{name}, line {line}: {field}: {found['msg'].removeprefix('Value error, ')}")
    return sentences


_KINDS = {
    "amount", "completeness", "dbt_tests", "distribution", "freshness", "orphans", "quarantined", "reconciliation",
    "reconciliation_source", "schema_drift", "sql", "uniqueness", "volume",
}  # fmt: skip


def _lines(node: Any, path: tuple[int | str, ...] = ()) -> dict[tuple[int | str, ...], int]:
    """Where each part of the file stands, by the way to it."""
    if node is None:
        return {(): 1}
    found = {path: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found |= _lines(value, (*path, key.value)) | {(*path, key.value): key.start_mark.line + 1}
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            found |= _lines(item, (*path, number))
    return found
