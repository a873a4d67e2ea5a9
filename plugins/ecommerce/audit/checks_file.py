"""Read `include/quality/checks.yml`: which checks there are, and from which figures on each warns and fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ecommerce.audit.anomaly import Anomaly
from ecommerce.audit.check import Check, Settings
from ecommerce.audit.dbt_tests import DbtTests
from ecommerce.audit.growth import Growth
from ecommerce.audit.load_checks import ColumnChanges, Completeness, Freshness, Quarantined, RowsOfLoads
from ecommerce.audit.reconciliation import Reconciliation, SourceReconciliation
from ecommerce.audit.stray_dates import DatedBack, OutsideCoveredDays
from ecommerce.audit.table_checks import FOLDER, BadRows, Distribution, Orphans, Uniqueness
from ecommerce.common.errors import CheckSettingsError
from ecommerce.common.shop import Shop, shop
from ecommerce.common.yaml_lines import Place, line_of, load_with_lines

CHECKS_FILE = FOLDER / "checks.yml"

AnyCheck = Annotated[
    Anomaly
    | BadRows
    | ColumnChanges
    | Completeness
    | DatedBack
    | DbtTests
    | Distribution
    | Freshness
    | Growth
    | Orphans
    | OutsideCoveredDays
    | Quarantined
    | Reconciliation
    | RowsOfLoads
    | SourceReconciliation
    | Uniqueness,
    Field(discriminator="kind"),
]
CheckName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class Incident(Settings):
    """Days that are known to be unlike others: one day, or all from the first to the last."""

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
        """Each day of the incident."""
        first, last = self.day or self.first_day, self.day or self.last_day
        if first is None or last is None:
            raise RuntimeError(f"incident {self.name} has no day")
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]


class Checks(Settings):
    """The content of `checks.yml`."""

    checks: Annotated[dict[CheckName, AnyCheck], Field(min_length=1)]
    known_incidents: list[Incident] = Field(default_factory=list)

    @property
    def incidents(self) -> dict[date, str]:
        """The name of the known incident of each day that has one."""
        return {day: incident.name for incident in self.known_incidents for day in incident.days}


def read_checks() -> Checks:
    """
    The content of the file, without what reads only sources that the shop does not have; read again after a change.

    :raises CheckSettingsError: the file has a mistake; the message names the line, the check and the field
    :raises ShopError: the shop's profile has a mistake
    """
    checks, profile = _read(CHECKS_FILE, CHECKS_FILE.stat().st_mtime_ns), shop()
    if not profile.absent:
        return checks
    of_shop = {name: _of_shop(check, profile) for name, check in checks.checks.items()}
    return checks.model_copy(update={"checks": {name: check for name, check in of_shop.items() if check}})


def check_of(name: str) -> Check:
    """
    One check of the file, by its name.

    :raises CheckSettingsError: the file has no such check any more
    """
    checks = read_checks().checks
    if name not in checks:
        raise CheckSettingsError(f"{CHECKS_FILE.name} has no check {name!r} (any more); there are {', '.join(checks)}")
    return checks[name]


def _of_shop(check: AnyCheck, profile: Shop) -> AnyCheck | None:
    """A check without its parts on sources that the shop does not have; None if nothing remains."""
    if not all(map(profile.fills, _needed(check))):
        return None
    kept: dict[str, list[Any]] = {}
    for field in type(check).model_fields:
        value = getattr(check, field)
        if not isinstance(value, list) or not value:
            continue
        kept[field] = [part for part in value if all(map(profile.fills, _needed(part)))]
        if not kept[field]:
            return None
    return check.model_copy(update=kept)


def _needed(part: Any) -> Iterator[str]:
    """The tables and sources that a part of a check reads."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Settings):
        for field in type(part).model_fields:
            value = getattr(part, field)
            if isinstance(value, Settings) or (field in ("table", "source") and value):
                yield from _needed(value)


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Checks:
    try:
        content, lines = load_with_lines(path.read_text())
    except yaml.YAMLError as error:
        raise CheckSettingsError(f"{path.name} is no YAML: {error}") from error
    try:
        return Checks.model_validate(content)
    except ValidationError as error:
        mistakes = [_mistake(path.name, lines, details) for details in error.errors()]
        raise CheckSettingsError("; ".join(mistakes)) from error


def _mistake(name: str, lines: Mapping[Place, int], details: ErrorDetails) -> str:
    place = _place_of(details["loc"])
    # A field that is missing has no line of its own; its check has.
    line = line_of(lines, place)
    field = ".".join(map(str, place)) or "the file"
    return f"{name}, line {line}: {field}: {details['msg'].removeprefix('Value error, ')}"


def _place_of(loc: Place) -> Place:
    """Pydantic's path to an error without what the file does not have: the kind of a check, and marks of keys."""
    place: list[int | str] = []
    for step in loc:
        is_kind = len(loc) > 2 and len(place) == 2 and step in _KINDS
        if step != "[key]" and not is_kind:
            place.append(step)
    return tuple(place)


_KINDS = {
    "amount", "completeness", "dated_back", "dbt_tests", "distribution", "freshness", "growth", "orphans",
    "outside_covered_days", "quarantined", "reconciliation", "reconciliation_source", "rows_of_loads", "schema_drift",
    "sql", "uniqueness", "volume",
}  # fmt: skip
