"""Which tests of a module execute which line of Python: recorded once, so that a mutant runs only these."""

import ast
from functools import cached_property
from pathlib import Path

from coverage import CoverageData

from tests.mutants.mutant import Mutant


class ExecutedLines:
    """
    What coverage has recorded of a module's tests, each test as a context of its own.

    :param file: coverage's data, with paths in the project
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._contexts: dict[str, dict[int, set[str]]] = {}

    @cached_property
    def _data(self) -> CoverageData:
        data = CoverageData(str(self._file))
        data.read()
        return data

    def contexts_of(self, mutant: Mutant) -> set[str]:
        """
        Who executes the mutant's statement: `module::test|run`, `module::test|setup` for a fixture, or empty.

        It is empty while modules are imported, and in other processes: then nobody knows which tests it is for.
        """
        contexts_of = self._contexts_of(mutant.path)
        contexts: set[str] = set()
        for line in lines_of_statement(mutant.source, mutant.line):
            contexts |= contexts_of.get(line, set())
        return contexts

    def may_reach_fixtures(self, mutant: Mutant) -> bool:
        """
        Whether what fixtures make may be another thing with the mutant.

        A statement that runs while modules are imported reaches them if they call anything of its file; a file that
        nobody calls has constants alone, and these may be for them.
        """
        executed = self.contexts_of(mutant)
        if "" in executed:
            executed |= {
                context for contexts in self._contexts_of(mutant.path).values() for context in contexts if context
            }
        return any(not context.endswith("|run") for context in executed - {""}) or executed == {""}

    def _contexts_of(self, path: str) -> dict[int, set[str]]:
        if path not in self._contexts:
            found = self._data.contexts_by_lineno(path)
            self._contexts[path] = {line: set(contexts) for line, contexts in found.items()}
        return self._contexts[path]


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
