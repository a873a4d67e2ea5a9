"""Old rows go, young ones and those that something still reads stay; in small steps, and any number of times."""

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException
from psycopg import sql
from psycopg.types.json import Jsonb

from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.prune import prune_warehouse, pruning, retention_file
from ecommerce.prune.prunable_tables import NEVER_PRUNED, PACKABLE_TABLE, PRUNABLE_TABLES
from ecommerce.prune.prune_warehouse import PruneWarehouse
from ecommerce.prune.pruning import Pruned, prune, survey
from ecommerce.prune.retention_file import RETENTION_FILE
from tests.integration.support import Loader

NOW = datetime.now(UTC)
OLD, YOUNG, BEFORE = NOW - timedelta(days=1000), NOW - timedelta(days=5), NOW - timedelta(days=900)
FIRST = date(2024, 1, 1)
QUARANTINE = PRUNABLE_TABLES["ops.quarantine"]

Insert = Callable[..., Any]


@pytest.fixture
def insert(connection: psycopg.Connection) -> Insert:
    """Insert a row into a table of ops; its first column."""

    def insert(table: str, **values: Any) -> Any:
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        places = sql.SQL(", ").join([sql.Placeholder()] * len(values))
        query = sql.SQL("insert into ops.{} ({}) values ({}) returning *")
        row = connection.execute(query.format(sql.Identifier(table), names, places), list(values.values())).fetchone()
        assert row is not None
        return row[0]

    return insert


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the logs of tasks."""
    folder = tmp_path / "logs"
    monkeypatch.setattr(prune_warehouse, "conf", SimpleNamespace(get=lambda section, key: str(folder)))
    return folder


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the task has added to the note of its run."""
    notes: list[str] = []
    monkeypatch.setattr(prune_warehouse, "add_note", lambda context, text: notes.append(text))
    return notes


def run(run_id: str = "a_run", *, dry_run: bool = False) -> dict[str, Pruned]:
    """What the task returns, by place."""
    context: Any = {"params": {"dry_run": dry_run}, "dag_run": SimpleNamespace(dag_id="d", run_id=run_id)}
    found = PruneWarehouse(task_id="prune").execute(context)
    return {
        one["place"]: Pruned(one["place"], one["deleted"], one["bytes"], datetime.fromisoformat(one["before"]))
        for one in found
    }


def reject(insert: Insert, batch_id: int, *, replayed_at: datetime | None = None, size: int = 10) -> int:
    return insert(
        "quarantine", batch_id=batch_id, source="product", reason="r", payload=Jsonb({"name": "x" * size}),
        quarantined_at=OLD, replayed_at=replayed_at,
    )  # fmt: skip


def batch(insert: Insert, first: int, last: int, status: str = "failed", *, at: datetime = OLD, **values: Any) -> int:
    defaults = {"source": "product", "started_at": at, "finished_at": at, "run_id": "a_run", "dag_id": "d"}
    window = {"window_start": FIRST + timedelta(days=first), "window_end": FIRST + timedelta(days=last + 1)}
    return insert("load_batch", status=status, **defaults | window | values)


def builds(insert: Insert) -> None:
    """25 old builds, of which the last 20 count."""
    for n in range(25):
        at = OLD + timedelta(hours=n)
        insert(
            "build", run_id=f"b{n}", dag_id="d", is_full_refresh=False, project_digest="p", claimed_at=at,
            finished_at=at, is_published=True,
        )  # fmt: skip


def results(insert: Insert, subject: str, at: datetime = OLD, run_id: str = "b0") -> list[int]:
    """30 results of a subject, each with a bad row."""
    found = [
        insert(
            "check_result", checked_at=at + timedelta(minutes=n), run_id=run_id, check_name="volume", subject=subject,
            status="fail", message="m",
        )
        for n in range(30)
    ]  # fmt: skip
    for result in found:
        insert("check_failure", check_result_id=result, bad_row=Jsonb({"a": 1}))
    return found


def alert(insert: Insert, incident: str, **values: Any) -> int:
    defaults = {"dag_id": "d", "severity": "fail", "message": "m", "first_run_id": "a", "last_run_id": "a",
                "opened_at": OLD, "last_seen_at": OLD}  # fmt: skip
    return insert("alert", incident=incident, **defaults | values)


def published(insert: Insert, publication_id: int, mart: str, **values: Any) -> None:
    insert(
        "publication", publication_id=publication_id, mart=mart, run_id="b0", rows_inserted=0, rows_updated=0,
        rows_deleted=0, published_at=OLD, **values,
    )  # fmt: skip


def ids(loader: Loader, table: str, column: str) -> list[Any]:
    return [value for (value,) in loader.rows(f"select {column} from ops.{table} order by 1")]


