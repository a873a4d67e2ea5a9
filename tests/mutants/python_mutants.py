"""
The mistakes of Python: operators of cosmic-ray, and three that it lacks, on the syntax tree of parso.

cosmic-ray replaces each operator by each other one, and removes decorators. Those that break at the first call say
nothing about the tests, so only the ones that a person would make are used. What no test is for is left alone:
annotations, log lines, that a dataclass is frozen, that `zip` is strict.
"""

import ast
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator
from parso.python.tree import Name, Number

from tests.mutants.mutant import Mutant
from tests.mutants.sql_mutants import edits_of_query

Span = tuple[int, int]

_COSMIC_RAY = (
    "ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_NotEq_Eq", "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_LtE_Lt", "ReplaceComparisonOperator_Gt_GtE", "ReplaceComparisonOperator_GtE_Gt",
    "ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_IsNot_Is", "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_Sub_Add", "ReplaceBinaryOperator_Mul_Div", "ReplaceBinaryOperator_Div_Mul",
    "ReplaceBinaryOperator_FloorDiv_Mul", "ReplaceBinaryOperator_Mod_Mul", "ReplaceBinaryOperator_BitOr_BitAnd",
    "ReplaceBinaryOperator_BitAnd_BitOr", "ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_USub",
    "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer",
    "ZeroIterationForLoop",
)  # fmt: skip


class DropStatement(Operator):
    """A call whose result nobody takes, an assignment such as `+=`, or a `raise` is dropped."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        parent = node.parent
        if parent is None or parent.type != "simple_stmt" or parent.children[0] is not node:
            return
        is_call = node.type in ("atom_expr", "await_expr") and node.children[-1].get_last_leaf().value == ")"
        if node.type == "raise_stmt" or (is_call and not _is_log_call(node)) or _is_augmented(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return Name("pass", node.start_pos, node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example("close()\n", "pass\n"), Example("x += 1\n", "pass\n"))


def _is_log_call(node: Any) -> bool:
    return node.get_first_leaf().value in ("log", "logger", "logging", "warnings")


def _is_augmented(node: Any) -> bool:
    return node.type == "expr_stmt" and node.children[1].type == "operator" and node.children[1].value != "="


class ReturnNone(Operator):
    """A function returns None instead of its value."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if node.type == "return_stmt" and len(node.children) > 1 and node.children[1].get_code().strip() != "None":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[1] = Number(" None", node.children[1].start_pos)
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example("return x", "return None"),)


class DropKeywordArgument(Operator):
    """A keyword argument of a call is dropped, so the callee's default holds."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        for argument in self._arguments(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        place = node.children.index(self._arguments(node)[index])
        # With the comma behind it, or with the one before.
        first = place if place + 1 < len(node.children) else place - 1
        prefix = node.children[first].get_first_leaf().prefix
        del node.children[first : first + 2]
        if first < len(node.children):
            node.children[first].get_first_leaf().prefix = prefix
        return node

    @staticmethod
    def _arguments(node: Any) -> list[Any]:
        if node.type != "arglist" or node.parent.type != "trailer":
            return []
        return [child for child in node.children if child.type == "argument" and child.children[1] == "="]

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example("f(a, b=1)", "f(a)"), Example("f(a=1, b=2)", "f(b=2)"))


OPERATORS: dict[str, Operator] = {
    **{name: get_operator(f"core/{name}")() for name in _COSMIC_RAY},
    **{operator.__name__: operator() for operator in (DropStatement, ReturnNone, DropKeywordArgument)},
}


def mutants_of_python(path: str, source: str) -> Iterator[Mutant]:
    """All mistakes in a module, also those in its queries."""
    untouched = _untouched_lines(source)
    lines = source.splitlines()
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in OPERATORS.items():
        positions = [position for node in nodes for position in operator.mutation_positions(node)]
        for occurrence, ((line, column), _) in enumerate(positions):
            is_untouched = any(first <= (line, column) < last for first, last in untouched)
            if not is_untouched and not _is_no_mistake(name, occurrence, lines[line - 1], column):
                yield Mutant(path, name, line, source, partial(mutate_code, source, operator, occurrence))
    yield from _mutants_of_queries(path, source)


_UNTOUCHED = re.compile(r"if (typing\.)?TYPE_CHECKING|(log|logger|logging|warnings)\.|dataclass\(")


def _is_no_mistake(name: str, occurrence: int, line: str, column: int) -> bool:
    """Whether it is another thing than the operator means, or one that another mutant already says."""
    if name == "ReplaceBinaryOperator_Mul_Div":
        return line.startswith("*,", column)  # of `def f(a, *, b)`
    if name == "NumberReplacer":
        # `row[-1]` is `row[0]` where there is one column; `row[1]` is made as well.
        return occurrence % 2 == 1 and line[column - 1 : column + 2] == "[0]"
    return name == "DropKeywordArgument" and line.startswith("strict=", column)


def _untouched_lines(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where there are annotations, log lines and what only a type checker reads."""
    spans = []
    for node in ast.walk(ast.parse(source)):
        parts: list[Any] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [node.returns]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.keyword) and node.arg == "strict":
            parts = [node.value]
        elif isinstance(node, ast.If | ast.Expr | ast.Call) and _UNTOUCHED.match(ast.unparse(node)):
            parts = [node]
        spans += [((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)) for part in parts if part]
    return spans


