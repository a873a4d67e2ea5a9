"""
The shop's profile: where each source of the registry lies, and which sources the shop does not have.

`ECOMMERCE_SHOP` chooses it: a name in `include/shops/`, or the path of a folder; without it, `default`. The folder has
a `shop.yml` and the SQL templates that it names; see `docs/your_shop.md`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator

from ecommerce.common.errors import ShopError
from ecommerce.common.sources import FILLED_BY, SOURCES
from ecommerce.common.yaml_lines import Place, line_numbers, line_of

#: The environment variable that chooses the profile.
VARIABLE = "ECOMMERCE_SHOP"
PROJECT = Path(__file__).parents[3]
SHOPS = PROJECT / "include" / "shops"
PROFILE = "shop.yml"
#: The value that says that the shop does not have a source.
ABSENT = "absent"
#: The source without which there is no warehouse.
REQUIRED = "sales_fact"

#: What a template may ask for: the first day to read, and the day after the last, both as SQL dates.
PARAMETERS = ("start", "end")
_PARAMETER = re.compile(r"%\((\w*)\)s")
#: What may stand behind a template's SELECT: one semicolon, blanks, and comments to the end of their line.
_END = re.compile(r"\s*;(\s|--[^\n]*)*\Z")
_PLAIN_NAME = re.compile(r"[^.\"'`\[\]]+")


class SourceLocation(BaseModel):
    """
    Where the shop has a source: a table, a SQL template, a topic, or an API that the connection alone names.

    :param source: its name in the registry
    :param connection: the Airflow connection; its type tells the dialect of a table or template
    :param table: `schema.table`, or `table`; a view is fine. Case matters, and there are no quotes
    :param template: path of a file with one SELECT that gives the source's columns
    :param topic: of a source that is read from Kafka
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    connection: str
    table: str | None = None
    template: Path | None = None
    topic: str | None = None

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
            raise ValueError(f"there is no file {_shown(path)}; write the template there, or correct its name")
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if unknown := [name for name in _PARAMETER.findall(line) if name not in PARAMETERS]:
                raise ValueError(
                    f"{_shown(path)}, line {number}, asks for %({unknown[0]})s; there are %(start)s and %(end)s"
                )
        return path

    @model_validator(mode="after")
    def _suits_the_source(self) -> Self:
        given = {name for name in ("table", "template", "topic") if getattr(self, name) is not None}
        needed = {"database": {"table", "template"}, "kafka": {"topic"}, "weather": set()}[SOURCES[self.source].reader]
        if extra := sorted(given - needed):
            raise ValueError(f"it takes no {extra[0]}; remove it")
        if given == {"table", "template"}:
            raise ValueError("it has both a table and a template; keep one of them")
        if needed and not given:
            raise ValueError(
                "it has no topic; write `topic: name`"
                if needed == {"topic"}
                else "it has neither a table nor a template; write `table: schema.table` or `template: file.sql`"
            )
        if self.is_bound and not SOURCES[self.source].window_column:
            raise ValueError(
                "it is always read whole, so its template may not ask for %(start)s or %(end)s: "
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

    @property
    def is_bound(self) -> bool:
        """Whether the template itself chooses the rows of a window, by `%(start)s` or `%(end)s`."""
        return self.template is not None and bool(_PARAMETER.search(self.template.read_text()))

    def statement(self, start: date, end: date) -> str:
        """
        The template's SELECT for a half-open window, without a semicolon at its end.

        Each `%(start)s` and `%(end)s` becomes a literal of the type `date`, which Postgres and MySQL write alike. All
        other text stays as it is, so that a `%` needs no second one.
        """
        if self.template is None:
            raise ValueError(f"{self.source} lies in {self.where}, which is no template")
        literals = {"start": f"date '{start:%Y-%m-%d}'", "end": f"date '{end:%Y-%m-%d}'"}
        text = _PARAMETER.sub(lambda found: literals[found[1]], self.template.read_text())
        return _END.sub("", text)

    @property
    def where(self) -> str:
        """The place in words, for messages."""
        at = f"the connection {self.connection!r}"
        if self.template:
            return f"the template {_shown(self.template)} at {at}"
        if self.table:
            return f"the table {self.table} at {at}"
        return f"the topic {self.topic!r} at {at}" if self.topic else at


class Shop(BaseModel):
    """
    A profile.

    :param name: that of its folder
    :param sources: the sources that the shop has, by name, in the registry's order
    """

    model_config = ConfigDict(frozen=True)

    name: str
    folder: Path
    sources: dict[str, SourceLocation]

    def has(self, source: str) -> bool:
        """Whether the shop has a source."""
        return source in self.sources

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
                f"if it does, write where it lies in {_shown(self.folder / PROFILE)}"
            )
        return self.sources[source]

    def where(self, source: str) -> str:
        """Where a source lies, in words, for messages."""
        return self.sources[source].where if source in self.sources else f"the source {source}"

    @property
    def absent(self) -> list[str]:
        """The sources that the shop does not have, in the registry's order."""
        return [source for source in SOURCES if source not in self.sources]


