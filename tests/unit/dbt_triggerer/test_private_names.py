"""The table of private names in `plugins/dbt_triggerer/README.md` and the code of `plugins/` and `dags/` agree."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from airflow import sdk

from dbt_triggerer.airflow_internals import PATCHES

ROOT = Path(__file__).parents[3]
README = ROOT / "plugins" / "dbt_triggerer" / "README.md"
#: Libraries whose modules are private unless they are listed.
LIBRARIES = ("airflow", "cosmos", "dbt", "psycopg")
#: Modules that the libraries document for others. A name that `airflow.sdk` exports is public wherever it is from.
PUBLIC = {
    "airflow", "airflow.configuration", "airflow.exceptions", "airflow.listeners", "airflow.plugins_manager",
    "airflow.providers", "airflow.sdk", "airflow.sdk.exceptions", "airflow.sdk.observability", "airflow.sdk.types",
    "airflow.triggers.base",
    "cosmos", "cosmos.profiles", "dbt.cli.main",
    "psycopg", "psycopg.errors", "psycopg.conninfo", "psycopg.pq", "psycopg.rows", "psycopg.sql", "psycopg.types",
    "psycopg.types.json",
}  # fmt: skip
#: Of `cosmos.constants` the options of its configuration classes.
PUBLIC_NAMES = {
    f"cosmos.constants.{name}"
    for name in ("DbtResourceType", "ExecutionMode", "InvocationMode", "LoadMode", "TestBehavior")
}
FILES = sorted(path for folder in ("plugins", "dags") for path in (ROOT / folder).rglob("*.py"))


def is_public(module: str, name: str) -> bool:
    if any(module == public or (module.startswith(f"{public}.") and public.endswith("providers")) for public in PUBLIC):
        return True
    if f"{module}.{name}" in PUBLIC_NAMES:
        return True
    return name in sdk.__all__ and getattr(import_module(module), name, None) is getattr(sdk, name)


class PrivateNames(ast.NodeVisitor):
    """Collects imports from private modules and private attributes of foreign objects, outside `TYPE_CHECKING`."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._classes = 0

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes += 1
        for statement in node.body:
            # A private method that overrides one of a library's class is as private as a call of it.
            bases = {ast.unparse(base) for base in node.bases}
            if isinstance(statement, ast.FunctionDef) and bases & {"BaseDeadlineReference"}:
                self._add(statement.name)
        self.generic_visit(node)
        self._classes -= 1

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if module.split(".")[0] in LIBRARIES:
            self.names |= {f"{module}.{alias.name}" for alias in node.names if not is_public(module, alias.name)}

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] in LIBRARIES and alias.name not in PUBLIC:
                self.names.add(alias.name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        # In a function outside a class, `self` is the object of another class.
        is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") and self._classes > 0
        if not is_own:
            self._add(node.attr)
        self.generic_visit(node)

    def _add(self, name: str) -> None:
        if name.startswith("_") and not name.startswith("__"):
            self.names.add(name)


def private_names(path: Path) -> set[str]:
    visitor = PrivateNames()
    visitor.visit(ast.parse(path.read_text()))
    return visitor.names


def rows(heading: str) -> Iterator[list[str]]:
    """The rows of the table under a heading of the README, as cells."""
    section = README.read_text().split(f"### {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def documented() -> dict[str, set[str]]:
    """File, relative to `plugins/` → the names in its row."""
    return {names_in(cells[0])[0]: set(names_in(cells[1])) for cells in rows("Other names")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_a_file_are_in_the_table(path: Path) -> None:
    folder = ROOT / "plugins" if path.is_relative_to(ROOT / "plugins") else ROOT
    missing = private_names(path) - documented().get(str(path.relative_to(folder)), set())
    assert missing == set(), f"add them to the table *Other names* of {README.relative_to(ROOT)}"


@pytest.mark.parametrize("file", documented())
def test_names_of_the_table_are_used_by_their_file(file: str) -> None:
    text = (ROOT / "plugins" / file).read_text()
    unused = {
        name
        for name in documented()[file]
        if not re.search(rf"(?<!\w){re.escape(name.rpartition('.')[2])}(?!\w)", text)
    }
    assert unused == set(), f"remove them from the table *Other names* of {README.relative_to(ROOT)}"


def test_modules_of_the_table_exist() -> None:
    for names in documented().values():
        for name in names:
            if name.split(".")[0] in LIBRARIES:
                module, _, attribute = name.rpartition(".")
                assert hasattr(import_module(module), attribute), name


def test_every_row_has_a_gate_and_a_consequence() -> None:
    for cells in rows("Other names"):
        assert len(cells) == 6, cells
        assert all(cells), cells
        assert cells[4] in ("patch", "check", "warning", "pin"), cells


def test_every_patch_has_a_row() -> None:
    table = {names_in(cells[0])[0]: cells for cells in rows("Patches of Airflow")}
    assert list(table) == [patch.name for patch in PATCHES]
    for patch in PATCHES:
        assert len(table[patch.name]) == 7, patch.name
        for path in patch.sources:
            assert path.rpartition(".")[2] in table[patch.name][1], path


def test_no_text_of_the_package_names_the_shop() -> None:
    for path in (ROOT / "plugins" / "dbt_triggerer").glob("*.py"):
        assert "ecommerce" not in path.read_text().lower(), path
