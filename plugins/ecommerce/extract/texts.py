"""Finds texts that Postgres cannot store, and encodes them so that nothing is lost."""

from __future__ import annotations

import base64
from typing import Any

from psycopg import sql

#: UTF-8 (RFC 3629, section 4) for a regular expression that takes each byte for a character.
_UTF8 = (
    r"^([\x01-\x7F]|[\xC2-\xDF][\x80-\xBF]|\xE0[\xA0-\xBF][\x80-\xBF]|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}"
    r"|\xED[\x80-\x9F][\x80-\xBF]|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}"
    r"|\xF4[\x80-\x8F][\x80-\xBF]{2})*$"
)


def storable(text: str) -> bool:
    """False with a NUL, or with lone surrogates, which JSON can spell but UTF-8 cannot."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def readable(value: str | bytes | None) -> Any:
    """Bytes as text if Postgres can store it, otherwise as base64: a rejected message is kept whole."""
    if value is None or isinstance(value, str):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
    return text if storable(text) else {"base64": base64.b64encode(value).decode()}


def is_utf8(value: sql.Composable) -> sql.Composed:
    """Condition: a value of a database that does not check its bytes (encoding SQL_ASCII) is UTF-8, or null."""
    return sql.SQL("({value} is null or {value}::text ~ {utf8})").format(value=value, utf8=sql.Literal(_UTF8))


def escaped(value: sql.Composable) -> sql.Composed:
    r"""A value of such a database as text, each byte beyond ASCII as ``\ooo`` and a backslash as two."""
    return sql.SQL("encode(convert_to({}::text, 'SQL_ASCII'), 'escape')").format(value)