def shop() -> Shop:
    """
    The profile that `ECOMMERCE_SHOP` chooses; read again when its file has changed.

    :raises ShopError: there is no such profile, or it has a mistake; the message names file, line and what to write
    """
    chosen = os.environ.get(VARIABLE, "").strip() or "default"
    folder = PROJECT / chosen if os.sep in chosen else SHOPS / chosen
    path = folder / PROFILE
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        names = sorted(found.parent.name for found in SHOPS.glob(f"*/{PROFILE}"))
        raise ShopError(
            f"{VARIABLE} is {chosen!r}, but there is no {_shown(path)}; in include/shops there are "
            f"{', '.join(names)}; a folder elsewhere is given by its path"
        ) from error
    return _read(path, changed)


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Shop:
    text = path.read_text()
    try:
        lines = line_numbers(text)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ShopError(f"{_shown(path)} is no YAML: {error}") from error
    locations: dict[str, SourceLocation] = {}
    mistakes = [*_mistakes_of_keys(content), *_locate(content, path.parent, locations)]
    if mistakes:
        raise ShopError(
            "; ".join(f"{_shown(path)}, line {line_of(lines, place)}: {message}" for place, message in mistakes)
        )
    return Shop(
        name=path.parent.name,
        folder=path.parent,
        sources={source: locations[source] for source in SOURCES if source in locations},
    )


#: A place in the file, and what is wrong there.
_Mistake = tuple[Place, str]


def _mistakes_of_keys(content: Any) -> Iterator[_Mistake]:
    if not isinstance(content, dict) or not isinstance(content.get("sources"), dict):
        yield (), f"it has no sources; write `sources:`, and below it `{REQUIRED}: {{connection: …, table: …}}`"
        return
    for key in content:
        if key != "sources":
            yield (key,), f"there is no setting {key}; the only one is sources"
    for source in content["sources"]:
        if source not in SOURCES:
            yield ("sources", source), f"there is no source {source}; {_nearest(source, SOURCES)}"
    if content["sources"].get(REQUIRED, ABSENT) == ABSENT:
        yield (
            ("sources", REQUIRED),
            f"{REQUIRED} cannot be absent, since every mart is made of orders; write where the orders are, "
            f"`{REQUIRED}: {{connection: shop_postgres, table: public.orders}}`",
        )


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
        return f"{source}: there is no setting {key}; {_nearest(key, ('connection', 'table', 'template', 'topic'))}"
    text = str(details["msg"]).removeprefix("Value error, ")
    return f"{source}: {text}" if not key or details["type"] == "value_error" else f"{source}.{key}: {text}"


def did_you_mean(word: Any, known: Collection[str]) -> str:
    """A hint at the known word that looks most like it; empty if none does."""
    # Above the usual 0.6: two names of files are alike by their `.csv` alone.
    near = difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=0.65)
    return f"did you mean {near[0]}?" if near else ""


def _nearest(word: Any, known: Collection[str]) -> str:
    """A hint at the known word that looks most like it, or at all of them."""
    return did_you_mean(word, known) or f"there are {', '.join(known)}"


def _shown(path: Path) -> str:
    """A path within the project as people write it."""
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
