"""A change in the dbt project, previewed on a warehouse: its exact effect on the marts, and no trace of it."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from dbt_triggerer.invocation import PARSED
from ecommerce.build.dbt_project import DBT_PROJECT
from ecommerce.change_preview.change_report import as_markdown
from ecommerce.change_preview.preview_change import preview
from ecommerce.common.errors import PreviewError
from tests.integration.dbt_runs import parsed_project
from tests.integration.shop_pages.conftest import AS_OF, DAY_BEFORE
from tests.running_stack import SCHEMAS

DAILY_REVENUE = "models/marts/finance/daily_revenue"
#: What the change makes of the mart: another figure, one day less, one column gone, one retyped, one more.
CHANGE = {
    f"{DAILY_REVENUE}.sql": [
        ("daily_revenue - refunded_amount as net_revenue", "daily_revenue - 2 * refunded_amount as net_revenue"),
        ("from compared", f"from compared\n    where order_date <> '{DAY_BEFORE}'"),
        ("        guest_orders,\n        guest_revenue,\n        round(", "        guest_revenue,\n        round("),
        ("        daily_customers,\n", "        daily_customers,\n        daily_customers * 2 as shoes,\n"),
    ],
    f"{DAILY_REVENUE}.yml": [
        ("              and guest_orders <= daily_orders\n", ""),
        (
            "numeric(18, 2)\n        constraints: [{type: not_null}]\n      - name: refunded_amount",
            "numeric(18, 4)\n        constraints: [{type: not_null}]\n      - name: refunded_amount",
        ),
        ("      - name: guest_orders\n", "      - name: shoes\n"),
    ],
}  # fmt: skip


class Repository:
    """A git repository with a copy of the dbt project: its branch `main`, and a working tree to change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "include" / "dbt"
        shutil.copytree(DBT_PROJECT, self.project, ignore=shutil.ignore_patterns("target", "logs"))
        (folder / ".gitignore").write_text("target/\n")
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "as it was")
        self.git("switch", "-q", "-c", "net-revenue")
        # Parsed in this process already, so that dbt need not do it again.
        parsed = self.project / "target" / "preview" / "change"
        parsed.mkdir(parents=True)
        shutil.copyfile(parsed_project().folder / PARSED, parsed / PARSED)

    def git(self, *arguments: str) -> None:
        names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *names, *arguments], cwd=self.folder, check=True, capture_output=True)

    def change(self, changes: dict[str, list[tuple[str, str]]]) -> None:
        for file, replacements in changes.items():
            path = self.project / file
            text = path.read_text()
            for old, new in replacements:
                assert old in text, (file, old)
                text = text.replace(old, new, 1)
            path.write_text(text)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(autouse=True)
def unchanged(repository: Repository) -> Iterator[None]:
    yield
    repository.git("checkout", "-q", ".")
    repository.git("clean", "-q", "-f", "-d")


