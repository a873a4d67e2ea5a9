"""Which tests execute which line of Python: recorded once an area, so that a mutant runs only these."""

import ast
from collections.abc import Collection
from pathlib import Path

from coverage import CoverageData

from tests.mutants.mutant import Mutant


class ExecutedLines:
    """
    What coverage has recorded of an area's tests, each test as a context of its own.

    :param file: coverage's data, with paths in the project
    """

    def __init__(self, file: Path) -> None:
        self._data = CoverageData(str(file))
        self._data.read()
        self._contexts: dict[str, dict[int, set[str]]] = {}

    def tests_of(self, mutant: Mutant, tests: Collection[str]) -> list[str]:
        """
        The tests that execute the mutant's statement, in their order.

        All of them if it runs while modules are imported, or in a process of its own, since then nobody knows which
        tests it is for. A statement of a fixture counts for all tests of the module.
        """
        if mutant.path not in self._contexts:
            found = self._data.contexts_by_lineno(mutant.path)
            self._contexts[mutant.path] = {line: set(contexts) for line, contexts in found.items()}
        contexts_of = self._contexts[mutant.path]
        contexts: set[str] = set()
        for line in lines_of_statement(mutant.source, mutant.line):
            contexts |= contexts_of.get(line, set())
        if "" in contexts:
            return list(tests)
        named = {context.rpartition("|")[0] for context in contexts}
        modules = {context.partition("::")[0] for context in contexts if not context.endswith("|run")}
        return [test for test in tests if test in named or test.partition("::")[0] in modules]


def lines_of_statement(source: str, line: int) -> range:
    """The lines of the innermost statement that has this line; of an `if`, `for` or `def` only its head."""
    best = range(line, line + 1)
    size = len(source)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt):
            continue
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        lines = range(first, max(last, node.lineno) + 1)
        if line in lines and len(lines) < size:
            best, size = lines, len(lines)
    return best
