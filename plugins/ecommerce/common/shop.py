"""
The shop's profile: where each source of the registry lies, and which sources the shop does not have.

`ECOMMERCE_SHOP` chooses it: a name in `include/shops/`, or the path of a folder; without it, `default`. The folder has
a `shop.yml` and the SQL templates that it names; see `docs/your_shop.md`.
"""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from ecommerce.common.errors import ShopError
from ecommerce.common.public_holidays import COUNTRIES
from ecommerce.common.sources import FILLED_BY, SOURCES
from ecommerce.common.yaml_lines import Place, line_of, load_with_lines

#: The environment variable that chooses the profile.
VARIABLE = "ECOMMERCE_SHOP"
#: The environment variable with the last day of a shop that has ended, such as the demo's.
LAST_DAY = "ECOMMERCE_LAST_DAY"
PROJECT = Path(__file__).parents[3]
SHOPS = PROJECT / "include" / "shops"
PROFILE = "shop.yml"
#: The value that says that the shop does not have a source.
ABSENT = "absent"
#: The time zones that a profile names, each with what it is without a word about it.
TIME_ZONES = {"time_zone": "UTC", "source_time_zone": "UTC"}
#: The country of the profile, for its public holidays.
COUNTRY = "country"
#: The currency of the profile: the ISO 4217 code that stands beside amounts of money.
CURRENCY = "currency"
_CURRENCY_CODE = re.compile(r"[A-Z]{3}")
#: The source without which there is no warehouse.
REQUIRED = "sales_fact"

#: The registry of sources, and when this process imported it.
_REGISTRY, _IMPORTED_AT = Path(__file__).with_name("sources.py"), time.time()