def test_old_rows_go_and_what_is_read_stays(loader: Loader, insert: Insert, notes: list[str]) -> None:
    builds(insert)
    covered = [batch(insert, 1, 2), batch(insert, 1, 1, "loaded")]
    kept = [
        # It has left rows; the next load of the day has not succeeded; no later load covers it whole.
        batch(insert, 1, 2, "loaded", rows_read=3, rows_loaded=3),
        batch(insert, 4, 9),
        batch(insert, 1, 1, source="customer"),
        batch(insert, 1, 1, at=YOUNG),
    ]
    named = batch(insert, 2, 2)
    insert(
        "schema_change", source="product", column_name="c", change="new", policy="ignore", batch_id=named,
        noticed_at=OLD, last_batch_id=named, last_seen_at=OLD,
    )  # fmt: skip
    unpublished = batch(insert, 7, 7)
    batch(insert, 7, 7, "loaded")
    last = batch(insert, 0, 5, "loaded", built_by="b24")
    # The one that covers it is young.
    kept += [batch(insert, 11, 11), batch(insert, 11, 11, "loaded", at=YOUNG, built_by="b24")]
    kept += [named, unpublished, unpublished + 1, last, batch(insert, 3, 3)]
    rejected = [reject(insert, last), reject(insert, last, replayed_at=YOUNG)]
    reject(insert, last, replayed_at=OLD)

    seen, incident, recent, young = (
        results(insert, "seen"),
        results(insert, "incident"),
        results(insert, "recent", run_id="b24"),
        results(insert, "young", YOUNG),
    )
    open_alerts = [
        alert(insert, "a", check_name="volume", subject="incident"),
        alert(insert, "b", closed_at=OLD, send_error="no answer"),
        alert(insert, "c", closed_at=YOUNG, sent_at=YOUNG),
    ]
    alert(insert, "d", closed_at=OLD, sent_at=OLD)
    for run_id in ("b0", "b24"):
        insert("rebuild", run_id=run_id, model="m", period="all", sources=[], rows_inserted=1, rebuilt_at=OLD)
        insert(
            "claimed_date", run_id=run_id, source="product", dirty_date=FIRST, batch_id=last, claimed_at=OLD
        )  # fmt: skip
    insert("rebuild", run_id="b0", model="excluded", period="all", sources=[], rows_inserted=1, rebuilt_at=OLD)
    for check, decision in (("a", "approved"), ("b", "rejected"), ("c", None)):
        insert(
            "decision", run_id="b1", check_name=check, subjects=[], message="m", days=[], difference=Jsonb({}),
            asked_at=OLD, decision=decision, decided_at=OLD if decision else None,
        )  # fmt: skip
    for number in range(1, 121):
        published(insert, number, "a", restores=5 if number == 110 else None)
    published(insert, 3, "b")

    everything = loader.everything()
    would_go = run("dry", dry_run=True)
    assert loader.everything() == everything
    assert notes == []
    done = run()
    assert {place: one.deleted for place, one in done.items() if place.startswith("ops.")} == {
        "ops.check_failure": 10,
        "ops.check_result": 10,
        "ops.quarantine": 1,
        "ops.claimed_date": 1,
        "ops.rebuild": 1,
        "ops.load_batch": 2,
        "ops.decision": 1,
        "ops.alert": 1,
        "ops.publication": 18,
    }
    assert {place: (one.deleted, one.size) for place, one in would_go.items()} == {
        place: (one.deleted, one.size) for place, one in done.items()
    }

    assert ids(loader, "check_result", "check_result_id") == sorted([*seen[10:], *incident, *recent, *young])
    assert ids(loader, "check_failure", "check_result_id") == ids(loader, "check_result", "check_result_id")
    assert ids(loader, "quarantine", "quarantine_id") == rejected
    assert ids(loader, "load_batch", "batch_id") == sorted(kept)
    assert not set(covered) & set(kept)
    assert loader.rows("select run_id, model from ops.rebuild order by 1, 2") == [("b0", "excluded"), ("b24", "m")]
    assert ids(loader, "claimed_date", "run_id") == ["b24"]
    assert ids(loader, "alert", "alert_id") == open_alerts
    assert ids(loader, "decision", "check_name") == ["a", "c"]
    assert loader.rows("select mart, publication_id from ops.publication where publication_id <= 20 order by 1, 2") == [
        ("a", 5), ("a", 20), ("b", 3),
    ]  # fmt: skip
    assert len(ids(loader, "build", "run_id")) == 25

    # Of each place it is noted what has gone, also where it was nothing.
    noted = dict(loader.rows("select place, deleted from ops.pruning where run_id = 'a_run'"))
    assert noted == {place: one.deleted for place, one in done.items()}
    bytes_by_place = dict(loader.rows("select place, bytes from ops.pruning"))
    assert {place: one.size for place, one in done.items()} == bytes_by_place
    assert all(one.size > 30 * one.deleted for one in done.values() if one.deleted)
    assert "ops.publication 18" in notes[0]

    after = loader.everything()
    again = run("again")
    assert {one.deleted for one in again.values()} == {0}
    assert {name: rows for name, rows in loader.everything().items() if name != "ops.pruning"} == {
        name: rows for name, rows in after.items() if name != "ops.pruning"
    }
    assert notes[1] == "nothing was old enough"


