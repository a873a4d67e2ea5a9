"""Rejected rows in quarantine, without a customer: as a load would store them that reads them again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection

from ecommerce.common.blanks import clean_text
from ecommerce.common.sources import SOURCES, Erased, Source, WriteDisposition
from ecommerce.erase.person import Person
from ecommerce.erase.receipt import Counts
from ecommerce.load.erased_rows import ErasedValues, in_lower_case, row_key

#: Rows that are read at a time: a payload can have a megabyte.
_AT_A_TIME = 500


def erase_payloads(connection: Connection, person: Person, values: ErasedValues, *, dry_run: bool) -> Counts:
    """
    Take the customer out of all payloads and corrections; what was replaced.

    :param values: all that was erased, this customer included
    """
    counts: Counts = {}
    sources = [source.name for source in SOURCES.values() if source.customer_column]
    with connection.cursor("payloads") as cursor:
        cursor.execute(
            """
            select quarantine_id, source, payload::text, corrected::text
            from ops.quarantine
            where source = any(%s)
            """,
            [sources],
        )
        changed: list[tuple[str, str | None, int]] = []
        while rows := cursor.fetchmany(_AT_A_TIME):
            for quarantine_id, source, payload, corrected in rows:
                new_payload = _payload(SOURCES[source], json.loads(payload), person, values)
                new_corrected = _corrected(SOURCES[source], corrected, person, values)
                for name, new in (("payload", new_payload), ("corrected", new_corrected)):
                    if new is not None:
                        counts[f"ops.quarantine.{name}"] = counts.get(f"ops.quarantine.{name}", 0) + 1
                if new_payload is not None or new_corrected is not None:
                    changed.append((new_payload or payload, new_corrected or corrected, quarantine_id))
    if not dry_run and changed:
        with connection.cursor() as cursor:
            cursor.executemany(
                "update ops.quarantine set payload = %s::jsonb, corrected = %s::jsonb where quarantine_id = %s", changed
            )
    return counts


def _payload(source: Source, payload: Any, person: Person, values: ErasedValues) -> str | None:
    """The payload without the customer, as JSON; None if it does not have the customer."""
    if not isinstance(payload, Mapping):
        erased: Any = payload
    elif source.write_disposition is WriteDisposition.APPEND or _is_message(payload):
        erased = values.message(source, payload) or payload
    else:
        erased = _row(source, payload, person)
    return _if_changed(payload, _without_names(erased, person))


def _is_message(payload: Mapping[str, Any]) -> bool:
    """Whether it is a message and no row: a source may be read from a table and, later, from a topic of its changes."""
    return {"topic", "partition", "offset"} <= payload.keys()


def _corrected(source: Source, corrected: str | None, person: Person, values: ErasedValues) -> str | None:
    document: Any = json.loads(corrected) if corrected else None
    erased = document
    if isinstance(document, dict):
        columns = values.columns(source, document)
        if columns != {name: document[name] for name in columns}:
            # Its further fields may be anything.
            erased = columns
    return _if_changed(document, _without_names(erased, person))


def _if_changed(before: Any, after: Any) -> str | None:
    return None if before == after else json.dumps(after)


def _row(source: Source, payload: Mapping[str, Any], person: Person) -> Mapping[str, Any]:
    """A rejected row of a table; its columns are texts."""
    key = clean_text(str(payload.get(source.customer_column or "") or ""))
    row = clean_text(str(payload.get(row_key(source) or "") or ""))
    is_theirs = key in person.keys or row in (person.rows or {}).get(source.name, ())
    erased = dict(payload)
    for column in source.columns:
        if column.name not in payload:
            continue
        if column.erased is Erased.KEY and key and key in person.keys:
            erased[column.name] = person.keys[key]
        elif column.erased not in (None, Erased.KEY) and (
            is_theirs or (column.erased is Erased.E_MAIL and _is_address(payload[column.name], person.e_mails))
        ):
            erased[column.name] = None
    return erased


def _is_address(value: Any, e_mails: Sequence[str]) -> bool:
    address = clean_text(str(value or ""))
    return address is not None and in_lower_case(address) in map(in_lower_case, e_mails)


def _without_names(value: Any, person: Person) -> Any:
    """The same value, with the customer's names, addresses and keys replaced in each text of it."""
    match value:
        case str():
            for mention in person.mentions:
                value = re.sub(mention.pattern, mention.substitute, value)
            return value
        case dict():
            return {name: _without_names(part, person) for name, part in value.items()}
        case list():
            return [_without_names(part, person) for part in value]
    return value
