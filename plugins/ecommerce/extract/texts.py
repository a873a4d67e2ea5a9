"""Finds texts that Postgres cannot store, and encodes them so that nothing is lost."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from psycopg import sql

#: UTF-8 (RFC 3629, section 4) for a regular expression that takes each byte for a character.
_UTF8 = (
    r"^([\x01-\x7F]|[\xC2-\xDF][\x80-\xBF]|\xE0[\xA0-\xBF][\x80-\xBF]|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}"
    r"|\xED[\x80-\x9F][\x80-\xBF]|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}"
    r"|\xF4[\x80-\x8F][\x80-\xBF]{2})*$"
)

#: Bytes that are kept of a value that is too long, and the name of the field that has them.
KEPT_OF_LONG, CUT = 1_000, "cut"


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


def kept(value: str | bytes | None, most: int) -> Any:
    """
    What the quarantine keeps of a text or of bytes: all of it, as `readable` has it, up to ``most`` bytes.

    Of a longer one its beginning, its length in bytes, and its SHA-256.
    """
    content = value.encode(errors="surrogatepass") if isinstance(value, str) else value
    if content is None or len(content) <= most:
        return readable(value)
    beginning = content[:KEPT_OF_LONG].decode(errors="replace").replace("\0", "\ufffd")
    return {CUT: beginning, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def is_cut(value: Any) -> bool:
    """Whether `kept` has cut this value."""
    return isinstance(value, Mapping) and CUT in value


def is_utf8(value: sql.Composable) -> sql.Composed:
    """Condition: a value of a database that does not check its bytes (encoding SQL_ASCII) is UTF-8, or null."""
    return sql.SQL("({value} is null or {value}::text ~ {utf8})").format(value=value, utf8=sql.Literal(_UTF8))


def escaped(value: sql.Composable) -> sql.Composed:
    r"""A value of such a database as text, each byte beyond ASCII as ``\ooo`` and a backslash as two."""
    return sql.SQL("encode(convert_to({}::text, 'SQL_ASCII'), 'escape')").format(value)
