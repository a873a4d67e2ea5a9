"""
The mistakes of SQL: what a person writes who takes the wrong comparison, join, aggregate, bound, constraint or grant.

Each operator is a function: given the tokens and a place among them, it says which part of the text becomes what. A
mutant stays valid SQL wherever the tokens can tell, since one that no database runs is caught by every test.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.mutants import sql_tokens
from tests.mutants.sql_tokens import Token, words


@dataclass(frozen=True)
class Edit:
    """A mistake: the part of the text from `start` to `end` is replaced."""

    operator: str
    start: int
    end: int
    replacement: str


@dataclass(frozen=True)
class Script:
    """A text of SQL with its tokens."""

    text: str
    tokens: list[Token]
    is_in_body: Callable[[int], bool] = lambda place: False

    def token(self, place: int) -> Token:
        """The token at this place; an empty one before the first and after the last."""
        if 0 <= place < len(self.tokens):
            return self.tokens[place]
        return Token("", "", len(self.text), len(self.text), 0, "", "")

    def follows(self, place: int, *texts: str) -> bool:
        """Whether these are the texts of the tokens from this place on."""
        return all(self.token(place + n).text == text for n, text in enumerate(texts))

    def end_of_part(self, place: int, stops: frozenset[str] = frozenset()) -> int:
        """The place after the last token of an expression that begins here: a stop on its level, or what closes it."""
        level = self.token(place).level
        while place < len(self.tokens):
            token = self.tokens[place]
            if token.level < level or (token.level == level and token.text in stops):
                break
            place += 1
        return place

    def replace(self, operator: str, first: int, last: int, replacement: str) -> Edit:
        """The edit that replaces the tokens from `first` to `last`, both included."""
        return Edit(operator, self.token(first).start, self.token(last).end, replacement)

    def drop(self, operator: str, first: int, last: int) -> Edit:
        """The edit that leaves out tokens and the blanks behind them."""
        after = self.token(last).end
        while self.text[after : after + 1] == " ":
            after += 1
        return Edit(operator, self.token(first).start, after, "")


Operator = Callable[[Script, int], Iterator[Edit]]

_COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "<>", "<>": "="}
_FUNCTIONS = {
    "sum": "max", "max": "min", "min": "max", "avg": "max", "bool_or": "bool_and", "bool_and": "bool_or",
    "lag": "lead", "lead": "lag", "first_value": "last_value", "last_value": "first_value", "greatest": "least",
    "least": "greatest", "row_number": "rank", "rank": "dense_rank", "dense_rank": "rank", "floor": "ceil",
    "ceil": "floor", "percentile_cont": "percentile_disc", "stddev_samp": "stddev_pop",
}  # fmt: skip
_ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*"}
#: Before `on`: what it belongs to.
_BEFORE_ON = words("join using from select on grant index distinct")
#: What ends a condition on its level.
_END_OF_CONDITION = words(
    "and or group order limit having union intersect except returning window on left inner join cross full "
    "then when else offset for do loop where , ;"
)
_END_OF_ORDER = words("limit offset rows range groups for union returning , ;")
#: Types with numbers in brackets, of which the second is the scale.
_SIZED_TYPES = {"numeric", "decimal", "varchar", "char", "timestamp", "timestamptz", "bit"}


def _comparison(script: Script, place: int) -> Iterator[Edit]:
    token = script.token(place)
    if token.text in _COMPARISONS and not (token.text == "=" and token.clause == "set"):
        yield script.replace("comparison", place, place, _COMPARISONS[token.text])


def _is_of_between(script: Script, place: int) -> bool:
    """Whether this `and` belongs to a `between`."""
    level = script.token(place).level
    for before in range(place - 1, -1, -1):
        token = script.token(before)
        if token.level < level:
            return False
        if token.level == level and token.text in ("and", "or", "where", "on", "when", "between"):
            return token.text == "between"
    return False


def _and_or(script: Script, place: int) -> Iterator[Edit]:
    text = script.token(place).text
    if text == "and" and not _is_of_between(script, place):
        yield script.replace("and becomes or", place, place, "or")
    elif text == "or" and script.token(place + 1).text != "replace":
        yield script.replace("or becomes and", place, place, "and")


def _condition(script: Script, place: int) -> Iterator[Edit]:
    """A condition of `where`, `on`, `having`, `and` or `or` is dropped."""
    token = script.token(place)
    begins = (
        token.text in ("where", "having")
        or (token.text == "on" and _is_of_join(script, place))
        or (token.text == "and" and not _is_of_between(script, place))
        or (token.text == "or" and script.token(place + 1).text != "replace")
    )
    if not begins:
        return
    end = script.end_of_part(place + 1, _END_OF_CONDITION)
    while script.token(end).text == "and" and _is_of_between(script, end):
        end = script.end_of_part(end + 1, _END_OF_CONDITION)
    neutral = "false" if token.text == "or" else "true"
    if end > place + 1 and not (end == place + 2 and script.token(place + 1).text == neutral):
        yield script.replace("condition dropped", place + 1, end - 1, neutral)


def _is_of_join(script: Script, place: int) -> bool:
    level = script.token(place).level
    if script.token(place + 1).text == "conflict":
        return False
    for before in range(place - 1, -1, -1):
        token = script.token(before)
        if token.level < level:
            return False
        if token.level == level and token.text in _BEFORE_ON:
            return token.text in ("join", "using")
    return False


def _join(script: Script, place: int) -> Iterator[Edit]:
    if script.follows(place, "inner", "join"):
        yield script.replace("inner join becomes left", place, place, "left")
    elif script.follows(place, "left", "join"):
        yield script.replace("left join becomes inner", place, place, "inner")
    elif script.token(place).text == "join" and script.token(place - 1).is_name:
        yield script.replace("inner join becomes left", place, place, "left join")


def _function(script: Script, place: int) -> Iterator[Edit]:
    token = script.token(place)
    if token.text in _FUNCTIONS and script.follows(place + 1, "(") and script.token(place - 1).text != ".":
        yield script.replace("another function", place, place, _FUNCTIONS[token.text])


def _coalesce(script: Script, place: int) -> Iterator[Edit]:
    if not script.follows(place, "coalesce", "("):
        return
    comma = script.end_of_part(place + 2, words(","))
    end = script.end_of_part(place + 2)
    if script.token(comma).text == ",":
        yield Edit("coalesce dropped", script.token(comma).start, script.token(end).start, "")


def _negation(script: Script, place: int) -> Iterator[Edit]:
    if script.follows(place, "is", "not"):
        yield script.drop("not dropped", place + 1, place + 1)
    elif script.token(place).text == "is" and script.token(place + 1).text in ("null", "distinct", "true", "false"):
        yield script.replace("not added", place, place, "is not")
    elif script.follows(place, "not", "exists", "(") or script.follows(place, "not", "in", "("):
        yield script.drop("not dropped", place, place)
    elif script.token(place - 1).text not in ("not", "for") and (
        script.follows(place, "exists", "(") or script.follows(place, "in", "(")
    ):
        yield script.replace("not added", place, place, f"not {script.token(place).text}")


def _direction(script: Script, place: int) -> Iterator[Edit]:
    token = script.token(place)
    # An order may be a text of its own, without `order by`.
    if token.text in ("asc", "desc") and token.clause in ("order", ""):
        yield script.replace("other order", place, place, "desc" if token.text == "asc" else "asc")
    elif token.text == "nulls" and script.token(place + 1).text in ("first", "last") and token.clause == "order":
        other = "last" if script.token(place + 1).text == "first" else "first"
        yield script.replace("nulls at the other end", place + 1, place + 1, other)
    elif token.clause == "order" and token.text in ("by", ","):
        end = script.end_of_part(place + 1, _END_OF_ORDER | {"nulls", "asc", "desc"})
        if script.token(end).text not in ("asc", "desc") and end > place + 1:
            behind = script.token(end - 1).end
            yield Edit("other order", behind, behind, " desc")


def _arithmetic(script: Script, place: int) -> Iterator[Edit]:
    token, before, after = (script.token(place + n) for n in (0, -1, 1))
    is_binary = (before.is_operand or before.text in (")", "]")) and (after.is_operand or after.text in ("(", "case"))
    if token.text in _ARITHMETIC and is_binary:
        yield script.replace("arithmetic", place, place, _ARITHMETIC[token.text])


def _union(script: Script, place: int) -> Iterator[Edit]:
    if script.follows(place, "union", "all"):
        yield script.drop("union all becomes union", place + 1, place + 1)
    elif script.token(place).text == "union":
        yield script.replace("union becomes union all", place, place, "union all")


def _distinct(script: Script, place: int) -> Iterator[Edit]:
    if script.token(place).text != "distinct" or script.token(place + 1).text == "on":
        return
    if script.token(place - 1).text == "select" or script.token(place).opened_by == "count":
        yield script.drop("distinct dropped", place, place)


def _number(script: Script, place: int) -> Iterator[Edit]:
    token = script.token(place)
    if token.kind != "number" or not re.fullmatch(r"\d+(\.\d+)?", token.text) or _is_position(script, place):
        return
    whole, point, digits = token.text.partition(".")
    for operator, number in (("number + 1", int(whole) + 1), ("number - 1", int(whole) - 1)):
        if number >= 0:
            yield script.replace(operator, place, place, f"{number}{point}{digits}")


def _is_position(script: Script, place: int) -> bool:
    """Whether a number is the position of a column, the size of a type, or the `1` of `returning 1`."""
    token = script.token(place)
    is_size = token.opened_by in _SIZED_TYPES and script.token(place - 1).text == "("
    return is_size or token.clause in ("group", "order", "returning")


def _interval(script: Script, place: int) -> Iterator[Edit]:
    token = script.token(place)
    is_interval = script.token(place - 1).text == "interval" or script.follows(place + 1, "::", "interval")
    if token.kind != "string" or not is_interval:
        return
    changed = re.sub(r"\d+", lambda found: str(int(found.group()) + 1), script.text[token.start : token.end], count=1)
    yield script.replace("number + 1", place, place, changed)


def _else(script: Script, place: int) -> Iterator[Edit]:
    token = script.token(place)
    if token.text == "else" and token.opened_by == "case" and script.token(place + 1).text != "null":
        end = script.end_of_part(place + 1)
        yield script.replace("else dropped", place + 1, end - 1, "null")


def _constraint(script: Script, place: int) -> Iterator[Edit]:
    if script.follows(place, "check", "("):
        end = script.end_of_part(place + 2)
        yield script.replace("check dropped", place + 2, end - 1, "true")
    elif script.follows(place, "not", "null") and script.token(place - 1).text not in ("is", "set", "drop"):
        yield script.drop("not null dropped", place, place + 1)
    elif script.token(place).text == "unique":
        yield from _unique(script, place)
    elif script.token(place).text == "references":
        end = script.end_of_part(place + 1, words(", ; not default unique check null primary"))
        yield script.drop("reference dropped", place, end - 1)


def _unique(script: Script, place: int) -> Iterator[Edit]:
    after = place + 1
    while script.token(after).text in ("nulls", "not", "distinct"):
        after += 1
    if script.follows(after, "("):
        end = script.end_of_part(after + 1)
        yield script.replace("unique dropped", place, end, "check (true)")
    else:
        yield script.drop("unique dropped", place, after - 1)


def _statement(script: Script, place: int) -> Iterator[Edit]:
    """A statement that grants, revokes or is executed is dropped."""
    first = script.token(place)
    if script.token(place - 1).text not in ("", ";", "begin", "then", "loop", "else"):
        return
    is_dropped = first.text in ("grant", "revoke", "execute") or script.follows(place, "alter", "default", "privileges")
    if is_dropped:
        end = script.end_of_part(place, words(";"))
        yield script.replace("statement dropped", place, end - 1, "null" if script.is_in_body(first.start) else "")


def _grant(script: Script, place: int) -> Iterator[Edit]:
    """A right for one role less, or a wider right."""
    if script.token(place).text != "grant":
        return
    end = script.end_of_part(place, words(";"))
    level = script.token(place).level
    tokens = [n for n in range(place, end) if script.token(n).level == level]
    on = next((n for n in tokens if script.token(n).text == "on"), place)
    to = next((n for n in tokens if script.token(n).text == "to"), end)
    if on > place and script.token(place + 1).text != "all":
        yield script.replace("right widened", place + 1, on - 1, "all")
    commas = [n for n in tokens if n > to and script.token(n).text == ","]
    for comma in commas:
        yield script.drop("role dropped", comma, comma + 1)
    if commas:
        yield script.drop("role dropped", to + 1, commas[0])


def _clause_of_jinja(script: Script, place: int) -> Iterator[Edit]:
    """A macro that adds a clause, such as `{{ only_claimed(...) }}` behind a table, is dropped."""
    token = script.token(place)
    line = script.text[script.text.rfind("\n", 0, token.start) + 1 : token.start]
    if token.kind == "masked" and not line.strip() and script.token(place - 1).is_name:
        yield script.drop("clause of a macro dropped", place, place)


OPERATORS: tuple[Operator, ...] = (
    _comparison, _and_or, _condition, _join, _function, _coalesce, _negation, _direction, _arithmetic, _union,
    _distinct, _number, _interval, _else, _constraint, _statement, _grant, _clause_of_jinja,
)  # fmt: skip
_IF = re.compile(r"(?P<head>\{%-?\s*(?:el)?if\s+)(?P<condition>.+?)(?=\s*-?%\})", re.DOTALL)


def edits_of_dbt(text: str) -> list[Edit]:
    """All mistakes in a model or macro of dbt; of Jinja only that an `if` is the other way round."""
    blocks = re.sub(r"\{#.*?#\}", lambda found: " " * len(found.group()), text, flags=re.DOTALL)
    negated = [
        Edit("if negated", match.start("condition"), match.end("condition"), f"not ({match['condition']})")
        for match in _IF.finditer(blocks)
    ]
    return [*_edits(Script(text, sql_tokens.tokens_of_dbt(text))), *negated]


def edits_of_ddl(text: str) -> list[Edit]:
    """All mistakes in a file of ``include/sql``."""
    return _edits(Script(text, sql_tokens.tokens_of_ddl(text), sql_tokens.bodies(text)))


def edits_of_query(text: str) -> list[Edit]:
    """All mistakes in a query in a text of Python."""
    return _edits(Script(text, sql_tokens.tokens_of_query(text)))


def _edits(script: Script) -> list[Edit]:
    in_index = _places_in_an_index(script)
    return [
        edit
        for place in range(len(script.tokens))
        for operator in OPERATORS
        for edit in operator(script, place)
        if place not in in_index
    ]


def _places_in_an_index(script: Script) -> set[int]:
    """Where an index is created that is not unique: it changes no result."""
    places: set[int] = set()
    for place, token in enumerate(script.tokens):
        if token.text == "index" and script.token(place - 1).text == "create":
            places |= set(range(place, script.end_of_part(place, words(";"))))
    return places