#: What a template may ask for: the first day to read and the day after the last, as SQL dates; and what a clock of the
#: source shows when they begin, as SQL timestamps.
PARAMETERS = ("start", "end", "start_at", "end_at")
_PARAMETER = re.compile(r"%\((\w*)\)s")
#: A comment; a text in quotes comes first, since it may have two hyphens. `/*!` is no comment in MySQL.
_COMMENT = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|(?P<comment>--[^\n]*|/\*(?!M?!).*?\*/)""", re.DOTALL)
#: What may stand behind a template's SELECT: one semicolon, blanks, and comments to the end of their line.
_END = re.compile(r"\s*;(\s|--[^\n]*)*\Z")
_PLAIN_NAME = re.compile(r"[^.\"'`\[\]]+")


#: What the profile may say of a source's location.
SETTINGS = ("connection", "table", "template", "topic", "registry", "fields")


class SourceLocation(BaseModel):
    """
    Where the shop has a source: a table, a SQL template, a topic, or an API that the connection alone names.

    :param source: its name in the registry
    :param connection: the Airflow connection; its type tells the dialect of a table or template
    :param table: `schema.table`, or `table`; a view is fine. Case matters, and there are no quotes
    :param template: path of a file with one SELECT that gives the source's columns
    :param topic: of a source that is read from Kafka; of one that may be a table, its changes as Debezium sends them
    :param registry: the Airflow connection of the schema registry that has the schemas of the topic's messages
    :param fields: column → field of the topic's messages, where it has another name; `outer.inner`: in a record
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    connection: str
    table: str | None = None
    template: Path | None = None
    topic: str | None = None
    registry: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)

    @field_validator("table")
    @classmethod
    def _is_table(cls, table: str) -> str:
        parts = table.split(".")
        if len(parts) > 2 or not all(_PLAIN_NAME.fullmatch(part) for part in parts):
            raise ValueError(f"{table!r} is no table; write `schema.table` or `table`, without quotes")
        return table

    @field_validator("template", mode="before")
    @classmethod
    def _is_file(cls, template: Any, info: ValidationInfo) -> Path:
        folder: Path = (info.context or {}).get("folder", Path())
        path = folder / str(template)
        if not path.is_file():
            raise ValueError(f"there is no file {shown_path(path)}; write the template there, or correct its name")
        return path

    @model_validator(mode="after")
    def _suits_a_topic(self) -> Self:
        if self.topic is None and (of_topic := [name for name in ("registry", "fields") if getattr(self, name)]):
            raise ValueError(f"it takes no {of_topic[0]}, which is of a topic; remove it")
        columns = [column.name for column in SOURCES[self.source].columns]
        for column in self.fields:
            if column not in columns:
                raise ValueError(f"fields: there is no column {column}; {_nearest(column, columns)}")
        return self

    @model_validator(mode="after")
    def _suits_the_source(self) -> Self:
        given = {name for name in ("table", "template", "topic") if getattr(self, name) is not None}
        source = SOURCES[self.source]
        needed = {"database": {"table", "template"}, "kafka": {"topic"}, "weather": set()}[source.reader]
        if source.takes_changes:
            needed = needed | {"topic"}
        if extra := sorted(given - needed):
            raise ValueError(f"it takes no {extra[0]}; remove it")
        if len(given) > 1:
            raise ValueError(f"it has both a {' and a '.join(sorted(given))}; keep one of them")
        if needed and not given:
            raise ValueError(
                "it has no topic; write `topic: name`"
                if needed == {"topic"}
                else "it has neither a table nor a template; write `table: schema.table` or `template: file.sql`"
            )
        for found in self._parameters:
            if found[1] not in PARAMETERS:
                line = self._text.count("\n", 0, found.start()) + 1
                raise ValueError(
                    f"{shown_path(self.template or Path())}, line {line}, asks for %({found[1]})s; "
                    f"there are {', '.join(f'%({name})s' for name in PARAMETERS)}"
                )
        if self.is_bound and not SOURCES[self.source].window_column:
            raise ValueError(
                "it is always read whole, so its template may not ask for the days that are read: "
                "a row that it leaves out would count as deleted"
            )
        return self

    @property
    def schema_name(self) -> str | None:
        """The table's schema, in MySQL its database; None: the profile does not name it."""
        return self.table.partition(".")[0] if self.table and "." in self.table else None

    @property
    def table_name(self) -> str | None:
        """The table's name without its schema; None for a template."""
        return self.table.rpartition(".")[2] if self.table else None

    def path_of(self, column: str) -> list[str]:
        """Where a message has the value of a column: names of fields, each in the one before."""
        return self.fields.get(column, column).split(".")

    @property
    def is_bound(self) -> bool:
        """Whether the template itself chooses the rows of a window, by `%(start)s` or `%(end)s`."""
        return bool(self._parameters)

    @property
    def is_outdated(self) -> bool:
        """Whether the template has changed, or is gone, since it was read."""
        return self.template is not None and changed_at(self.template) != self._version[0]

    @cached_property
    def _version(self) -> tuple[int | None, str]:
        """When the template was changed last, and its text: it is read once, so that a load has one version of it."""
        return (changed_at(self.template), self.template.read_text()) if self.template else (None, "")

    @property
    def _text(self) -> str:
        return self._version[1]

    @cached_property
    def _parameters(self) -> list[re.Match[str]]:
        """Where the template asks for a day, outside of its comments."""
        comments = [found.span() for found in _COMMENT.finditer(self._text) if found["comment"]]
        return [
            found
            for found in _PARAMETER.finditer(self._text)
            if not any(first <= found.start() < end for first, end in comments)
        ]

    def statement(self, start: date, end: date) -> str:
        """
        The template's SELECT for a half-open window, without a semicolon at its end.

        `%(start)s` and `%(end)s` become literals of the type `date`, `%(start_at)s` and `%(end_at)s` of the type
        `timestamp`, which Postgres and MySQL write alike. All other text stays as it is, so that a `%` needs no second
        one.
        """
        if self.template is None:
            raise ValueError(f"{self.source} lies in {self.where}, which is no template")
        chosen = shop()
        literals = {
            "start": f"date '{start:%Y-%m-%d}'",
            "end": f"date '{end:%Y-%m-%d}'",
            "start_at": f"timestamp '{chosen.midnight_at_source(start):%Y-%m-%d %H:%M:%S}'",
            "end_at": f"timestamp '{chosen.midnight_at_source(end):%Y-%m-%d %H:%M:%S}'",
        }
        pieces, end_of_last = [], 0
        for found in self._parameters:
            pieces += [self._text[end_of_last : found.start()], literals[found[1]]]
            end_of_last = found.end()
        return _END.sub("", "".join([*pieces, self._text[end_of_last:]]))

    @property
    def where(self) -> str:
        """The place in words, for messages."""
        at = f"the connection {self.connection!r}"
        if self.template:
            return f"the template {shown_path(self.template)} at {at}"
        if self.table:
            return f"the table {self.table} at {at}"
        return f"the topic {self.topic!r} at {at}" if self.topic else at


