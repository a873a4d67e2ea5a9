"""Who is to be erased: the customer's keys, names and addresses, and how a text names the customer."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from psycopg import Connection, sql

from ecommerce.common.blanks import clean_text, cleaned
from ecommerce.common.errors import ErasureError
from ecommerce.common.sources import SOURCES, Erased, Source, WriteDisposition
from ecommerce.load.erased_rows import CUSTOMER, E_MAIL, ERASED, hash_of, in_lower_case, row_key

#: The letters and digits that a word consists of, for a character class of Postgres and of Python alike.
_WORD = "0-9A-Za-z\u00c0-\u04ff"

#: A shorter name is no name that could be looked for in a text.
_SHORTEST_NAME = 3


class Mention(NamedTuple):
    r"""
    How a text names the customer.

    :param pattern: of Postgres and of Python alike
    :param pattern_in_json: the same in the text of a JSON value
    :param replacement: what takes the place of a match, or where ``keeps_group``, of what follows its first group
    """

    pattern: str
    pattern_in_json: str
    replacement: str
    keeps_group: bool = False

    @property
    def substitute(self) -> str:
        """What `regexp_replace` and Python's `sub` put in the place of a match."""
        return rf"\1{self.replacement}" if self.keeps_group else self.replacement

    @property
    def patterns_in_files(self) -> list[bytes]:
        """Of bytes, also with letters as JSON may spell them; the last group, if there is one, is what is replaced."""
        patterns = {self.pattern, self.pattern_in_json}
        patterns |= {_in_ascii(pattern) for pattern in patterns}
        return sorted(pattern.replace(_WORD, "0-9A-Za-z").encode() for pattern in patterns)


def _in_ascii(pattern: str) -> str:
    kept = pattern.split(_WORD)
    escaped = [re.sub(r"[^\x00-\x7f]", lambda letter: re.escape(json.dumps(letter[0])[1:-1]), part) for part in kept]
    return _WORD.join(escaped)


@dataclass(frozen=True)
class Person:
    """
    A customer, who may have several keys.

    :param keys: key → the random one that takes its place
    :param rows: source → keys of rows that say something of the customer without naming the customer
    """

    keys: Mapping[str, str]
    names: Sequence[str] = ()
    e_mails: Sequence[str] = ()
    rows: Mapping[str, Sequence[str]] | None = None

    @property
    def mentions(self) -> list[Mention]:
        """How texts name the customer, the longest first: a name may begin with another one."""
        of_keys = [mention for key, new in self.keys.items() for mention in _mentions_of_key(key, new)]
        texts = sorted({*self.names, *self.e_mails}, key=lambda text: (-len(text), text))
        return [*(_mention(text, ERASED, "(?i)") for text in texts), *of_keys]


def _mentions_of_key(key: str, new: str) -> Iterator[Mention]:
    if not key.isdecimal():
        yield _mention(key, new)
        return
    # A number may be anything: it counts only where a customer is spoken of.
    number = f"({key})(?![{_WORD}])"
    spoken, spoken_in_json = f"[^{_WORD}]{{1,6}}", "[ #=]{1,3}"
    yield Mention(
        f"([Cc]ustomer(?:[_ ]?(?:id|ID))?{spoken}){number}",
        f"([Cc]ustomer(?:[_ ]?(?:id|ID))?{spoken_in_json}){number}",
        new,
        keeps_group=True,
    )
    field = f'("customer(?:_id)?": ?")({key})(?=")'
    yield Mention(field, field, new, keeps_group=True)


def _mention(text: str, replacement: str, flags: str = "") -> Mention:
    in_json = json.dumps(text, ensure_ascii=False)[1:-1]
    return Mention(_whole_word(text, flags), _whole_word(in_json, flags), replacement)


def _whole_word(text: str, flags: str) -> str:
    escaped = re.sub(r"([^\w\s])", r"\\\1", text)
    in_one_line = re.sub(r"\s+", lambda _: r"\s+", escaped)
    return f"{flags}(?<![{_WORD}]){in_one_line}(?![{_WORD}])"


def find_person(connection: Connection, customer: str) -> Person:
    """
    The customer with this key, or all with this e-mail address, as raw has them; with new keys, nothing is stored.

    Who was erased before is found again by the hashes, with the keys that were given then.

    :raises ErasureError: the warehouse has nobody like that, and has erased nobody like that
    """
    text = clean_text(customer)
    if text is None:
        raise ErasureError("say which customer: a customer_id, or an e-mail address")
    if _is_replacement(connection, text):
        raise ErasureError("this is the key of a customer who was erased already")
    found = _keys_in_raw(connection, text)
    known = _erased_before(connection, [*found, text])
    keys = {key: known.get(key) or f"erased-{secrets.token_hex(8)}" for key in {*found, *known}}
    is_e_mail = "@" in text
    names, e_mails = _names_and_addresses(connection, [*keys, *keys.values()])
    # What another customer has as well stays that one's: loads would take it away.
    own = {*keys, *keys.values()}
    e_mails = [address for address in e_mails if own.issuperset(_keys_in_raw(connection, address))]
    if not keys and not (is_e_mail and _is_erased_address(connection, text)):
        raise ErasureError(
            "the warehouse has no customer with this key or e-mail address, and has erased none; keys are those of "
            "customer_segments"
        )
    return Person(
        keys=keys,
        names=[name for name in names if len(name) >= _SHORTEST_NAME],
        e_mails=sorted({*e_mails, *([text] if is_e_mail else [])}),
        rows={source.name: _rows_without_name(connection, source, list(keys)) for source in SOURCES.values()
              if row_key(source)},
    )  # fmt: skip


