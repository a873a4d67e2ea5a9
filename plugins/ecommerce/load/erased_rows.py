"""
Keeps customers who were erased (`ecommerce/erase`) from coming back: a load replaces what its source still says of
them.

The source still has the customer's key, name and e-mail address, and so has the topic. A load knows them by the salted
hashes in `ops.erased_value`, and replaces them where rows are staged, before they are compared with raw, which has the
replacements already. So a row of an erased customer that is read again is a row that has not changed.

Rows that are copied straight into raw are replaced there, in the same transaction. Only fingerprints are of what the
source has: a day of raw with an erased customer always differs from the source's, and its rows are compared one by one.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from psycopg import Connection, sql

from ecommerce.common.blanks import clean_text, cleaned
from ecommerce.common.errors import HalfErased
from ecommerce.common.sources import Erased, Source
from ecommerce.extract.texts import CUT

#: Kinds of `ops.erased_value`; a further kind is the name of a source, for the keys of its rows.
CUSTOMER, E_MAIL = "customer_id", "e_mail"
#: What stands for a name, an address or a whole text of a customer who was erased.
ERASED = "(erased)"

#: What an id or an e-mail address may be in a text.
_WORD = re.compile(r"[^\s\"'\\,;:(){}\[\]<>=&?/|]+")


def hash_of(text: sql.Composable, *, is_e_mail: bool = False) -> sql.Composed:
    """SQL: the salted hash of a key, or of an e-mail address, by its text; null if that is blank."""
    value: sql.Composable = cleaned(text)
    if is_e_mail:
        # Only of ASCII, which Python and every database do alike.
        value = sql.SQL('lower({} collate "C")').format(value)
    return sql.SQL("sha256((select salt from ops.erasure_salt) || convert_to({}, 'UTF8'))").format(value)


def is_anybody_erased(connection: Connection) -> bool:
    """Whether there is anything to replace."""
    return connection.execute("select exists (select from ops.erased_value)").fetchone() == (True,)


def fail_while_half_erased(connection: Connection) -> None:
    """
    Let nobody load or build after an erasure that was interrupted, until it has been started again.

    :raises HalfErased: raw may still have the key that a load would replace already
    """
    row = connection.execute("select min(erasure_id) from ops.erasure where erased_at is null").fetchone()
    if row and row[0] is not None:
        raise HalfErased(
            f"the erasure of a customer was interrupted (ops.erasure {row[0]}): start erase_customer again for the "
            "same customer; nothing is loaded or built before"
        )


def row_key(source: Source) -> str | None:
    """The key of a source whose rows may say something of a customer and not name the customer; None: no such rows."""
    names_customer = source.customer_column in (None, *source.key)
    return source.key[0] if source.emptied_columns and not names_customer and len(source.key) == 1 else None


def replace_erased(
    connection: Connection, source: Source, table: sql.Composable, inside: sql.Composable | None = None
) -> None:
    """
    Replace what a table has of customers who were erased.

    :param table: with the columns of the source: of staged texts, of accepted rows, or raw
    :param inside: condition on a row, under the alias `held`; None: all rows
    """
    if source.customer_column is None or not is_anybody_erased(connection):
        return
    customer = sql.Identifier(source.customer_column)
    emptied = [sql.SQL("{} = null").format(sql.Identifier(name)) for name in source.emptied_columns]
    of_customer = [sql.SQL("{} = erased.replacement").format(customer), *emptied]
    _update(connection, table, CUSTOMER, of_customer, hash_of(_held(source.customer_column)), inside)
    for column in source.columns:
        if column.erased is Erased.E_MAIL:
            empty = [sql.SQL("{} = null").format(sql.Identifier(column.name))]
            _update(connection, table, E_MAIL, empty, hash_of(_held(column.name), is_e_mail=True), inside)
    if key := row_key(source):
        _update(connection, table, source.name, emptied, hash_of(_held(key)), inside)


def _held(name: str) -> sql.Composed:
    return sql.SQL("{}::text").format(sql.Identifier("held", name))


def _update(
    connection: Connection,
    table: sql.Composable,
    kind: str,
    assignments: Sequence[sql.Composable],
    value_hash: sql.Composable,
    inside: sql.Composable | None,
) -> None:
    connection.execute(
        sql.SQL("""
            update {table} as held
            set {assignments}
            from ops.erased_value as erased
            where erased.kind = {kind} and erased.value_hash = {value_hash} and {inside}
        """).format(
            table=table,
            assignments=sql.SQL(", ").join(assignments),
            kind=sql.Literal(kind),
            value_hash=value_hash,
            inside=inside or sql.SQL("true"),
        )
    )


def replace_in_rejected_messages(connection: Connection, source: Source, stage: sql.Identifier) -> None:
    """
    Replace what the payloads of rejected messages have of customers who were erased, before they are stored.

    :param stage: the table of the staged rows
    """
    if source.customer_column is None or not is_anybody_erased(connection):
        return
    rows = connection.execute(
        sql.SQL("""
            select distinct _payload
            from {stage}
            where _rejection is not null and _payload is not null
        """).format(stage=stage)
    ).fetchall()
    values = ErasedValues.read(connection)
    for (text,) in rows:
        if (erased := values.message(source, json.loads(text))) is not None:
            connection.execute(
                sql.SQL("update {stage} set _payload = %s where _payload = %s").format(stage=stage),
                [json.dumps(erased), text],
            )


@dataclass(frozen=True)
class ErasedValues:
    """
    What was erased, for texts that are no columns: the content of rejected messages.

    :param replacements: hash of a customer's key → the key that takes its place
    :param e_mails: hashes of addresses
    """

    salt: bytes
    replacements: Mapping[bytes, str]
    e_mails: frozenset[bytes]

    @classmethod
    def read(cls, connection: Connection) -> ErasedValues:
        """All of the warehouse."""
        row = connection.execute("select salt from ops.erasure_salt").fetchone()
        values = connection.execute(
            "select kind, value_hash, replacement from ops.erased_value where kind = any(%s)", [[CUSTOMER, E_MAIL]]
        ).fetchall()
        return cls(
            salt=bytes(row[0]) if row else b"",
            replacements={bytes(value): replacement for kind, value, replacement in values if kind == CUSTOMER},
            e_mails=frozenset(bytes(value) for kind, value, _ in values if kind == E_MAIL),
        )

    def adding(self, keys: Mapping[str, str], e_mails: Sequence[str]) -> ErasedValues:
        """These values, and those of one customer more: each key with the one that takes its place."""
        return replace(
            self,
            replacements={**self.replacements, **{self._hash(key): new for key, new in keys.items()}},
            e_mails=self.e_mails | {self._hash(in_lower_case(address)) for address in e_mails},
        )

    def message(self, source: Source, payload: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        The payload of a rejected message without the customer; None if it names nobody who was erased.

        Of a message that does, only its place and the columns of the registry are kept: the rest may be anything.
        """
        texts = [text for part in ("key", "value", "headers") for text in _texts(payload.get(part))]
        content: Any = payload.get("content")
        document = content if isinstance(content, dict) else _document(payload.get("value"))
        texts += [text for text in (document or {}).values() if isinstance(text, str)]
        is_named = any(map(self._names, texts)) or any(self._customer(value) for value in _numbers(source, document))
        if not is_named:
            return None
        kept = {name: payload[name] for name in ("topic", "partition", "offset", "published_at") if name in payload}
        kept["key"] = " ".join(map(self._text, _texts(payload.get("key"))))
        kept["value"] = ERASED if document is None else json.dumps(self.columns(source, document))
        if isinstance(content, dict):
            # Of bytes, and of a row with further columns, only what was read of them is kept.
            emptied = dict.fromkeys(source.emptied_columns)
            kept |= {"key": ERASED, "value": ERASED, "content": self.columns(source, content) | emptied}
        return kept

    def columns(self, source: Source, document: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of the registry that a message's value has, without the customer."""
        return {
            column.name: self._field(document[column.name], is_customer=column.erased is Erased.KEY)
            for column in source.columns
            if column.name in document
        }

    def _field(self, value: Any, *, is_customer: bool) -> Any:
        if is_customer and isinstance(value, int):
            return self._customer(str(value)) or value
        if isinstance(value, (dict, list)):
            return ERASED
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        """A text without keys of customers and addresses; one that is a key becomes the other key."""
        return self._customer(text) or _WORD.sub(lambda word: ERASED if self._is_erased(word[0]) else word[0], text)

    def _names(self, text: str) -> bool:
        return self._customer(text) is not None or any(self._is_erased(word) for word in _WORD.findall(text))

    def _is_erased(self, word: str) -> bool:
        if word.isdecimal():
            # A number in a text may be anything.
            return False
        return self._customer(word) is not None or self._hash(in_lower_case(word)) in self.e_mails

    def _customer(self, text: str) -> str | None:
        cleaned_text = clean_text(text)
        return self.replacements.get(self._hash(cleaned_text)) if cleaned_text else None

    def _hash(self, text: str) -> bytes:
        return sha256(self.salt + text.encode("utf-8", "surrogatepass")).digest()


#: The letters of ASCII, which every database and Python write in lower case alike.
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def in_lower_case(address: str) -> str:
    """An e-mail address as its hash has it."""
    return address.translate(_LOWER)


def _texts(part: Any) -> list[str]:
    """The texts in a part of a message, as `extract.texts.kept` has stored it."""
    match part:
        case str():
            return [part]
        case {"base64": str(encoded)}:
            return [base64.b64decode(encoded).decode(errors="replace")]
        case list():
            return [text for each in part for text in _texts(each)]
        case dict():
            return _texts(part.get(CUT))
    return []


def _document(value: Any) -> Mapping[str, Any] | None:
    """A message's value, if it is a JSON object."""
    try:
        document = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _numbers(source: Source, document: Mapping[str, Any] | None) -> list[str]:
    """The customer of a message that has a number in the place of a text."""
    value = (document or {}).get(source.customer_column or "")
    return [str(value)] if isinstance(value, int) else []
