"""
What counts as white space at the ends of keys and texts: one definition, in Python and as SQL.

In the warehouse Postgres knows it by the function `ops.clean_text` (`include/sql/ops.sql`), which gets the characters
from here. A source does not have the function, so there the same expression is written out.
"""

from __future__ import annotations

import codecs
from contextlib import suppress

from psycopg import sql

#: Unicode's white space (property White_Space, which includes the no-break space) …
_WHITE_SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
#: … and format characters that take no room: zero-width ones, marks of direction, the byte order mark.
_ZERO_WIDTH = (
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f\ufeff"
)
BLANKS = _WHITE_SPACE + _ZERO_WIDTH

#: The same as a literal of SQL, in plain ASCII.
BLANKS_LITERAL = "U&'" + "".join(f"\\{ord(character):04X}" for character in BLANKS) + "'"

#: Of ASCII alone, with a visible character at both ends: so are nearly all texts, and that is cheaper than to trim.
#: Only in UTF-8 have other texts more bytes than characters.
_IS_PLAIN_IN_UTF8 = sql.SQL("""(
    octet_length({text}) = length({text})
    and {text} collate "C" >= '!' and right({text}, 1) collate "C" >= '!'
)""")
#: Begins and ends with a visible character of ASCII, in any encoding.
_IS_PLAIN = sql.SQL("""(
    {text} collate "C" >= '!' and {text} collate "C" < chr(127)
    and right({text}, 1) collate "C" >= '!' and right({text}, 1) collate "C" < chr(127)
)""")


def clean_text(text: str) -> str | None:
    """A text without blanks at its ends; None if nothing is left."""
    return text.strip(BLANKS) or None


def cleaned(text: sql.Composable) -> sql.Composed:
    """SQL of the same in the warehouse."""
    return sql.SQL("ops.clean_text({})").format(text)


def blanks_in(encoding: str) -> str | None:
    """
    The blanks that a database of this encoding can have.

    None: it cannot tell, as it does not know its texts' characters (SQL_ASCII), or Python does not know the encoding.
    """
    if encoding == "UTF8":
        return BLANKS
    with suppress(LookupError):
        codec = codecs.lookup(encoding.replace("WIN", "cp"))
        return "".join(blank for blank in BLANKS if codec.encode(blank, "ignore")[0])
    return None


def trimmed_at_source(text: sql.Composable, encoding: str) -> sql.Composed:
    """
    SQL of a source's text without blanks at its ends.

    Where the source `cannot tell`, only the blanks of ASCII are gone.
    """
    plain = _IS_PLAIN_IN_UTF8 if encoding == "UTF8" else _IS_PLAIN
    return sql.SQL("case when {plain} then {text} else btrim({text}, {blanks}) end").format(
        plain=plain.format(text=text), text=text, blanks=_literal(encoding)
    )


def is_trimmed_at_source(text: sql.Composable, encoding: str) -> sql.Composable:
    """Condition: `trimmed_at_source` takes all blanks from the ends of a source's text."""
    return _IS_PLAIN.format(text=text) if blanks_in(encoding) is None else sql.SQL("true")


def is_not_blank(text: sql.Composable, encoding: str = "UTF8") -> sql.Composed:
    """Condition in any database: something of a text is visible."""
    return sql.SQL("""(
        ({text} collate "C" >= '!' and {text} collate "C" < chr(127)) or btrim({text}, {blanks}) <> ''
    )""").format(text=text, blanks=_literal(encoding))


def _literal(encoding: str) -> sql.Composable:
    blanks = blanks_in(encoding)
    if blanks == BLANKS:
        return sql.SQL(BLANKS_LITERAL)
    return sql.Literal(blanks or "".join(filter(str.isascii, BLANKS)))
