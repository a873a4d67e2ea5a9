"""A further Postgres table is one registry entry, one raw table, one staging model: `docs/adding_a_source.md`."""

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from ecommerce.common import database_schema, sources
from ecommerce.common.sources import SOURCES, Column, Kind, Source, WriteDisposition
from ecommerce.common.windows import warehouse_params
from ecommerce.load.extract_source import ExtractSource
from include.demo import dbt
from tests.integration.support import Loader, acting_as, set_shop

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "adding_a_source.md").read_text()
#: What the page shows, in its order: (language, code).
ENTRY, LOCATION, TABLE, RAW_SOURCE, MODEL, MODEL_ENTRY = (
    textwrap.dedent(code) for code in re.findall(r"^```(?:python|sql|yaml)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)


@pytest.fixture
def supplier(monkeypatch: pytest.MonkeyPatch) -> Source:
    """The page's registry entry, in the registry."""
    source = eval(ENTRY, vars(sources))
    monkeypatch.setitem(SOURCES, source.name, source)
    set_shop(monkeypatch, **yaml.safe_load(LOCATION))
    return source


@pytest.fixture
def with_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection) -> Iterator[None]:
    """The page's DDL among the scripts, applied as a task does when it connects."""
    folder = tmp_path / "sql"
    shutil.copytree(database_schema.SQL_FOLDER, folder)
    with (folder / "raw.sql").open("a") as script:
        script.write(f"\n{TABLE}")
    monkeypatch.setattr(database_schema, "SQL_FOLDER", folder)
    database_schema._scripts.cache_clear()
    with acting_as(connection, "loader"):
        database_schema.ensure_schema(connection)
    yield
    database_schema._scripts.cache_clear()


@pytest.fixture
def at_the_shop(shop: psycopg.Connection) -> psycopg.Connection:
    """The shop's table, with two good rows and a bad one."""
    shop.execute(
        "create table supplier (supplier_id text, supplier_name text, rating numeric, since date);"
        "insert into supplier values (' S1', 'Ada & Co ', 0.9, '2020-02-29'), ('S2', 'Bo', null, null),"
        " ('S3', null, 2, null)"
    )
    return shop


@pytest.mark.usefixtures("with_table", "supplier")
def test_further_source_loads_as_version_log(loader: Loader, at_the_shop: psycopg.Connection) -> None:
    first = loader.load("supplier", "2024-03-01")
    assert (first.rows_read, first.rows_loaded, first.rows_quarantined) == (3, 2, 1)
    assert loader.value("select reason from ops.quarantine") == "supplier_name is missing; rating is outside 0 to 1: 2"
    assert loader.load("supplier", "2024-03-01").rows_unchanged == 3
    at_the_shop.execute("delete from supplier where supplier_id = 'S2'; update supplier set rating = 1")
    again = loader.load("supplier", "2024-03-02")
    assert (again.rows_loaded, again.rows_removed) == (1, 1)
    assert loader.rows("select supplier_id, rating, _is_deleted from raw.supplier order by _batch_id, supplier_id") == [
        ("S1", Decimal("0.9"), False),
        ("S2", None, False),
        ("S1", Decimal("1"), False),
        ("S2", None, True),
    ]


def test_replace_window_source_needs_no_day(loader: Loader, shop: psycopg.Connection) -> None:
    """A source from which no incremental model is built marks nothing."""
    voucher = Source(
        name="voucher",
        reader="database",
        write_disposition=WriteDisposition.REPLACE_WINDOW,
        key=("voucher_id",),
        columns=(Column("voucher_id", required=True), Column("issued_on", Kind.DATE, required=True)),
        window_column="issued_on",
    )
    loader.connection.execute(
        "create table raw.voucher (voucher_id text primary key, issued_on date not null, _batch_id bigint not null,"
        " _loaded_at timestamptz not null)"
    )
    shop.execute("create table voucher (voucher_id text, issued_on date)")
    shop.execute("insert into voucher values ('R1', '2024-03-01'), ('R2', '2024-03-01'), ('R3', '2024-03-02')")
    result = loader.load(voucher, "2024-03-01")
    assert (result.rows_read, result.rows_loaded, result.days_marked) == (2, 2, 0)
    shop.execute("delete from voucher where voucher_id = 'R1'")
    result = loader.load(voucher, "2024-03-01", "2024-03-02")
    assert (result.rows_loaded, result.rows_unchanged, result.rows_removed, result.days_marked) == (1, 1, 1, 0)
    assert loader.rows("select voucher_id from raw.voucher order by 1") == [("R2",), ("R3",)]


@pytest.fixture
def dbt_project(tmp_path: Path) -> Path:
    """A copy of the dbt project with the page's model."""
    project = tmp_path / "dbt"
    shutil.copytree(ROOT / "include" / "dbt", project, ignore=shutil.ignore_patterns("target", "logs"))
    staging = project / "models" / "staging"
    (staging / "stg_supplier.sql").write_text(MODEL)
    models = {"version": 2, "models": yaml.safe_load(MODEL_ENTRY)}
    (staging / "stg_supplier.yml").write_text(yaml.safe_dump(models, sort_keys=False))
    sources_yml = staging / "_shop__sources.yml"
    file = yaml.safe_load(sources_yml.read_text())
    file["sources"][0]["tables"].extend(yaml.safe_load(RAW_SOURCE))
    sources_yml.write_text(yaml.safe_dump(file, sort_keys=False))
    return project


@pytest.mark.usefixtures("with_table", "supplier")
def test_dbt_stages_further_source(
    loader: Loader, at_the_shop: psycopg.Connection, dbt_project: Path, warehouse_dsn: str
) -> None:
    loader.load("supplier", "2024-03-01")
    at_the_shop.execute("update supplier set supplier_name = 'Bo & Sons' where supplier_id = 'S2'")
    loader.load("supplier", "2024-03-02")
    built = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), "build", "--select", "stg_supplier", "--profiles-dir", "."],
        cwd=dbt_project,
        env=dbt.environment(warehouse_dsn),
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout
    assert "PASS=4" in built.stdout  # the view, its two tests, and the hook that records them
    assert loader.rows("select * from staging.stg_supplier order by supplier_id") == [
        ("S1", "Ada & Co", Decimal("0.9"), date(2020, 2, 29)),
        ("S2", "Bo & Sons", None, None),
    ]


@pytest.mark.usefixtures("supplier")
def test_further_source_has_dag_and_form_entry() -> None:
    bag = DagBag(dag_folder=str(ROOT / "dags" / "extract_sources.py"))
    assert bag.import_errors == {}
    assert set(bag.dags) == {f"extract_{source}" for source in SOURCES}
    (task,) = bag.dags["extract_supplier"].tasks
    assert isinstance(task, ExtractSource)
    assert task.source == "supplier"
    assert "supplier" in warehouse_params()["sources"].value