def _keys_in_raw(connection: Connection, text: str) -> list[str]:
    """The text, if raw has it as a customer's key; and the keys of customers with this e-mail address."""
    queries: list[sql.Composed] = []
    for source in SOURCES.values():
        if source.customer_column is None:
            continue
        raw, key = sql.Identifier("raw", source.all_rows), cleaned(sql.Identifier(source.customer_column))
        queries.append(sql.SQL("select {key} from {raw} where {key} = %(text)s").format(key=key, raw=raw))
        for column in source.columns:
            if column.erased is Erased.E_MAIL:
                address = sql.SQL('lower({} collate "C")').format(cleaned(sql.Identifier(column.name)))
                queries.append(
                    sql.SQL("select {key} from {raw} where {address} = %(address)s").format(
                        key=key, raw=raw, address=address
                    )
                )
        if source.write_disposition is not WriteDisposition.APPEND:
            queries.append(_keys_in_quarantine(source))
    query = sql.SQL(" union ").join(queries)
    return [key for (key,) in connection.execute(query, {"text": text, "address": in_lower_case(text)})]


def _keys_in_quarantine(source: Source) -> sql.Composed:
    """As in raw: a customer may be known by rejected rows alone."""

    def held(name: str | None) -> sql.Composable:
        return cleaned(sql.SQL("(payload ->> {})").format(sql.Literal(name)))

    key = held(source.customer_column)
    tests: list[sql.Composable] = [sql.SQL("{} = %(text)s").format(key)]
    tests += [
        sql.SQL('lower({} collate "C") = %(address)s').format(held(column.name))
        for column in source.columns
        if column.erased is Erased.E_MAIL
    ]
    return sql.SQL(
        "select {key} from ops.quarantine where source = {source} and {key} is not null and ({tests})"
    ).format(key=key, source=sql.Literal(source.name), tests=sql.SQL(" or ").join(tests))


def _erased_before(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    """Those of the keys that were erased → the keys that took their places."""
    rows = connection.execute(
        sql.SQL("""
            select key, erased.replacement
            from unnest(%s::text[]) as key
            inner join ops.erased_value as erased
                on erased.kind = {kind} and erased.value_hash = {value_hash}
        """).format(kind=sql.Literal(CUSTOMER), value_hash=hash_of(sql.Identifier("key"))),
        [list(keys)],
    ).fetchall()
    return dict(rows)


def _is_replacement(connection: Connection, key: str) -> bool:
    row = connection.execute("select exists (select from ops.erased_value where replacement = %s)", [key]).fetchone()
    return row == (True,)


def _is_erased_address(connection: Connection, address: str) -> bool:
    row = connection.execute(
        sql.SQL("select exists (select from ops.erased_value where kind = {} and value_hash = {})").format(
            sql.Literal(E_MAIL), hash_of(sql.Literal(address), is_e_mail=True)
        )
    ).fetchone()
    return row == (True,)


def _names_and_addresses(connection: Connection, keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """What all versions of the customers have in columns that an erasure empties: what is no address, and addresses."""
    names: set[str] = set()
    addresses: set[str] = set()
    for source in SOURCES.values():
        if source.customer_column not in source.key:
            continue
        for column in source.columns:
            if column.erased not in (Erased.EMPTIED, Erased.E_MAIL):
                continue
            values = connection.execute(
                sql.SQL("select distinct {value} from {raw} where {key} = any(%s) and {value} is not null").format(
                    value=cleaned(sql.SQL("{}::text").format(sql.Identifier(column.name))),
                    raw=sql.Identifier("raw", source.name),
                    key=cleaned(sql.Identifier(str(source.customer_column))),
                ),
                [list(keys)],
            )
            (addresses if column.erased is Erased.E_MAIL else names).update(value for (value,) in values)
    return sorted(names), sorted(addresses)


def _rows_without_name(connection: Connection, source: Source, keys: Sequence[str]) -> list[str]:
    """Keys of the rows of a source, such as refunds, that are of the customer's orders, whoever they name."""
    key = row_key(source)
    rows = connection.execute(
        sql.SQL("""
            select distinct {key}
            from {raw} as held
            where
                {customer} = any(%(keys)s)
                or {order_id} = any(array(
                    select ops.clean_text(order_id)
                    from raw.sales_fact
                    where ops.clean_text(customer_id) = any(%(keys)s)
                ))
        """).format(
            key=cleaned(sql.Identifier(str(key))),
            raw=sql.Identifier("raw", source.name),
            customer=cleaned(sql.Identifier(str(source.customer_column))),
            order_id=cleaned(sql.Identifier("held", "order_id")),
        ),
        {"keys": list(keys)},
    ).fetchall()
    return sorted(row_id for (row_id,) in rows)


def remember(connection: Connection, person: Person, erasure_id: int) -> None:
    """Store the hashes, so that no load brings the customer back from now on."""
    values = [
        *((CUSTOMER, key, new) for key, new in person.keys.items()),
        *((E_MAIL, address, None) for address in person.e_mails),
        *((source, row, None) for source, rows in (person.rows or {}).items() for row in rows),
    ]
    for kind, value, replacement in values:
        connection.execute(
            sql.SQL("""
                insert into ops.erased_value (kind, value_hash, replacement, erasure_id)
                values (%s, {value_hash}, %s, %s)
                on conflict do nothing
            """).format(value_hash=hash_of(sql.SQL("%s"), is_e_mail=kind == E_MAIL)),
            [kind, value, replacement, erasure_id],
        )
