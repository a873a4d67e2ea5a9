"""Which files decide what a DAG has, and which of the dbt project dbt has not parsed yet."""

import os
from pathlib import Path

import pytest

from ecommerce.build.dag_files import WAREHOUSE_DAG, files_of_dag, unparsed_files
from ecommerce.common.shop import PROJECT, SHOPS, VARIABLE


def test_files_of_a_dag_are_those_that_its_tasks_and_its_form_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "default")
    profile = SHOPS / "default" / "shop.yml"
    files = files_of_dag(WAREHOUSE_DAG)
    assert {profile, PROJECT / "include" / "quality" / "checks.yml"} <= set(files)
    assert files_of_dag("replay_quarantine") == files_of_dag("extract_sales_fact") == [profile]
    assert files_of_dag("rollback_publication") == [], "an undo waits for nothing"


def test_file_of_the_dbt_project_that_dbt_has_not_parsed_is_named(tmp_path: Path) -> None:
    model, manifest = (tmp_path / "include" / "dbt" / name for name in ("models/a.sql", "target/manifest.json"))
    for path in (model, manifest):
        path.parent.mkdir(parents=True)
        path.touch()
    os.utime(model, (1_000, 1_000))
    os.utime(manifest, (1_001, 1_001))
    assert unparsed_files(WAREHOUSE_DAG, root=tmp_path) == []
    os.utime(model, (1_002, 1_002))
    assert unparsed_files(WAREHOUSE_DAG, root=tmp_path) == [model]
    assert unparsed_files("rollback_publication", root=tmp_path) == []
    manifest.unlink()
    assert unparsed_files(WAREHOUSE_DAG, root=tmp_path) == [], "another message says so"
