"""Split SQL into tokens, with the clause in which each one stands; comments, Jinja and placeholders are no SQL."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlfluff.core import Lexer


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


#: Words that begin a clause, and words that cannot be the name of anything.
_CLAUSES = words(
    "select from where on having group order set values returning limit offset with insert update delete merge "
    "when then else using join window return index grant revoke over filter"
)
KEYWORDS = _CLAUSES | words(
    "and or not in is null as by case end between distinct all any exists union left inner cross full right "
    "lateral like ilike asc desc nulls first last into interval partition rows range for if loop begin do to "
    "true false array execute create alter drop default check unique references primary table view function"
)
#: Two tokens that touch are one operator if both are of these characters.
_OPERATOR = re.compile(r"[<>=!|*+/:@#&?~^-]+")

#: What is no SQL in a file of dbt: comments and blocks become blanks, an expression becomes a name.
_JINJA = re.compile(r"(\{#.*?#\}|\{%.*?%\})|\{\{.*?\}\}", re.DOTALL)
#: What is no SQL in a text of Python: `%%` becomes blanks; the other placeholders become names.
_PLACEHOLDERS = re.compile(r"(%%|\{\{|\}\})|\{[^{}]*\}|%\([^)]*\)[sbt]|%[sbt]")
#: The quotes of a function's body, which is SQL as well, and the placeholders of `format`.
_BODY = re.compile(r"(\$\w*\$)|%\d*\$?[sIL]\b")


@dataclass(frozen=True)
class Token:
    """
    A token of SQL.

    :param kind: ``word``, ``number``, ``string``, ``symbol``, or ``masked`` for Jinja or a placeholder
    :param text: in lower case
    :param start: its place in the whole text, and `end`
    :param level: in how many brackets and `case` it stands
    :param clause: the word that began the clause in which it stands, such as `where`
    :param opened_by: the word before the bracket in which it stands, such as `coalesce`
    """

    kind: str
    text: str
    start: int
    end: int
    level: int
    clause: str
    opened_by: str

    @property
    def is_name(self) -> bool:
        return self.kind == "masked" or (self.kind == "word" and self.text not in KEYWORDS)

    @property
    def is_operand(self) -> bool:
        return self.is_name or self.kind in ("number", "string") or self.text in ("null", "end")


def tokens_of_dbt(text: str) -> list[Token]:
    """The tokens of a model or macro of dbt."""
    return _tokens(text, _JINJA)


def tokens_of_ddl(text: str) -> list[Token]:
    """The tokens of a file of ``include/sql``; the bodies of functions and of `do` are SQL, too."""
    return _tokens(text, _BODY)


def tokens_of_query(text: str) -> list[Token]:
    """The tokens of a query in a text of Python."""
    return _tokens(text, _PLACEHOLDERS)


def bodies(text: str) -> Callable[[int], bool]:
    """Whether a place lies in the body of a function or of `do`, where a statement may be `null`."""
    borders = [match.start() for match in re.finditer(r"\$\w*\$", text)]
    return lambda place: bisect_right(borders, place) % 2 == 1


def _tokens(text: str, no_sql: re.Pattern[str]) -> list[Token]:
    names = [match.start() for match in no_sql.finditer(text) if match.group(1) is None]
    masked = no_sql.sub(lambda found: _mask(found.group(), bool(found.group(1))), text)
    return list(_with_clauses(list(_merged(masked, set(names)))))


def _mask(text: str, is_blank: bool) -> str:
    """A text of the same length; the lines of comments stay, since a comment of SQL ends with its line."""
    if is_blank:
        return re.sub(r"[^\n]", " ", text)
    return "q" + "_" * (len(text) - 1)


@cache
def _lexer() -> Any:
    return Lexer(dialect="postgres")


def _merged(text: str, names: set[int]) -> Iterator[Token]:
    """Kind, text and place of each token; sqlfluff has each character of an operator as a token of its own."""
    waiting: Token | None = None
    for segment in _lexer().lex(text)[0]:
        if not segment.raw or segment.is_type("whitespace", "newline", "comment"):
            continue
        start = segment.pos_marker.source_slice.start if segment.pos_marker else 0
        token = Token(
            _kind(segment.raw, start in names), segment.raw.lower(), start, start + len(segment.raw), 0, "", ""
        )
        if waiting and waiting.end == start and _OPERATOR.fullmatch(waiting.text + token.text):
            waiting = Token("symbol", waiting.text + token.text, waiting.start, token.end, 0, "", "")
            continue
        if waiting:
            yield waiting
        waiting = token
    if waiting:
        yield waiting


def _kind(raw: str, is_name: bool) -> str:
    if is_name:
        return "masked"
    if raw[0] in "'$":
        return "string"
    if raw[0].isdigit() or (raw[0] == "." and len(raw) > 1):
        return "number"
    return "word" if raw[0].isalpha() or raw[0] in '_"' else "symbol"


def _with_clauses(tokens: list[Token]) -> Iterator[Token]:
    """Add level and clause: each bracket and each `case` has clauses of its own."""
    frames: list[tuple[str, str]] = [("", "")]  # (opened by, clause)
    before = ""
    for token in tokens:
        if token.text == ")" or (token.text == "end" and frames[-1][0] == "case"):
            frames = frames[:-1] or [("", "")]
        elif token.text == ";":
            frames = [("", "")]
        elif token.kind == "word" and token.text in _CLAUSES:
            frames[-1] = (frames[-1][0], token.text)
        opened_by, clause = frames[-1]
        yield Token(token.kind, token.text, token.start, token.end, len(frames) - 1, clause, opened_by)
        if token.text in ("(", "case"):
            frames.append((before if token.text == "(" else "case", ""))
        before = token.text