@pytest.fixture
def many(loader: Loader, insert: Insert, monkeypatch: pytest.MonkeyPatch) -> int:
    """A quarantine of several blocks with nothing but replayed rows; how many. A step is a block."""
    monkeypatch.setattr(pruning, "BLOCKS_OF_A_STEP", 1)
    loaded = batch(insert, 1, 1, "loaded")
    for _ in range(100):
        reject(insert, loaded, replayed_at=OLD, size=300)
    return 100


def test_table_is_pruned_in_small_steps(loader: Loader, many: int) -> None:
    with warehouse(PUBLISHER) as publisher:
        expected = survey(publisher, QUARANTINE, BEFORE)
        steps = [*prune(publisher, QUARANTINE, BEFORE, "a_run")]
    assert len(steps) >= 4
    assert max(step.deleted for step in steps) < many / 3
    assert (sum(step.deleted for step in steps), sum(step.size for step in steps)) == (many, expected.size)
    assert loader.rows("select deleted, bytes from ops.pruning") == [(many, expected.size)]


def test_interrupted_run_goes_on(loader: Loader, many: int) -> None:
    with warehouse(PUBLISHER) as publisher:
        steps = prune(publisher, QUARANTINE, BEFORE, "a_run")
        first = next(steps)
        # The session ends in the middle.
    left = loader.value("select count(*) from ops.quarantine")
    assert left == many - first.deleted > 0
    assert loader.value("select deleted from ops.pruning") == first.deleted
    run("a_run")
    assert loader.value("select count(*) from ops.quarantine") == 0
    assert loader.value("select deleted from ops.pruning where place = 'ops.quarantine'") == many


def test_nobody_waits_for_another(
    loader: Loader, insert: Insert, many: int, other_connection: psycopg.Connection
) -> None:
    """A row that another session has locked stays, and a load and a check go on beside a step that is not committed."""
    (locked,) = loader.rows("select min(quarantine_id) from ops.quarantine")[0]
    with other_connection.transaction():
        other_connection.execute("select from ops.quarantine where quarantine_id = %s for update", [locked])
        with warehouse(PUBLISHER) as publisher:
            publisher.execute("set lock_timeout = '1s'")
            assert sum(step.deleted for step in prune(publisher, QUARANTINE, BEFORE, "a_run")) == many - 1
    assert ids(loader, "quarantine", "quarantine_id") == [locked]
    with warehouse(PUBLISHER) as publisher, publisher.transaction():
        assert [*prune(publisher, QUARANTINE, BEFORE, "b_run")]
        other_connection.execute("set lock_timeout = '1s'")
        good = [{"product_id": f"P{n}", "product_name": "p"} for n in range(20)]
        result = Loader(other_connection).load("product", "2024-01-02", rows=[*good, {"product_name": "no key"}])
        assert (result.rows_loaded, result.rows_quarantined) == (20, 1)


def test_every_table_is_pruned_or_said_never_to_be(loader: Loader) -> None:
    tables = {
        f"{schema}.{name}"
        for schema, name in loader.rows(
            "select schemaname, tablename from pg_tables where schemaname in ('raw', 'ops')"
        )
    }
    assert tables == {*PRUNABLE_TABLES, PACKABLE_TABLE.name, *NEVER_PRUNED}
    assert not {*PRUNABLE_TABLES} & {*NEVER_PRUNED}


def test_what_refers_to_a_row_is_pruned_before_it(loader: Loader) -> None:
    order = [*PRUNABLE_TABLES]
    references = loader.rows(
        """
        select conrelid::regclass::text, confrelid::regclass::text
        from pg_constraint
        where contype = 'f' and confrelid::regclass::text = any(%s)
        """,
        [order],
    )
    assert ("ops.check_failure", "ops.check_result") in references
    assert all(order.index(one) < order.index(other) for one, other in references if one in order)


def test_logs_of_tasks_are_pruned(loader: Loader, logs: Path) -> None:
    path = logs / "dag_id=d" / "run_id=r" / "task_id=t" / "attempt=1.log"
    path.parent.mkdir(parents=True)
    path.write_text("a line\n")
    os.utime(path, (OLD.timestamp(), OLD.timestamp()))
    assert run("dry", dry_run=True)["airflow.logs"].deleted == 1
    assert path.exists()
    done = run()["airflow.logs"]
    assert (done.deleted, done.size) == (1, len("a line\n"))
    assert not path.exists()
    assert loader.rows("select deleted, bytes from ops.pruning where place = 'airflow.logs'") == [(1, len("a line\n"))]


def test_mistake_in_the_file_deletes_nothing(
    loader: Loader, many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "retention.yml"
    file.write_text(RETENTION_FILE.read_text().replace("ops.alert: 400", "ops.alert: 4"))
    monkeypatch.setattr(retention_file, "RETENTION_FILE", file)
    with pytest.raises(AirflowFailException, match=r"ops\.alert: is 4; write a number of days, 30 or more"):
        run()
    assert loader.value("select count(*) from ops.quarantine") == many