# -- queries -----------------------------------------------------------------------------------------------------------

_QUERY = re.compile(
    r"\s*(select|with \w+ as|insert into|update [\w.{}]+\s+set|delete from|merge into|coalesce\(|case\s|"
    r"grant (select|usage|all|\{)|revoke |"
    r"create (or replace |unique |temporary |temp )*(table|index|view|function|schema)|alter table|drop table|"
    r"truncate |lock table|not exists|exists)"
)
_PART_OF_A_QUERY = re.compile(r"\b(select|where|inner join|left join|not exists|order by|is distinct from)\b")
#: A condition or an order of a single line.
_PIECE_OF_A_QUERY = re.compile(
    r"%\([\w{}]+\)s|[\w)]::(date|text|integer|bigint|timestamptz?|numeric|float8)\b|\w\.\w+ desc\b"
)
_QUOTES = re.compile(r"[rRbBfFuU]*(\"\"\"|'''|\"|')")


def _mutants_of_queries(path: str, source: str) -> Iterator[Mutant]:
    for start, end in _queries(source):
        for edit in edits_of_query(source[start:end]):
            first, last = start + edit.start, start + edit.end
            mutate = partial(_replaced, source, (first, last), edit.replacement)
            yield Mutant(path, edit.operator, source.count("\n", 0, first) + 1, source, mutate)


def _replaced(source: str, span: Span, replacement: str) -> str:
    return source[: span[0]] + replacement + source[span[1] :]


def _queries(source: str) -> Iterator[Span]:
    """From where to where there are texts of SQL, without their quotes."""
    begins = [0]
    for line in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    # Columns of the syntax tree are bytes.
    lines = source.splitlines(keepends=True)
    for node in _texts(ast.parse(source)):
        start = begins[node.lineno - 1] + len(lines[node.lineno - 1].encode()[: node.col_offset].decode())
        end = begins[node.end_lineno - 1] + len(lines[node.end_lineno - 1].encode()[: node.end_col_offset].decode())
        opening = _QUOTES.match(source, start)
        if opening is None:
            continue
        inside = source[opening.end() : end - len(opening.group(1))]
        is_one_text = source.endswith(opening.group(1), start, end) and opening.group(1) not in inside
        if is_one_text and _is_query(inside):
            yield opening.end(), end - len(opening.group(1))


def _texts(tree: ast.AST) -> Iterator[Any]:
    """The texts of a module, but no docstrings and no parts of other texts."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            yield node
        else:
            yield from _texts(node)


def _is_query(text: str) -> bool:
    if _QUERY.match(text) or _PIECE_OF_A_QUERY.search(text):
        return True
    return "\n" in text and bool(_PART_OF_A_QUERY.search(text))
