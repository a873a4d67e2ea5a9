"""The names of `dbt_triggerer` that others use: they exist, cost nothing to import, and no other name is used."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dbt_triggerer

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "plugins" / "dbt_triggerer"
#: Who uses the package: the DAGs, and all plugins and libraries beside it.
USERS = sorted(
    path for folder in ("dags", "plugins") for path in (ROOT / folder).rglob("*.py") if not path.is_relative_to(PACKAGE)
)


def names_from_package(path: Path) -> Iterator[str]:
    """What a file imports of the package; a name of a module in it is qualified."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "dbt_triggerer":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dbt_triggerer."):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("dbt_triggerer"))


def test_shop_imports_only_public_names() -> None:
    used = {(str(path.relative_to(ROOT)), name) for path in USERS for name in names_from_package(path)}
    assert used, "nobody uses the package: is the folder right?"
    private = sorted((path, name) for path, name in used if name not in dbt_triggerer.__all__)
    assert private == [], "write `from dbt_triggerer import <a name of __all__>`"


def test_own_tests_do_not_import_the_shop() -> None:
    for folder in ("unit", "integration"):
        for path in (ROOT / "tests" / folder / "dbt_triggerer").glob("*.py"):
            assert not re.search(r"^\s*(from|import) ecommerce\b", path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize("name", dbt_triggerer.__all__)
def test_public_name_exists(name: str) -> None:
    assert getattr(dbt_triggerer, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        dbt_triggerer.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    ["import dbt_triggerer", "from dbt_triggerer import BuildError, dbt_task_group, nodes_of, run_dbt, warm_up"],
)
def test_import_loads_neither_airflow_nor_cosmos_nor_dbt(statement: str) -> None:
    script = f"import json, sys\n{statement}\nprint(json.dumps(sorted(name.split('.')[0] for name in sys.modules)))"
    printed = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not {"airflow", "cosmos", "dbt", "psycopg"} & set(json.loads(printed))
