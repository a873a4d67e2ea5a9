"""`run_dbt` on a small project and a real Postgres: the results of its nodes, and the cache of the parsed project."""

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from cosmos import ProfileConfig
from cosmos.profiles import PostgresUserPasswordProfileMapping

from dbt_triggerer import BuildError, invocation, run_dbt
from dbt_triggerer.node_results import NodeResult

pytestmark = pytest.mark.slow

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
    """A project of two good models; the cache of its parsing is in the test's own folder."""
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


def cached_parse(project: Path) -> tuple[str, bytes]:
    """Name and content of the cached parse."""
    (file,) = project.parent.glob("dbt-triggerer-*/*.msgpack")
    return file.name, file.read_bytes()


def rows(dsn: str, table: str = "good") -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(f"select * from tiny.{table} order by number".encode()).fetchall()


def test_results_of_good_nodes_are_reported_as_they_end(project: Path, warehouse_dsn: str) -> None:
    reported: list[NodeResult] = []
    environment = dict(os.environ)
    ended = run_dbt(["build"], project=project, profile=profile(), on_result=reported.append)
    assert reported == ended
    assert [result.unique_id for result in ended] == ["model.tiny.good", "model.tiny.after"]
    good = ended[0]
    assert good.is_good
    assert (good.status, good.rows) == ("success", 3)
    assert good.started_at is not None
    assert good.finished_at is not None
    assert good.started_at <= good.finished_at
    assert good.sql is not None
    assert good.sql.startswith("select")
    assert good.started_at.endswith("+00:00")
    assert rows(warehouse_dsn) == [(1, "one", "green"), (2, "one", "green"), (3, "one", "green")]
    assert dict(os.environ) == environment


def test_failed_node_has_message_and_sql_and_the_next_is_skipped(project: Path, warehouse_dsn: str) -> None:
    write(project, {"models/good.sql": "select 1 / 0 as number"})
    write(project, {"models/apart.sql": "select 1 as number"})
    ended = build(project)
    assert statuses(ended) == {"good": "error", "after": "skipped", "apart": "success"}
    assert ended["good"].is_bad
    assert "division by zero" in (ended["good"].message or "")
    assert "select 1 / 0 as number" in (ended["good"].sql or "")
    assert ended["after"].is_skipped
    assert ended["after"].sql is None


def test_failed_test_counts_its_rows_and_the_next_node_is_skipped(project: Path, warehouse_dsn: str) -> None:
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
    assert bad[0].rows is None
    assert ended["after"].is_skipped
    assert sorted(statuses(ended).values()) == ["fail", "pass", "skipped", "success"]


def test_unreachable_warehouse_raises_build_error(project: Path, set_connection: Callable[[str, str], None]) -> None:
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
def test_unparsable_project_raises_build_error(project: Path, warehouse_dsn: str, file: str, text: str) -> None:
    write(project, {file: text})
    with pytest.raises(BuildError, match="dbt build broke off"):
        build(project)


# -- the cache of the parsed project -----------------------------------------------------------------------------------


def test_unchanged_project_is_not_parsed_again(project: Path, warehouse_dsn: str) -> None:
    build(project)
    parsed = cached_parse(project)
    build(project)
    assert cached_parse(project) == parsed, "dbt rewrites it, with another invocation id, whenever it parses anything"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            {"models/good.sql": "select 9 as number, 'new' as word, 'x' as colour"}, [(9, "new", "x")], id="model"
        ),
        pytest.param({"macros/size.sql": "{% macro size() %}1{% endmacro %}"}, [(1, "one", "green")], id="macro"),
    ],
)
def test_changed_file_changes_the_next_run(
    project: Path, warehouse_dsn: str, change: dict[str, str], expected: list[tuple]
) -> None:
    build(project)
    parsed = cached_parse(project)
    write(project, change)
    build(project)
    assert rows(warehouse_dsn) == expected
    assert cached_parse(project) != parsed


@pytest.mark.parametrize(
    ("variable", "expected"), [("TINY_WORD", (1, "set", "green")), ("TINY_COLOUR", (1, "one", "set"))]
)
def test_changed_environment_variable_changes_the_next_run(
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


def test_cache_of_one_project_is_not_used_for_another(project: Path, warehouse_dsn: str, tmp_path: Path) -> None:
    build(project)
    another = tmp_path / "another"
    write(another, {**PROJECT, "models/good.sql": "select 5 as number"})
    build(another)
    assert rows(warehouse_dsn) == [(5,)]
    assert len(list(tmp_path.glob("dbt-triggerer-*/*.msgpack"))) == 2


def test_damaged_cache_is_replaced(project: Path, warehouse_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    build(project)
    (file,) = project.parent.glob("dbt-triggerer-*/*.msgpack")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with caplog.at_level(logging.INFO):
        assert statuses(build(project)) == {"good": "success", "after": "success"}


def test_cache_in_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's name can be guessed: a link there would let root write into any folder of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"dbt-triggerer-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BuildError, match="is no folder of this user"):
        invocation._parse_cache(Path("project"), "target")
