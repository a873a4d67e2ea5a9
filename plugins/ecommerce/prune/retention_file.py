"""Read `include/retention.yml`: how many days the warehouse keeps what it records about itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from ecommerce.common.errors import RetentionError
from ecommerce.common.yaml_lines import Place, line_of, load_with_lines
from ecommerce.prune.prunable_tables import NEVER_PRUNED, PACKABLE_TABLE, PRUNABLE_TABLES

RETENTION_FILE = Path(__file__).parents[3] / "include" / "retention.yml"

#: What is no table of the warehouse: Airflow's own database, and the logs of tasks.
AIRFLOW_DATABASE, AIRFLOW_LOGS = "airflow.database", "airflow.logs"

#: In place of a number of days: for ever.
KEEP = "keep"

#: A run may wait for a person, or be cleared, for some weeks.
_MINIMUM_DAYS = {AIRFLOW_DATABASE: 30, AIRFLOW_LOGS: 30} | {
    table.name: table.minimum_days for table in (*PRUNABLE_TABLES.values(), PACKABLE_TABLE)
}
#: With the days of messages: they may go, since what their facts are made of is kept.
_FACTS_ARE_KEPT = "facts_are_kept"
#: A hundred years.
_MAXIMUM_DAYS = 36_500
_CRON = re.compile(r"\S+( \S+){4}")


@dataclass(frozen=True)
class Retention:
    """
    The content of the file.

    :param schedule: of the DAG, in cron's form; None: only by hand
    :param days: table, or what else is pruned → days; None: for ever
    """

    schedule: str | None
    days: Mapping[str, int | None]

    def before(self, place: str, now: datetime | None = None) -> datetime | None:
        """What is older than this may go; None: nothing may."""
        days = self.days[place]
        return None if days is None else (now or datetime.now(UTC)) - timedelta(days=days)


def read_retention() -> Retention:
    """
    The content of the file.

    :raises RetentionError: it has a mistake; the message names the line, the table and what to write
    """
    name = RETENTION_FILE.name
    try:
        content, lines = load_with_lines(RETENTION_FILE.read_text())
    except yaml.YAMLError as error:
        raise RetentionError(f"{name} is no YAML: {error}") from error
    if mistakes := [*_mistakes(content)]:
        raise RetentionError(
            "; ".join(f"{name}, line {line_of(lines, place)}: {message}" for place, message in mistakes)
        )
    days = {place: None if value == KEEP else _days_of(value) for place, value in content["days"].items()}
    return Retention(content["schedule"], days)


def _mistakes(content: Any) -> Iterator[tuple[Place, str]]:
    if not isinstance(content, dict) or not isinstance(content.get("days"), dict) or "schedule" not in content:
        yield (), "write `schedule:`, and `days:` with a line for each table below it"
        return
    for key in content:
        if key not in ("schedule", "days"):
            yield (key,), f"there is no setting {key}; there are schedule and days"
    schedule, days = content["schedule"], content["days"]
    if schedule is not None and not (isinstance(schedule, str) and _CRON.fullmatch(schedule)):
        yield ("schedule",), f'schedule is {schedule!r}; write five fields of cron, such as "0 5 * * 0", or null'
    for name, value in days.items():
        if mistake := _mistake_of_days(name, value):
            yield ("days", name), f"{name}: {mistake}"
    for name in _MINIMUM_DAYS:
        if name not in days:
            yield ("days",), f"{name} is missing; write its days, or {KEEP}"
    failures, results = (days.get(name) for name in ("ops.check_failure", "ops.check_result"))
    if isinstance(results, int) and (failures == KEEP or (isinstance(failures, int) and failures > results)):
        yield (
            ("days", "ops.check_failure"),
            f"ops.check_failure: is {failures}; its rows belong to results, which go after {results} days",
        )


def _days_of(value: Any) -> Any:
    """The number, also where it stands beside `facts_are_kept`."""
    return value.get("days") if isinstance(value, dict) else value


def _mistake_of_days(name: str, value: Any) -> str | None:
    if name == PACKABLE_TABLE.name and value != KEEP:
        return _mistake_of_messages(value)
    if name in NEVER_PRUNED:
        # A line that says so is no mistake.
        return None if value == KEEP else f"is never pruned: {NEVER_PRUNED[name]}; write {KEEP}, or leave the line out"
    if name not in _MINIMUM_DAYS:
        return f"there is no such table to prune; there are {', '.join(_MINIMUM_DAYS)}"
    if value == KEEP or _is_number_of_days(name, value):
        return None
    return f"is {value!r}; write a number of days, {_MINIMUM_DAYS[name]} or more, or {KEEP}"


def _mistake_of_messages(value: Any) -> str | None:
    name, least = PACKABLE_TABLE.name, PACKABLE_TABLE.minimum_days
    is_told = isinstance(value, dict) and value.keys() == {"days", _FACTS_ARE_KEPT} and value[_FACTS_ARE_KEPT] is True
    if is_told and _is_number_of_days(name, value["days"]):
        return None
    return (
        f"is {value!r}; a full refresh builds the facts of events from these messages. To have old ones packed, so "
        f"that it still can, write {{days: 400, {_FACTS_ARE_KEPT}: true}} with {least} days or more; or {KEEP}"
    )


def _is_number_of_days(name: str, value: Any) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and _MINIMUM_DAYS[name] <= value <= _MAXIMUM_DAYS
