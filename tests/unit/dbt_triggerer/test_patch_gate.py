"""The gate of the patches: what of a function's text counts for its digest, and how a missing one is reported."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from dbt_triggerer.patch_gate import Patch, find, parameters_of, source_digest

ORIGINAL = '''
class Owner:
    def step(self, seconds=1):
        """Do it."""
        # Why it is done.
        return seconds + 1  # one more
'''


@pytest.fixture
def digest_of(tmp_path: Path):
    """The digest of `Owner.step`, or of `step`, in a module with this text."""
    modules: list[ModuleType] = []

    def digest(text: str) -> str:
        file = tmp_path / f"module_{len(modules)}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
        return source_digest(module.Owner.step if hasattr(module, "Owner") else module.step)

    return digest


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ORIGINAL.replace("Why it is done", "Another reason"), id="comment"),
        pytest.param(ORIGINAL.replace("  # one more", ""), id="comment at the end of a line"),
        pytest.param(
            ORIGINAL.replace('"""Do it."""', '"""\n        Do it.\n\n        Now.\n        """'), id="docstring"
        ),
        pytest.param(ORIGINAL.replace("        return", "\n        return"), id="blank line"),
        pytest.param(f"import os\n\nOTHER = 1\n{ORIGINAL}", id="elsewhere in the file"),
        pytest.param(ORIGINAL.replace("class Owner:\n", "").replace("\n    ", "\n"), id="depth of indentation"),
    ],
)
def test_digest_stays_the_same_if_no_code_changes(digest_of, text: str) -> None:
    assert digest_of(text) == digest_of(ORIGINAL)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ORIGINAL.replace("seconds + 1", "seconds + 2"), id="body"),
        pytest.param(ORIGINAL.replace("seconds=1", "seconds=2"), id="default"),
        pytest.param(ORIGINAL.replace("    def step", "    async def step"), id="async"),
        pytest.param(ORIGINAL.replace("    def step", "    @staticmethod\n    def step"), id="decorator"),
    ],
)
def test_digest_changes_with_the_code(digest_of, text: str) -> None:
    assert digest_of(text) != digest_of(ORIGINAL)


def test_missing_function_is_a_difference() -> None:
    patch = Patch("it", "worker", lambda: None, sources={"json:no_such": "0"}, signatures={"no_such_module:f": "self"})
    assert patch.differences() == ["json:no_such does not exist", "no_such_module:f does not exist"]


def test_function_without_source_is_a_difference() -> None:
    (difference,) = Patch("it", "worker", lambda: None, sources={"builtins:len": "0"}).differences()
    assert difference.startswith("builtins:len cannot be compared: ")


def test_parameters_are_compared_by_name() -> None:
    assert parameters_of(find("json:JSONDecoder.decode")) == "self s _w"
    (difference,) = Patch("it", "worker", lambda: None, signatures={"json:JSONDecoder.decode": "self s"}).differences()
    assert difference == "json:JSONDecoder.decode has changed"
