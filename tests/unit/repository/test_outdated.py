"""`make outdated`: which locked packages are behind, and what it says about them."""

import importlib.util
import sys
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from include.demo.state import ROOT


@pytest.fixture(scope="module")
def outdated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("outdated", ROOT / ".ci" / "outdated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def versions(**found: str) -> dict[str, Version]:
    return {name: Version(version) for name, version in found.items()}


def test_lock_is_read_with_the_highest_version_of_a_package(outdated: ModuleType) -> None:
    text = (
        "networkx==3.6.1 ; python_full_version < '3.12' \\\n    --hash=sha256:00\nnetworkx==3.7 \\\nDBT_core==1.12.6\n"
    )
    assert outdated.read_lock(text) == {"networkx": Version("3.7"), "dbt-core": Version("1.12.6")}
    assert outdated.without_versions(text).splitlines() == [
        "networkx ; python_full_version < '3.12' ", "networkx", "DBT_core",
    ]  # fmt: skip
    assert len(outdated.read_lock((ROOT / "requirements-dev.txt").read_text())) > 200


def test_charts_library_has_a_version(outdated: ModuleType) -> None:
    assert outdated.version_of_plotly() >= Version("4.1.1")


def test_package_that_is_behind_says_what_holds_it_back(outdated: ModuleType) -> None:
    ranges = [
        ("pyproject.toml", Requirement("celery<5.7")),
        ("pyproject.toml", Requirement("ruff>=0.15")),
        ("sqlfluff", Requirement("click<9")),
        ("other", Requirement("click<8.2; python_version < '3'")),
        ("extra", Requirement("click<8; extra == 'docs'")),
    ]
    found = outdated.find_outdated(
        versions(celery="5.6.3", click="8.5.1", ruff="0.15.0", rich="14.0", same="1"),
        versions(celery="5.8", click="9.0", ruff="0.16", rich="15.0", same="1"),
        versions(celery="5.6.3", click="8.6", ruff="0.16", rich="14.0", same="1"),
        ranges,
    )
    assert [(each.name, each.is_direct, each.verdict) for each in found] == [
        ("celery", True, "held back by pyproject.toml (<5.7)"),
        ("ruff", True, "make lock UPGRADE=1"),
        ("click", False, "held back by sqlfluff (<9); 8.6 is possible"),
        ("rich", False, "needs other versions than the rest"),
    ]


def test_without_a_newer_lock_nothing_is_promised(outdated: ModuleType) -> None:
    (found,) = outdated.find_outdated(versions(ruff="0.15"), versions(ruff="0.16"), None, [])
    assert found.verdict == "not known: no newer lock can be made"


def test_pyproject_itself_has_ranges_for_the_locked_packages(outdated: ModuleType) -> None:
    names = outdated.read_lock((ROOT / "requirements-dev.txt").read_text())
    ranges = outdated.ranges_of_installed(names)
    assert ("dbt-postgres", "dbt-core") in {(owner, requirement.name) for owner, requirement in ranges}