class Shop(BaseModel):
    """
    A profile.

    :param name: that of its folder
    :param time_zone: IANA name of the time zone whose days are the shop's
    :param source_time_zone: that of a source's time which has none of its own
    :param country: ISO code of the country whose public holidays are the shop's; None: the profile names none
    :param currency: ISO code of the currency of all amounts; None: the profile names none
    :param sources: the sources that the shop has, by name, in the registry's order
    """

    model_config = ConfigDict(frozen=True)

    name: str
    folder: Path
    time_zone: str
    source_time_zone: str
    country: str | None
    currency: str | None
    sources: dict[str, SourceLocation]

    def has(self, source: str) -> bool:
        """Whether the shop has a source."""
        return source in self.sources

    def midnight(self, day: date) -> datetime:
        """The first moment of a day of the shop, in UTC. Where clocks skip midnight, it is the one at which they do."""
        return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.time_zone)).astimezone(UTC)

    def midnight_at_source(self, day: date) -> datetime:
        """What a clock of the source shows at the first moment of a day of the shop; without a zone."""
        return self.midnight(day).astimezone(ZoneInfo(self.source_time_zone)).replace(tzinfo=None)

    @property
    def empty_tables(self) -> set[str]:
        """The absent sources, and the tables of core and marts that only they would fill; names without schema."""
        return {*self.absent, *(table for table, source in FILLED_BY.items() if source not in self.sources)}

    def fills(self, table: str) -> bool:
        """Whether a source, or a table of any schema, can have rows."""
        return table.rpartition(".")[2] not in self.empty_tables

    def location_of(self, source: str) -> SourceLocation:
        """
        Where a source lies.

        :raises ShopError: the shop does not have it
        """
        if source not in self.sources:
            raise ShopError(
                f"the shop {self.name} has no {source}; "
                f"if it does, write where it lies in {shown_path(self.folder / PROFILE)}"
            )
        return self.sources[source]

    @property
    def absent(self) -> list[str]:
        """The sources that the shop does not have, in the registry's order."""
        return [source for source in SOURCES if source not in self.sources]


def last_day() -> date | None:
    """The last day of a shop that has ended; None: it goes on."""
    text = os.environ.get(LAST_DAY)
    return date.fromisoformat(text) if text else None


def shop() -> Shop:
    """
    The profile that `ECOMMERCE_SHOP` chooses; read again when its file or one of its templates has changed.

    :raises ShopError: there is no such profile, or it has a mistake; the message names file, line and what to write
    """
    chosen = os.environ.get(VARIABLE, "").strip() or "default"
    path = profile_folder(chosen) / PROFILE
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        names = sorted(found.parent.name for found in SHOPS.glob(f"*/{PROFILE}"))
        raise ShopError(
            f"{VARIABLE} is {chosen!r}, but there is no {shown_path(path)}; in include/shops there are "
            f"{', '.join(names)}; a folder elsewhere is given by its path"
        ) from error
    profile = _read(path, changed)
    if any(location.is_outdated for location in profile.sources.values()):
        _read.cache_clear()
        profile = _read(path, changed)
    return profile


def profile_folder(chosen: str) -> Path:
    """The folder of a profile: of a name in `include/shops/`, or of a path."""
    return PROJECT / chosen if os.sep in chosen else SHOPS / chosen


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Shop:
    try:
        content, lines = load_with_lines(path.read_text())
    except yaml.YAMLError as error:
        raise ShopError(f"{shown_path(path)} is no YAML: {error}") from error
    locations: dict[str, SourceLocation] = {}
    mistakes = [*_mistakes_of_keys(content), *_locate(content, path.parent, locations)]
    if mistakes:
        raise ShopError(
            "; ".join(f"{shown_path(path)}, line {line_of(lines, place)}: {message}" for place, message in mistakes)
        )
    return Shop(
        name=path.parent.name,
        folder=path.parent,
        **{key: content.get(key, default) for key, default in TIME_ZONES.items()},
        country=content.get(COUNTRY),
        currency=content.get(CURRENCY),
        sources={source: locations[source] for source in SOURCES if source in locations},
    )


#: A place in the file, and what is wrong there.
_Mistake = tuple[Place, str]


