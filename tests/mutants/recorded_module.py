"""A module of tests without a mutant: how long each test takes, and which lines it executes. Kept on disk."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from tests.mutants.executed_lines import ExecutedLines
from tests.mutants.mutant import Mutant

#: A module that takes less is run whole: the start of another run, to see whether its test fails alone, takes longer.
_SECONDS_OF_A_START = 5


@dataclass
class RecordedModule:
    """
    What a run of the module without a mutant has shown.

    :param name: its path in the project
    :param folder: where this is kept
    :param seconds: of each test, in their order
    :param digests: file → digest, when it was recorded: of the module, of what it shares with others, of the code
    :param alone: tests that were seen to pass alone
    :param needs_all: a test fails alone, so the module is always run as a whole
    """

    name: str
    folder: Path
    seconds: dict[str, float]
    digests: Mapping[str, str]
    alone: list[str] = field(default_factory=list)
    needs_all: bool = False

    @classmethod
    def read(cls, folder: Path) -> "RecordedModule | None":
        """What is kept in a folder."""
        file = folder / "module.json"
        return cls(**{**json.loads(file.read_text()), "folder": folder}) if file.exists() else None

    def save(self) -> None:
        (self.folder / "module.json").write_text(json.dumps({**asdict(self), "folder": ""}, indent=1))

    @property
    def coverage(self) -> Path:
        """The file of the lines that are executed; of Python alone."""
        return self.folder / "coverage"

    @cached_property
    def _executed(self) -> ExecutedLines:
        return ExecutedLines(self.coverage)

    def holds_for(self, path: str, digests: Mapping[str, str]) -> bool:
        """Whether it says which tests are for a file as it now is."""
        files = [*(file for file in self.digests if file.startswith("tests/")), path]
        is_same = all(self.digests.get(file) == digests.get(file) for file in files)
        return is_same and (self.coverage.exists() or not path.endswith(".py"))

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests to run with a mutant: those that execute it and, if it is quick to run all or has to be, all."""
        if not mutant.path.endswith(".py"):
            return list(self.seconds)
        contexts = self._executed.contexts_of(mutant)
        is_whole = self.needs_all or self.total_seconds < _SECONDS_OF_A_START
        if contexts and (is_whole or any(not context.endswith("|run") for context in contexts)):
            return list(self.seconds)
        return [test for test in self.seconds if f"{test}|run" in contexts]

    def may_begin_with(self, mutant: Mutant) -> bool:
        """Whether what its fixtures make may be another thing with the mutant."""
        return not mutant.path.endswith(".py") or self._executed.may_reach_fixtures(mutant)

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    def is_whole_up_to(self, tests: Collection[str], failed: str) -> bool:
        """Whether all of its tests that come before the failed one ran as well."""
        return set(list(self.seconds)[: list(self.seconds).index(failed)]) <= set(tests)
