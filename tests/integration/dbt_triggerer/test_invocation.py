"""One dbt command, on a tiny project: how its nodes ended, and never what the project was before it changed."""

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from cosmos import ProfileConfig
from cosmos.profiles import PostgresUserPasswordProfileMapping

from dbt_triggerer.errors import BuildError
from dbt_triggerer.invocation import run_dbt
from dbt_triggerer.node_results import NodeResult

PROJECT = {
    "dbt_project.yml": """
        name: tiny
        version: "1.0.0"
        profile: tiny
        flags: {send_anonymous_usage_stats: false}
        vars: {colour: "{{ env_var('TINY_COLOUR', 'green') }}"}
        models: {tiny: {+materialized: table}}
    """,
    "macros/size.sql": "{% macro size() %}3{% endmacro %}",
    "models/good.sql": """
        select number, '{{ env_var("TINY_WORD", "one") }}' as word, '{{ var("colour") }}' as colour
        from generate_series(1, {{ size() }}) as number
    """,
    "models/after.sql": "select count(*) as number from {{ ref('good') }}",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two good models; what is kept of its parsing stays in the test's own folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "project"
    write(folder, PROJECT)
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        lines = [line.removeprefix("        ") for line in text.strip("\n").splitlines()]
        (folder / name).write_text("\n".join(lines) + "\n")


def profile(conn_id: str = "warehouse") -> ProfileConfig:
    return ProfileConfig(
        profile_name="tiny",
        target_name="airflow",
        profile_mapping=PostgresUserPasswordProfileMapping(
            conn_id=conn_id, profile_args={"schema": "tiny", "threads": 2}
        ),
    )


def build(project: Path, *arguments: str) -> dict[str, NodeResult]:
    """Name → how the node ended."""
    ended = run_dbt(["build", *arguments], project=project, profile=profile())
    return {result.unique_id.split(".")[2]: result for result in ended}


def statuses(ended: dict[str, NodeResult]) -> dict[str, str]:
    return {name: result.status for name, result in ended.items()}


def kept(project: Path) -> tuple[str, bytes]:
    """What is kept of the last parsing."""
    (file,) = project.parent.glob("ecommerce-dbt-*/*.msgpack")
    return file.name, file.read_bytes()


def rows(dsn: str, table: str = "good") -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(f"select * from tiny.{table} order by number".encode()).fetchall()


def test_good_nodes_tell_what_they_did_as_they_end(project: Path, warehouse_dsn: str) -> None:
    told: list[NodeResult] = []
    environment = dict(os.environ)
    ended = run_dbt(["build"], project=project, profile=profile(), on_result=told.append)
    assert told == ended
    assert [result.unique_id for result in ended] == ["model.tiny.good", "model.tiny.after"]
    good = ended[0]
    assert good.is_good
    assert (good.status, good.rows) == ("success", 3)
    assert good.started_at is not None
    assert good.finished_at is not None
    assert good.started_at <= good.finished_at
    assert good.started_at.endswith("+00:00")
    assert rows(warehouse_dsn) == [(1, "one", "green"), (2, "one", "green"), (3, "one", "green")]
    assert dict(os.environ) == environment


def test_a_failing_node_tells_why_and_its_statement_and_what_follows_is_not_run(
    project: Path, warehouse_dsn: str
) -> None:
    write(project, {"models/good.sql": "select 1 / 0 as number"})
    write(project, {"models/apart.sql": "select 1 as number"})
    ended = build(project)
    assert statuses(ended) == {"good": "error", "after": "skipped", "apart": "success"}
    assert ended["good"].is_bad
    assert "division by zero" in (ended["good"].message or "")
    assert "select 1 / 0 as number" in (ended["good"].sql or "")
    assert ended["after"].is_not_run
    assert ended["after"].sql is None


def test_a_failing_test_counts_its_rows_and_what_follows_is_not_run(project: Path, warehouse_dsn: str) -> None:
    write(
        project,
        {
            "models/_models.yml": """
                models:
                  - name: good
                    columns:
                      - name: number
                        data_tests: [unique, {accepted_values: {arguments: {values: [1]}}}]
            """
        },
    )
    ended = build(project)
    bad = [result for result in ended.values() if result.is_bad]
    assert [(result.status, result.failures) for result in bad] == [("fail", 2)]
    assert "select" in (bad[0].sql or "")
    assert ended["after"].is_not_run
    assert sorted(statuses(ended).values()) == ["fail", "pass", "skipped", "success"]


def test_a_warehouse_that_is_not_there(project: Path, set_connection: Callable[[str, str], None]) -> None:
    set_connection("nowhere", "postgresql://nobody:secret@127.0.0.1:9/nowhere")
    with pytest.raises(BuildError, match="dbt build broke off"):
        run_dbt(["build"], project=project, profile=profile("nowhere"))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("models/broken.sql", "select * from {{ ref('no_such_model') }}"),
        ("models/broken.sql", "select {{ unclosed"),
        ("dbt_project.yml", "name: [\n"),
    ],
)
def test_a_project_that_cannot_be_parsed(project: Path, warehouse_dsn: str, file: str, text: str) -> None:
    write(project, {file: text})
    with pytest.raises(BuildError, match="dbt build broke off"):
        build(project)


# -- what is kept of the last parsing ----------------------------------------------------------------------------------


def test_with_nothing_changed_dbt_does_not_parse_again(project: Path, warehouse_dsn: str) -> None:
    build(project)
    parsed = kept(project)
    build(project)
    assert kept(project) == parsed, "dbt writes it anew, with another invocation id, whenever it parses anything"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            {"models/good.sql": "select 9 as number, 'new' as word, 'x' as colour"}, [(9, "new", "x")], id="model"
        ),
        pytest.param({"macros/size.sql": "{% macro size() %}1{% endmacro %}"}, [(1, "one", "green")], id="macro"),
    ],
)
def test_a_changed_file_changes_the_next_run(
    project: Path, warehouse_dsn: str, change: dict[str, str], expected: list[tuple]
) -> None:
    build(project)
    parsed = kept(project)
    write(project, change)
    build(project)
    assert rows(warehouse_dsn) == expected
    assert kept(project) != parsed


@pytest.mark.parametrize(
    ("variable", "expected"), [("TINY_WORD", (1, "set", "green")), ("TINY_COLOUR", (1, "one", "set"))]
)
def test_a_changed_environment_variable_changes_the_next_run(
    project: Path,
    warehouse_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    expected: tuple,
) -> None:
    build(project)
    monkeypatch.setenv(variable, "set")
    build(project)
    assert rows(warehouse_dsn)[0] == expected


def test_what_is_kept_of_one_project_is_not_taken_for_another(
    project: Path, warehouse_dsn: str, tmp_path: Path
) -> None:
    build(project)
    another = tmp_path / "another"
    write(another, {**PROJECT, "models/good.sql": "select 5 as number"})
    build(another)
    assert rows(warehouse_dsn) == [(5,)]
    assert len(list(tmp_path.glob("ecommerce-dbt-*/*.msgpack"))) == 2


def test_a_kept_parsing_that_is_damaged_is_parsed_anew(
    project: Path, warehouse_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    build(project)
    (file,) = project.parent.glob("ecommerce-dbt-*/*.msgpack")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with caplog.at_level(logging.INFO):
        assert statuses(build(project)) == {"good": "success", "after": "success"}