def _mistakes_of_keys(content: Any) -> Iterator[_Mistake]:
    if not isinstance(content, dict) or not isinstance(content.get("sources"), dict):
        yield (), f"it has no sources; write `sources:`, and below it `{REQUIRED}: {{connection: …, table: …}}`"
        return
    settings = ["sources", *TIME_ZONES, COUNTRY, CURRENCY]
    for key, value in content.items():
        if key not in settings:
            yield (key,), f"there is no setting {key}; {_nearest(key, settings)}"
        # The names are read from a folder: not for the one that nearly every profile has.
        if key in TIME_ZONES and value != TIME_ZONES[key] and str(value) not in available_timezones():
            yield (key,), f"{key} is {value!r}; write the name of a time zone, such as Europe/Berlin"
    if COUNTRY in content and str(content[COUNTRY]) not in COUNTRIES:
        yield (COUNTRY,), _mistake_of_country(content[COUNTRY])
    if CURRENCY in content and not _CURRENCY_CODE.fullmatch(str(content[CURRENCY])):
        yield (CURRENCY,), f"currency is {content[CURRENCY]!r}; write its ISO code, such as EUR, or leave the line out"
    for source in content["sources"]:
        if source not in SOURCES:
            yield ("sources", source), f"there is no source {source}; {_nearest(source, SOURCES)}{_outdated_registry()}"
    if content["sources"].get(REQUIRED, ABSENT) == ABSENT:
        yield (
            ("sources", REQUIRED),
            f"{REQUIRED} cannot be absent, since every mart is made of orders; write where the orders are, "
            f"`{REQUIRED}: {{connection: shop_postgres, table: public.orders}}`",
        )


def _mistake_of_country(value: Any) -> str:
    # In YAML, no is false.
    if value is False:
        return 'country is false, as YAML reads NO; write "NO" in quotes for Norway'
    return f"country is {value!r}; write the ISO code of a country, such as DE, or leave the line out"


def _locate(content: Any, folder: Path, found: dict[str, SourceLocation]) -> Iterator[_Mistake]:
    """Fill ``found`` with the location of each present source; returns the mistakes."""
    sources = content.get("sources") if isinstance(content, dict) else None
    sources_by_topic: dict[str, str] = {}
    for source, entry in (sources if isinstance(sources, dict) else {}).items():
        place = ("sources", source)
        if source not in SOURCES or entry == ABSENT:
            continue
        if not isinstance(entry, dict):
            found_text = "empty" if entry is None else repr(entry)
            yield place, f"{source} is {found_text}; write `{ABSENT}`, or where it lies: `{{connection: …, …}}`"
            continue
        try:
            location = SourceLocation.model_validate({**entry, "source": source}, context={"folder": folder})
        except ValidationError as error:
            for details in error.errors():
                yield (*place, *details["loc"]), _message(source, details)
            continue
        found[source] = location
        # Offsets are kept by topic.
        if location.topic and (other := sources_by_topic.setdefault(location.topic, source)) != source:
            yield place, f"{source}: the topic {location.topic} is already that of {other}; a topic is one source"


def _message(source: str, details: Mapping[str, Any]) -> str:
    key = str(details["loc"][0]) if details["loc"] else ""
    if details["type"] == "missing":
        return f"{source} has no {key}; write `{key}: …`, the name of an Airflow connection"
    if details["type"] == "extra_forbidden":
        return f"{source}: there is no setting {key}; {_nearest(key, SETTINGS)}"
    text = str(details["msg"]).removeprefix("Value error, ")
    return f"{source}: {text}" if not key or details["type"] == "value_error" else f"{source}.{key}: {text}"


def did_you_mean(word: Any, known: Collection[str]) -> str:
    """A hint at the known word that looks most like it; empty if none does."""
    # Above the usual 0.6: two names of files are alike by their `.csv` alone.
    near = difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=0.65)
    return f"did you mean {near[0]}?" if near else ""


def _outdated_registry() -> str:
    """The remedy where a source may have been added since: a process does not import a module again."""
    if _REGISTRY.stat().st_mtime <= _IMPORTED_AT:
        return ""
    return (
        f". {shown_path(_REGISTRY)} has changed since this process was started: "
        "restart Airflow's services (on the demo's stack: make restart)"
    )


def _nearest(word: Any, known: Collection[str]) -> str:
    """A hint at the known word that looks most like it, or at all of them."""
    return did_you_mean(word, known) or f"there are {', '.join(known)}"


def changed_at(path: Path) -> int | None:
    """When a file was changed last, in ns; None: there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def shown_path(path: Path) -> str:
    """A path within the project as people write it."""
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
