"""A mutant: a file of the project with one mistake in it."""

import ast
import difflib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

#: In a file of SQL, what a line belongs to: a CTE, a macro, a table or a function.
_PLACE = re.compile(
    r"^\s*(?:with\s+)?(\w+) as (?:not )?(?:materialized )?\($|^\s*\{%-?\s*macro (\w+)|"
    r"^\s*create (?:or replace )?(?:unique )?\w+ (?:if not exists )?([\w.]+)"
)


@dataclass(frozen=True)
class Mutant:
    """
    One mistake.

    :param path: the file, in the project
    :param operator: the kind of mistake, in words
    :param line: the first line of the mistake
    :param source: the file as it is
    :param mutate: gives the file with the mistake
    """

    path: str
    operator: str
    line: int
    source: str = field(repr=False)
    mutate: Callable[[], str] = field(repr=False, compare=False)

    @cached_property
    def text(self) -> str:
        """The file with the mistake."""
        return self.mutate()

    @property
    def is_valid(self) -> bool:
        """Whether the file is another one and, if it is Python, can be compiled."""
        if self.text == self.source:
            return False
        if not self.path.endswith(".py"):
            return True
        try:
            compile(self.text, self.path, "exec")
        except SyntaxError:
            return False
        return True

    @property
    def id(self) -> str:
        """The same for the same mistake in the same file."""
        return hashlib.sha256(f"{self.path}\0{self.text}".encode()).hexdigest()[:16]

    @cached_property
    def diff(self) -> list[str]:
        """The lines of a diff, without context."""
        lines = difflib.unified_diff(self.source.splitlines(), self.text.splitlines(), n=0, lineterm="")
        return [line for line in list(lines)[2:] if not line.startswith("@@")]

    @property
    def before(self) -> str:
        """The lines that the mistake changes, without indentation."""
        return _lines(self.diff, "-")

    @property
    def after(self) -> str:
        """The same lines with the mistake."""
        return _lines(self.diff, "+")

    @property
    def place(self) -> str:
        """The function, CTE or table in which the mistake is; empty outside of any."""
        if self.path.endswith(".py"):
            return function_at(ast.parse(self.source), self.line)
        for line in reversed(self.source.splitlines()[: self.line]):
            if found := _PLACE.match(line):
                return next(filter(None, found.groups()))
        return ""


def _lines(diff: list[str], sign: str) -> str:
    return "\n".join(line[1:].strip() for line in diff if line.startswith(sign))


def function_at(tree: ast.AST, line: int) -> str:
    """The function or method that has this line, as `Class.method`; empty outside of any."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first <= line <= (node.end_lineno or line):
                names.append((first, node.name))
    return ".".join(name for _, name in sorted(names))
