"""The first build of a new stack: what dbt parsed for the manifest serves it, too."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dbt_triggerer import run_dbt
from ecommerce.build.dbt_project import DBT_PROJECT
from ecommerce.build.warehouse_group import warehouse_profile
from include.demo import airflow_services

#: What dbt says when it parses the whole project although it has an earlier result.
PARSED_AGAIN = "Unable to do partial parsing"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project that was never parsed."""
    folder = tmp_path / "dbt"
    shutil.copytree(DBT_PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(airflow_services, "DBT_PROJECT", folder)
    monkeypatch.setattr(airflow_services, "MANIFEST", folder / "target" / "manifest.json")
    return folder


@pytest.mark.slow
def test_first_build_after_the_manifest_parses_nothing_again(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_connection: Callable[[str, str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(airflow_services, "ROOT", project)
    (project / "dags").mkdir()
    dsn = "postgresql://transformer:secret@127.0.0.1:5999/warehouse"
    set_connection("warehouse_transformer", dsn)
    airflow_services.build_manifest(dsn)
    with caplog.at_level("INFO"):
        run_dbt(["parse"], project=project, profile=warehouse_profile())
    assert "Found " in caplog.text or "Registered adapter" in caplog.text
    assert PARSED_AGAIN not in caplog.text
    caplog.clear()
    set_connection("warehouse_transformer", dsn.replace("5999", "5998"))
    with caplog.at_level("INFO"):
        run_dbt(["parse"], project=project, profile=warehouse_profile())
    assert PARSED_AGAIN in caplog.text, "dbt says so for another warehouse"