def contents(dsn: str) -> dict[str, tuple]:
    """Each relation of the warehouse: its identity, its rows' hash, and how often it was written."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables = connection.execute(
            "select pg_class.oid::regclass::text, pg_class.oid::int, relfilenode::int, relkind from pg_class"
            " inner join pg_namespace on relnamespace = pg_namespace.oid"
            " where nspname = any(%s) and relkind in ('r', 'v', 'S', 'i')",
            [list(SCHEMAS)],
        ).fetchall()
        return {
            name: (
                *identity,
                connection.execute(
                    f"select count(*), sum(hash_record_extended(kept, 0)), max(xmin::text) from {name} as kept".encode()
                ).fetchone()
                if kind == "r"
                else None,
            )
            for name, *identity, kind in tables
        }


@contextmanager
def locks_of_previewer(dsn: str) -> Iterator[set[tuple[str, str]]]:
    """The schemas in which the role has locks while this goes on, and their modes."""
    found: set[tuple[str, str]] = set()
    is_over = threading.Event()

    def look() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not is_over.wait(0.01):
                found.update(
                    connection.execute(
                        "select relnamespace::regnamespace::text, mode from pg_locks"
                        " inner join pg_stat_activity using (pid) inner join pg_class on relation = pg_class.oid"
                        " where usename = 'previewer' and pg_locks.database = (select oid from pg_database"
                        " where datname = current_database())"
                    ).fetchall()
                )

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def test_change_of_a_mart_is_shown_to_the_cent_and_leaves_no_trace(
    previewer: psycopg.Connection, filled: Callable[[str], str], repository: Repository
) -> None:
    repository.change(CHANGE)
    with psycopg.connect(filled("warehouse")) as connection:
        (revenue, refunded, last_day) = (
            connection.execute(
                "select sum(daily_revenue), sum(refunded_amount),"
                f" max(daily_revenue - refunded_amount) filter (where order_date = '{DAY_BEFORE}')"
                " from marts.daily_revenue"
            ).fetchone()
            or (None,) * 3
        )
    before = contents(filled("postgres"))
    with locks_of_previewer(filled("postgres")) as locks:
        shown = preview(previewer, "main", dbt_project=repository.project)

    assert (shown.branch, shown.changed, shown.built) == ("net-revenue", ["daily_revenue"], ["daily_revenue"])
    assert shown.as_of_date == date.fromisoformat(AS_OF)
    (mart,) = shown.marts
    assert (mart.added, mart.gone) == ([("shoes", "bigint")], [("guest_orders", "bigint")])
    assert mart.retyped == [("daily_revenue", "numeric(18,2)", "numeric(18,4)")]
    assert (mart.rows_before, mart.rows_after) == (365, 364)
    assert [dict(key) for key in mart.only_before.keys] == [{"order_date": DAY_BEFORE}]
    assert mart.only_after.rows == 0
    # Refunds of other days than the one that is gone: those of the as-of date, and of 10 May 2023.
    assert mart.changed == 2
    (net,) = [column for column in mart.numbers if column.name == "net_revenue"]
    assert net.before == revenue - refunded
    assert net.after == net.before - last_day - Decimal("59.50") - Decimal("25")
    assert [(dict(figure.key)["order_date"], figure.before, figure.after) for figure in net.largest] == [
        (DAY_BEFORE, last_day, None),
        (AS_OF, Decimal("940.50"), Decimal("881.00")),
        ("2023-05-10", Decimal("-25.00"), Decimal("-50.00")),
    ]
    assert "| 2024-03-01 | 940.50 | 881.00 | -59.50 |" in as_markdown(shown)
    # Of the fixture's own build; a real one has the digest of its project.
    assert any("another version of the dbt project than main" in remark for remark in shown.remarks)

    assert contents(filled("postgres")) == before
    assert previewer.execute("select count(*) from pg_namespace where nspname ~ '^preview_'").fetchone() == (0,)
    outside = {lock for lock in locks if not lock[0].startswith(("preview_", "pg_"))}
    assert {schema for schema, _ in outside} <= {"core", "staging", "ops", "raw"}, (
        "a publication waits for none of these"
    )
    assert {mode for _, mode in outside} == {"AccessShareLock"}


def test_change_of_an_incremental_model_reaches_the_mart_that_is_asked_for(
    previewer: psycopg.Connection, repository: Repository
) -> None:
    """The incremental model is built whole, and other marts are left out."""
    repository.change(
        {"models/core/int_daily_sales.sql": [("where {{ is_counted() }}", "where {{ is_counted() }} and not is_guest")]}
    )
    shown = preview(previewer, "main", marts=["daily_revenue"], dbt_project=repository.project)
    assert (shown.changed, shown.built) == (["int_daily_sales"], ["daily_revenue", "int_daily_sales"])
    (mart,) = shown.marts
    sums = {column.name: column for column in mart.numbers}
    # The guest's order of 100.
    assert (sums["daily_revenue"].before or 0) - (sums["daily_revenue"].after or 0) == Decimal("100.00")
    assert (sums["guest_orders"].before, sums["guest_orders"].after) == (1, 0)
    assert (mart.mart, mart.only_before.rows, mart.only_after.rows, mart.has_other_columns) == (
        "daily_revenue",
        0,
        0,
        False,
    )


def test_mart_that_cannot_be_built_is_named_with_its_error(
    previewer: psycopg.Connection, repository: Repository
) -> None:
    repository.change({f"{DAILY_REVENUE}.sql": [("from compared", "from compared where order_date = 1 / 0")]})
    with pytest.raises(PreviewError, match=r"(?s)dbt cannot build daily_revenue: .*operator does not exist"):
        preview(previewer, "main", dbt_project=repository.project)
    assert previewer.execute("select count(*) from pg_namespace where nspname ~ '^preview_'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("base", "marts", "message"),
    [
        ("nowhere", [], "there is no branch or commit nowhere"),
        ("--help", [], "there is no branch or commit --help"),
        ("main", ["daily_shoes"], "no mart: daily_shoes"),
    ],
)
def test_what_is_not_there_is_said(
    base: str, marts: list[str], message: str, previewer: psycopg.Connection, repository: Repository
) -> None:
    with pytest.raises(PreviewError, match=message):
        preview(previewer, base, marts=marts, dbt_project=repository.project)


def test_unchanged_project_builds_nothing(previewer: psycopg.Connection, repository: Repository) -> None:
    shown = preview(previewer, "main", dbt_project=repository.project)
    assert (shown.changed, shown.built, shown.marts) == ([], [], [])
    assert "The change touches no model" in as_markdown(shown)
