"""
Texts of a shop or a server in sentences for people: one line of limited length, and text wherever it is shown.

A customer, a product or a server may be called whatever somebody has typed. In Markdown such a name could be a heading,
a link, or an image that the reader's browser fetches; in a chat it could call everybody. So each place where a text
leaves the project has its function here: Airflow's Markdown, a chat, and the HTML of an e-mail.

No sentence has an e-mail address, wherever in the shop somebody has typed it: logs, notes and the audit are read by
more people than customers' data.
"""

from __future__ import annotations

import re
from html import escape

from psycopg import sql

#: Characters of a value in a sentence, and of a sentence.
VALUE_LENGTH, SENTENCE_LENGTH = 100, 1_500

#: What an e-mail address consists of, also a misspelled one, as a regular expression of Python and of Postgres; and
#: what stands in its place.
ADDRESS_PART, HIDDEN = r"[^\s@<>()\[\],;:\"'|\\]+", "…@…"
_E_MAIL = re.compile(rf"(?<!{ADDRESS_PART[:-1]}){ADDRESS_PART}@+{ADDRESS_PART}")
#: Where Postgres quotes values: of a row that breaks a constraint all, of a line of COPY the line or a column of it.
_ROW_OF_POSTGRES = re.compile(r"(Failing row contains )\(.*\)", re.DOTALL)
_LINE_OF_POSTGRES = re.compile(r"(COPY \w+, line \d+(?:, column \w+)?): .*")

#: Services make links of addresses even where all Markdown is escaped, and call who stands behind an @: the character
#: that makes an address is replaced by its wide form, which reads the same.
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.|@", re.IGNORECASE)
_WIDE = {character: chr(ord(character) + 0xFEE0) for character in "!#*+-.:=@[\\]`|~_"}

#: Whatever CommonMark, or GitHub's extension of it, takes for markup. An underscore within a word is none.
_MARKUP = re.compile(r"[\\`*\[\]<>&#|~!$]|(?<![^\W_])_+|_+(?![^\W_])")
_ESCAPED = re.compile(r"\\([^\w\s]|_)")
#: What makes a list, a quotation or a heading of a line that begins with it.
_LINE_START = re.compile(r"^(\d{1,9}(?=[.)](?: |$)))?([-+=.)])")
#: The same in a chat, where a backslash would be seen; `<`, `>` and `&` are escaped as HTML.
_CHAT_MARKUP = re.compile(r"[\\`*\[\]#|~]|(?<![^\W_])_+|_+(?![^\W_])|^[-+=]")


def one_line(text: object, most: int = VALUE_LENGTH) -> str:
    """
    A text on one line, with blanks for control characters and for those that nobody sees, and without e-mail addresses.

    :param most: characters; of a longer text the beginning, with `…` at its end
    """
    whole = str(text)
    # Blanks are joined to one: enough of a text that has many, and little of one that has millions of characters.
    begun = whole[: 4 * most]
    visible = "".join(character if character.isprintable() else " " for character in begun)
    line = without_e_mails(" ".join(visible.split()))
    return line if len(line) <= most and len(begun) == len(whole) else f"{line[: most - 1]}…"


def without_e_mails(text: str) -> str:
    """A text with `…@…` for each e-mail address in it."""
    return _E_MAIL.sub(HIDDEN, text) if "@" in text else text


def without_e_mails_in_sql(text: sql.Composable) -> sql.Composed:
    """As `without_e_mails`, as SQL."""
    return sql.SQL("regexp_replace({}, {}, {}, 'g')").format(
        text, sql.Literal(f"{ADDRESS_PART}@+{ADDRESS_PART}"), sql.Literal(HIDDEN)
    )


def without_values(error: object) -> str:
    """What a database says of an error, without the values of the row that it is about."""
    text = _ROW_OF_POSTGRES.sub(r"\1(not shown)", str(error))
    return without_e_mails(_LINE_OF_POSTGRES.sub(r"\1", text))


def markdown_text(text: object, most: int = SENTENCE_LENGTH) -> str:
    """A text as Markdown that shows it as it is, also in a cell of a table."""
    line = _without_addresses(one_line(text, most))
    escaped = _MARKUP.sub(lambda found: "".join(f"\\{character}" for character in found[0]), line)
    return _LINE_START.sub(r"\1\\\2", escaped)


def plain_text(markdown: str) -> str:
    """What a reader sees of `markdown_text`, for a terminal."""
    return _ESCAPED.sub(r"\1", markdown)


def chat_text(text: object, most: int = SENTENCE_LENGTH) -> str:
    """
    A text for a chat such as Slack or Mattermost: no markup, no link, and nobody is called.

    Slack requires `<`, `>` and `&` as HTML has them, and knows no escape for the rest: it is replaced by wide forms.
    """
    line = _without_addresses(one_line(text, most))
    return escape(_CHAT_MARKUP.sub(_widened, line), quote=False)


def html_text(text: object, most: int = SENTENCE_LENGTH) -> str:
    """A text for an e-mail in HTML, of which no mail program makes a link."""
    return escape(_without_addresses(one_line(text, most)))


def _without_addresses(line: str) -> str:
    return _ADDRESS.sub(_widened, line)


def _widened(found: re.Match[str]) -> str:
    return "".join(_WIDE[character] for character in found[0])
