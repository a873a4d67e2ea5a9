"""What of a source's bytes and texts Postgres can store."""

from __future__ import annotations

import base64
from typing import Any


def storable(text: str) -> bool:
    """False with a NUL, or with lone surrogates, which JSON can spell but UTF-8 cannot."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def readable(value: str | bytes | None) -> Any:
    """Bytes as text where Postgres can store it, otherwise as base64, so that nothing of a refused message is lost."""
    if value is None or isinstance(value, str):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
    return text if storable(text) else {"base64": base64.b64encode(value).decode()}
