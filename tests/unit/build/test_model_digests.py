"""Which models another digest concerns: those whose rows may be others, and all that follow them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecommerce.build.model_digests import model_digests

SQL = {
    "models/first.sql": "select {{ cents('amount') }} as amount from {{ source('raw', 'orders') }}",
    "models/second.sql": "select * from {{ ref('first') }}",
    "models/beside.sql": "select {{ day() }} from {{ ref('rules') }}",
    "seeds/rules.csv": "rule\nlate\n",
    "macros/cents.sql": "{% macro cents(x) %}{{ rounded(x) }}{% endmacro %}",
    "macros/rounded.sql": "{% macro rounded(x) %}round({{ x }}, 2){% endmacro %}",
    "macros/day.sql": "{% macro day() %}1{% endmacro %}",
    "macros/table.sql": "{% materialization table, adapter='postgres' %}{% endmaterialization %}",
    "macros/tests.sql": "{% test is_true(model) %}select 1{% endtest %}",
    "tests/adds_up.sql": "select 1",
    "models/notes.md": "{% docs note %}A note.{% enddocs %}",
    "dbt_project.yml": "name: small",
    "profiles.yml": "small: {}",
    "models/models.yml": """
        version: 2
        sources: [{name: raw, tables: [{name: orders, description: Orders.}]}]
        models:
          - name: first
            description: The first.
            config: {meta: {period: day}}
            columns: [{name: amount, description: In euros., data_type: numeric, data_tests: [not_null]}]
          - name: second
        exposures: [{name: report, type: dashboard}]
    """,
}
ALL = {"first", "second", "beside", "rules"}


def node(name: str, path: str, macros: list[str], parents: list[str], kind: str = "model") -> dict[str, Any]:
    return {
        "name": name, "resource_type": kind, "package_name": "small", "original_file_path": path,
        "depends_on": {"macros": [f"macro.small.{macro}" for macro in macros], "nodes": parents},
    }  # fmt: skip


def macro(name: str, path: str, *uses: str) -> dict[str, Any]:
    return {
        "name": name, "package_name": "small", "original_file_path": path,
        "depends_on": {"macros": [f"macro.small.{used}" for used in uses]},
    }  # fmt: skip


MANIFEST: dict[str, Any] = {
    "metadata": {"project_name": "small"},
    "nodes": {
        "model.small.first": node("first", "models/first.sql", ["cents"], ["source.small.raw.orders"]),
        "model.small.second": node("second", "models/second.sql", [], ["model.small.first"]),
        "model.small.beside": node("beside", "models/beside.sql", ["day"], ["seed.small.rules"]),
        "seed.small.rules": node("rules", "seeds/rules.csv", [], [], "seed"),
        "test.small.adds_up": node("adds_up", "tests/adds_up.sql", [], ["model.small.first"], "test"),
    },
    "macros": {
        "macro.small.cents": macro("cents", "macros/cents.sql", "rounded"),
        "macro.small.rounded": macro("rounded", "macros/rounded.sql"),
        "macro.small.day": macro("day", "macros/day.sql"),
        "macro.small.table": macro("materialization_table_postgres", "macros/table.sql"),
        "macro.small.is_true": macro("test_is_true", "macros/tests.sql"),
    },
}


@pytest.fixture
def changed_by(tmp_path: Path) -> Callable[..., set[str]]:
    """The models with another digest after a text of a file was replaced."""
    for path, text in SQL.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    before = model_digests(tmp_path, MANIFEST)
    assert set(before) == ALL

    def change(path: str, old: str, new: str) -> set[str]:
        file = tmp_path / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        after = model_digests(tmp_path, MANIFEST)
        file.write_text(SQL[path])
        assert model_digests(tmp_path, MANIFEST) == before
        return {name for name in ALL if after[name] != before[name]}

    return change


@pytest.mark.parametrize(
    ("path", "old", "new", "changed"),
    [
        pytest.param("models/second.sql", "*", "amount", {"second"}, id="a model without followers"),
        pytest.param("models/first.sql", "amount from", "total from", {"first", "second"}, id="a model"),
        pytest.param("models/models.yml", "period: day", "period: month", {"first", "second"}, id="its config"),
        pytest.param("models/models.yml", "numeric", "bigint", {"first", "second"}, id="a column's type"),
        pytest.param("macros/cents.sql", "rounded", "-rounded", {"first", "second"}, id="a macro"),
        pytest.param("macros/rounded.sql", "2", "3", {"first", "second"}, id="a macro of a macro"),
        pytest.param("seeds/rules.csv", "late", "early", {"rules", "beside"}, id="a seed"),
        pytest.param("macros/table.sql", "{% endm", " {% endm", ALL, id="a macro that dbt calls"),
        pytest.param("dbt_project.yml", "small", "other", ALL, id="the project"),
        pytest.param("models/models.yml", "name: orders", "name: sales", ALL, id="a source"),
        pytest.param("models/models.yml", "The first.", "The 1st.", set(), id="a description"),
        pytest.param("models/models.yml", "In euros.", "In cents.", set(), id="a column's description"),
        pytest.param("models/models.yml", "Orders.", "All orders.", set(), id="a source's description"),
        pytest.param("models/models.yml", "[not_null]", "[unique]", set(), id="a test of a column"),
        pytest.param("models/models.yml", "dashboard", "notebook", set(), id="an exposure"),
        pytest.param("macros/tests.sql", "1", "2", set(), id="a generic test"),
        pytest.param("tests/adds_up.sql", "1", "2", set(), id="a singular test"),
        pytest.param("models/notes.md", "A", "Another", set(), id="a text for the docs"),
        pytest.param("profiles.yml", "{}", "{a: 1}", set(), id="a profile"),
    ],
)
def test_change_concerns_the_models_whose_rows_it_may_change(
    changed_by: Callable[..., set[str]], path: str, old: str, new: str, changed: set[str]
) -> None:
    assert changed_by(path, old, new) == changed


def test_part_of_yaml_that_nobody_knows_concerns_all_models(changed_by: Callable[..., set[str]]) -> None:
    assert changed_by("models/models.yml", "exposures:", "surprises:") == ALL


def test_model_that_uses_another_macro_than_the_manifest_knows_has_changed(
    changed_by: Callable[..., set[str]],
) -> None:
    """The manifest may be older than the files."""
    assert changed_by("models/second.sql", "*", "{{ day() }}") == {"second"}


def test_file_that_is_gone_is_a_change(tmp_path: Path, changed_by: Callable[..., set[str]]) -> None:
    before = model_digests(tmp_path, MANIFEST)
    shutil.copytree(tmp_path, tmp_path / "copy")
    (tmp_path / "copy" / "macros" / "day.sql").unlink()
    after = model_digests(tmp_path / "copy", MANIFEST)
    assert {name for name in ALL if after[name] != before[name]} == {"beside"}
