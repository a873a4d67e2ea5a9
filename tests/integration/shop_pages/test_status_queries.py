"""The queries of Data status, Today and the digest on rows that a test has written: each column of their results."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ecommerce.alerts import digest
from ecommerce.audit.check_results import RESULTS_OF_RUN
from ecommerce.figures import key_figures
from shop_pages import status, today
from tests.integration.support import acting_as

NOON = datetime(2024, 1, 10, 12, tzinfo=UTC)
Insert = Callable[..., Any]


@pytest.fixture
def insert(connection: psycopg.Connection) -> Insert:
    """Insert a row into a table of ops; the value of its first column."""

    def insert(table: str, **values: Any) -> Any:
        row = connection.execute(
            sql.SQL("insert into ops.{} ({}) values ({}) returning *").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(sql.Placeholder() * len(values)),
            ),
            list(values.values()),
        ).fetchone()
        assert row is not None
        return row[0]

    return insert


@pytest.fixture
def batch(insert: Insert) -> Insert:
    """Insert a load of days of January 2024."""

    def batch(first: int, last: int, status: str = "loaded", source: str = "sales_fact", **other: Any) -> int:
        days = {"window_start": date(2024, 1, first), "window_end": date(2024, 1, last + 1)}
        return insert("load_batch", source=source, status=status, **days, **{"started_at": NOON} | other)

    return batch


@pytest.fixture
def build(insert: Insert) -> Insert:
    """Insert a build that has ended."""

    def build(run_id: str, *, is_published: bool = True, **other: Any) -> None:
        insert(
            "build", run_id=run_id, is_full_refresh=False, project_digest="p", claimed_at=NOON, finished_at=NOON,
            is_published=is_published, **{"dag_id": "ecommerce_warehouse"} | other,
        )  # fmt: skip

    return build


def rows(connection: psycopg.Connection, query: str, **parameters: Any) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), parameters or None).fetchall()


def test_calendar_has_each_loaded_day_of_the_range(
    connection: psycopg.Connection, batch: Insert, build: Insert
) -> None:
    build("published")
    build("unpublished", is_published=False)
    first = batch(1, 3, built_by="published")
    batch(3, 3, "failed")
    second = batch(4, 4, built_by="unpublished")
    batch(5, 5, "running")
    batch(6, 6, "failed")
    third = batch(6, 6)
    fourth = batch(6, 9, source="product")
    batch(1, 1, source="customer")
    batch(8, 9, source="customer")
    found = rows(connection, status.CALENDAR, first=date(2024, 1, 2), last=date(2024, 1, 7))
    columns = ("source", "batch_id", "is_loaded", "is_failed", "is_published", "rejected", "is_dirty")
    assert [(row["day"].day, *(row[name] for name in columns)) for row in found] == [
        (6, "product", fourth, True, False, False, None, False),
        (7, "product", fourth, True, False, False, None, False),
        (2, "sales_fact", first, True, False, True, None, False),
        (3, "sales_fact", first, True, True, True, None, False),
        (4, "sales_fact", second, True, False, False, None, False),
        (6, "sales_fact", third, True, False, False, None, False),
    ]


def test_calendar_marks_dirty_days_of_their_own_source(
    connection: psycopg.Connection, batch: Insert, insert: Insert
) -> None:
    first, product = batch(2, 4), batch(2, 4, source="product")
    for source, batch_id, day in (("sales_fact", first, 3), ("product", product, 4), ("sales_fact", first, 9)):
        insert("dirty_date", source=source, dirty_date=date(2024, 1, day), batch_id=batch_id, marked_at=NOON)
    found = rows(connection, status.CALENDAR, first=date(2024, 1, 1), last=date(2024, 1, 9))
    assert [(row["source"], row["day"].day) for row in found if row["is_dirty"]] == [("product", 4), ("sales_fact", 3)]


def test_calendar_counts_rejected_rows_on_their_own_day_or_the_last_of_their_load(
    connection: psycopg.Connection, batch: Insert, insert: Insert
) -> None:
    loaded, other = batch(1, 4), batch(1, 4, source="weather_data")

    def reject(batch_id: int, source: str, **other: Any) -> None:
        payload = Jsonb({name: value for name, value in other.items() if name != "replayed_at"})
        replayed = {"replayed_at": other["replayed_at"]} if "replayed_at" in other else {}
        insert(
            "quarantine", batch_id=batch_id, source=source, reason="r", payload=payload, quarantined_at=NOON, **replayed
        )

    reject(loaded, "sales_fact", created_at="2024-01-02 10:00:00")
    reject(loaded, "sales_fact", created_at="2024-01-02T23:30:00-01:00")
    reject(loaded, "sales_fact", created_at="2024-01-02 10:00:00", replayed_at=NOON)
    reject(loaded, "sales_fact", timestamp="2024-01-03T00:00:00")
    reject(loaded, "sales_fact", created_at="soon", date="nor this")
    reject(loaded, "sales_fact")
    reject(other, "weather_data", date="2024-01-01")
    reject(other, "weather_data", date="2023-12-31")
    found = rows(connection, status.CALENDAR, first=date(2024, 1, 1), last=date(2024, 1, 4))
    assert {(row["source"], row["day"].day): row["rejected"] for row in found if row["rejected"]} == {
        ("sales_fact", 2): 1,
        ("sales_fact", 3): 2,
        ("sales_fact", 4): 2,
        ("weather_data", 1): 1,
    }


def test_calendar_has_the_rows_of_which_some_are_rejected(
    connection: psycopg.Connection, batch: Insert, insert: Insert
) -> None:
    batch(1, 2, rows_read=10, rows_loaded=10)
    batch(2, 2, "failed", rows_read=7)
    last = batch(2, 2, rows_read=5, rows_loaded=5)
    insert("loaded_day", source="sales_fact", day=date(2024, 1, 2), rows=92, batch_id=last)
    insert("loaded_day", source="product", day=date(2024, 1, 1), rows=3, batch_id=last)
    found = rows(connection, status.CALENDAR, first=date(2024, 1, 1), last=date(2024, 1, 2))
    assert [(row["day"].day, row["rows_of_day"], row["rows_of_load"]) for row in found] == [(1, None, 10), (2, 92, 5)]


def test_calendar_has_the_rows_of_the_loads_that_rejected_some(
    connection: psycopg.Connection, batch: Insert, insert: Insert
) -> None:
    """Not those of a later load: a topic without new messages has read none."""
    first = batch(1, 3, rows_read=100, rows_loaded=100, source="kafka_stream")
    second = batch(3, 3, rows_read=60, rows_loaded=60, source="kafka_stream")
    batch(3, 3, rows_read=0, source="kafka_stream")
    for batch_id in (first, first, second):
        insert(
            "quarantine", batch_id=batch_id, source="kafka_stream", reason="r", payload=Jsonb({}), quarantined_at=NOON
        )
    found = rows(connection, status.CALENDAR, first=date(2024, 1, 3), last=date(2024, 1, 3))
    assert [(row["rejected"], row["rows_of_load"], row["rows_of_loads"]) for row in found] == [(3, 100, 160)]
    reach = [{"source": "kafka_stream", "first_day": date(2024, 1, 1), "last_day": date(2024, 1, 3)}]
    (cell,) = status.calendar(found, reach, date(2024, 1, 3), date(2024, 1, 3))["kafka_stream"]
    assert (cell.letter, cell.read) == ("2%", 160)


def test_calendar_has_a_day_as_unpublished_whose_publication_was_undone(
    connection: psycopg.Connection, batch: Insert, build: Insert, insert: Insert
) -> None:
    """Until the next publication; a load that has changed nothing says nothing of it."""

    def publication(number: int, run_id: str, restores: int | None = None) -> None:
        insert(
            "publication", publication_id=number, run_id=run_id, mart="a", rows_inserted=0, rows_updated=0,
            rows_deleted=0, published_at=NOON, restores=restores,
        )  # fmt: skip

    def is_published() -> bool:
        (row,) = rows(connection, status.CALENDAR, first=date(2024, 1, 2), last=date(2024, 1, 2))
        return row["is_published"]

    for number, run_id in enumerate(("one", "two"), start=1):
        build(run_id)
        batch(2, 2, built_by=run_id, rows_read=5, rows_loaded=5)
        publication(number, run_id)
    batch(2, 2, rows_read=5, rows_unchanged=5)
    assert is_published()
    publication(3, "undo", restores=1)
    assert not is_published()
    publication(4, "three")
    assert is_published()


def test_day_has_its_loads_and_the_publication_of_each(
    connection: psycopg.Connection, batch: Insert, build: Insert, insert: Insert
) -> None:
    build("published")
    for number, run_id in ((4, "published"), (5, "other")):
        insert(
            "publication", publication_id=number, run_id=run_id, mart="a", rows_inserted=0, rows_updated=0,
            rows_deleted=0, published_at=NOON,
        )  # fmt: skip
    first = batch(1, 3, built_by="published")
    second = batch(3, 4, "failed", error="no answer")
    batch(4, 5)
    batch(3, 3, source="product")
    found = rows(connection, status.LOADS_OF_DAY, source="sales_fact", day=date(2024, 1, 3), most=20)
    names = ("batch_id", "status", "error", "is_published", "publication_id", "published_at", "all_rows")
    assert [tuple(row[name] for name in names) for row in found] == [
        (second, "failed", "no answer", False, None, None, 2),
        (first, "loaded", None, True, 4, NOON, 2),
    ]
    assert (found[1]["window_start"], found[1]["last_day"]) == (date(2024, 1, 1), date(2024, 1, 3))


def test_day_has_the_reasons_of_its_rejected_rows(
    connection: psycopg.Connection, batch: Insert, insert: Insert
) -> None:
    loaded, other = batch(1, 4), batch(1, 4, source="refund")
    for batch_id, source, day, reason, replayed_at in (
        (loaded, "sales_fact", 2, "no number: x", None), (loaded, "sales_fact", 2, "no number: y", None),
        (loaded, "sales_fact", 2, "no key", None), (loaded, "sales_fact", 2, "no key", NOON),
        (loaded, "sales_fact", 3, "no key", None), (other, "refund", 2, "no key", None),
    ):  # fmt: skip
        payload = Jsonb({"created_at": f"2024-01-0{day} 10:00:00"})
        insert(
            "quarantine", batch_id=batch_id, source=source, reason=reason, payload=payload, quarantined_at=NOON,
            replayed_at=replayed_at,
        )  # fmt: skip
    found = rows(connection, status.REJECTED_OF_DAY, source="sales_fact", day=date(2024, 1, 2))
    assert [tuple(row.values()) for row in found] == [("no number", 2, loaded), ("no key", 1, loaded)]


def test_ranges_of_sources_are_of_all_loads_that_have_loaded(connection: psycopg.Connection, batch: Insert) -> None:
    batch(3, 4)
    batch(2, 3)
    batch(1, 9, "failed")
    batch(5, 5, source="product")
    assert rows(connection, status.SOURCE_RANGES) == [
        {"source": "product", "first_day": date(2024, 1, 5), "last_day": date(2024, 1, 5)},
        {"source": "sales_fact", "first_day": date(2024, 1, 2), "last_day": date(2024, 1, 4)},
    ]


def test_runs_add_up_their_loads_and_name_the_sources_that_failed(
    connection: psycopg.Connection, batch: Insert, build: Insert, insert: Insert
) -> None:
    later = NOON + timedelta(hours=1)
    run: dict[str, Any] = {"run_id": "one", "dag_id": "ecommerce_warehouse"}
    counts = {"rows_read": 4, "rows_loaded": 3, "rows_quarantined": 1}
    # The second try of the product succeeded; that of the weather failed.
    batch(2, 3, finished_at=NOON, **run, **counts)
    batch(2, 4, "failed", "product", **run)
    batch(2, 4, source="product", finished_at=later, **run, **counts)
    batch(1, 3, source="weather_data", **run)
    batch(1, 3, "failed", "weather_data", **run)
    batch(9, 9, run_id="two", dag_id="ecommerce_warehouse", started_at=later, finished_at=later)
    batch(9, 9, run_id="other", dag_id="extract_product", started_at=later)
    batch(9, 9)
    build("one", failed_sources=["weather_data"])
    for mart, rows_of in (("a", (1, 2, 3)), ("b", (0, 0, 4))):
        inserted, updated, deleted = rows_of
        insert(
            "publication", publication_id=1, run_id="one", mart=mart, rows_inserted=inserted, rows_updated=updated,
            rows_deleted=deleted, published_at=later + timedelta(minutes=1),
        )  # fmt: skip
    two, one = rows(connection, status.RUNS, most=30)
    assert (two["run_id"], two["all_rows"], two["seconds"], two["published_at"]) == ("two", 2, 0, None)
    assert (two["failed_sources"], two["left_out_sources"], two["rows_changed"]) == (None, None, None)
    assert one["run_id"] == "one"
    assert (one["first_day"], one["last_day"]) == (date(2024, 1, 1), date(2024, 1, 4))
    assert (one["rows_read"], one["rows_loaded"], one["rows_quarantined"]) == (8, 6, 2)
    assert (one["failed_sources"], one["left_out_sources"]) == (["weather_data"], ["weather_data"])
    assert (one["started_at"], one["finished_at"], one["seconds"]) == (NOON, later, 3660)
    assert (one["rows_changed"], one["published_at"]) == (10, later + timedelta(minutes=1))


def test_runs_say_what_holds_them_back(
    connection: psycopg.Connection, batch: Insert, build: Insert, insert: Insert
) -> None:
    """Checks whose last result is a failure, and those that wait for a person; the run lasts until its last check."""
    for run_id in ("failed", "asking"):
        batch(2, 3, run_id=run_id, dag_id="ecommerce_warehouse", finished_at=NOON)
    build("failed")
    build("asking", is_published=False)
    connection.execute("update ops.build set finished_at = null where run_id = 'asking'")
    for name, state, minutes in (("rows", "fail", 1), ("mix", "fail", 2), ("rows", "pass", 3)):
        insert(
            "check_result", run_id="failed", check_name=name, subject="a", status=state, message="m",
            checked_at=NOON + timedelta(minutes=minutes),
        )  # fmt: skip
    for run_id, minutes in (("failed", 9), ("asking", 9), ("asking", -9)):
        insert(
            "decision", run_id=run_id, check_name=f"amount{minutes}", subjects=["a"], message="m", days=[],
            difference=Jsonb({}), asked_at=NOON, answer_until=datetime.now(UTC) + timedelta(minutes=minutes),
        )  # fmt: skip
    found = {row["run_id"]: row for row in rows(connection, status.RUNS, most=30)}
    assert (found["failed"]["failed_checks"], found["failed"]["asking_checks"]) == (["mix"], None)
    assert found["failed"]["seconds"] == 180
    assert (found["asking"]["failed_checks"], found["asking"]["asking_checks"]) == (None, ["amount9"])
    assert found["asking"]["seconds"] == 0


def test_runs_say_which_task_failed_where_no_check_did(
    connection: psycopg.Connection, batch: Insert, insert: Insert
) -> None:
    """Also a run that has failed before it has loaded anything, of which there is no batch."""
    warehouse = "ecommerce_warehouse"
    batch(2, 3, run_id="loaded", dag_id=warehouse, finished_at=NOON)
    batch(2, 3, run_id="without", dag_id=warehouse, finished_at=NOON)
    for dag_id, task_id, first, last in (
        (warehouse, "refresh_marts", "loaded", "loaded"), (warehouse, "window", "before", "before again"),
        ("extract_product", "extract", "other", "other"), (warehouse, None, "late", "without"),
    ):  # fmt: skip
        insert(
            "alert", incident=f"{dag_id}.{task_id}", dag_id=dag_id, task_id=task_id, severity="fail",
            message=f"{task_id} has no answer", first_run_id=first, last_run_id=last, opened_at=NOON, last_seen_at=NOON,
        )  # fmt: skip
    found = {row["run_id"]: row for row in rows(connection, status.RUNS, most=30)}
    outcomes = {run_id: (row["outcome"], row["outcome_tone"], row["error"]) for run_id, row in found.items()}
    assert outcomes == {
        "loaded": ("not published, failed: refresh_marts", "bad", "refresh_marts has no answer"),
        "before": ("not published, failed: window", "bad", "window has no answer"),
        "before again": ("not published, failed: window", "bad", "window has no answer"),
        "without": ("not published", "unknown", None),
    }
    assert (found["before"]["all_rows"], found["before"]["started_at"], found["before"]["rows_read"]) == (4, NOON, None)


def check(insert: Insert, state: str, days_ago: int = 0, **other: Any) -> None:
    values = {"run_id": "run", "check_name": "rows", "subject": "a", "message": f"it is {state}"}
    insert("check_result", status=state, checked_at=NOON - timedelta(days=days_ago), **values | other)


def test_checks_have_their_last_result_and_their_bars(
    connection: psycopg.Connection, insert: Insert, build: Insert
) -> None:
    build("run", dag_id="a_dag")
    check(insert, "fail", 90, subject="old")
    check(insert, "fail", 2)
    check(insert, "warn", 1, observed=1, expected=2)
    check(insert, "pass", observed=3, expected=4, run_id="last")
    check(insert, "fail", 89, subject="z")
    for _ in range(22):
        check(insert, "pass", subject="often")
    first, *others = rows(connection, status.CHECKS)
    assert (first["subject"], first["status"], first["passed"]) == ("z", "fail", 0)
    a, often = others
    assert (a["subject"], a["status"], a["message"], a["run_id"]) == ("a", "pass", "it is pass", "last")
    assert (a["observed"], a["expected"], a["checked_at"]) == (3, 4, NOON)
    assert (a["passed"], a["statuses"]) == (1, ["fail", "warn", "pass"])
    assert a["times"] == [NOON - timedelta(days=2), NOON - timedelta(days=1), NOON]
    assert (a["run_ids"], a["dag_ids"]) == (["run", "run", "last"], ["a_dag", "a_dag", "ecommerce_warehouse"])
    assert first["dag_ids"] == ["a_dag"]
    assert (often["subject"], often["passed"], len(often["statuses"])) == ("often", 20, 20)


def test_incidents_are_the_open_ones_and_those_closed_in_the_last_30_days(
    connection: psycopg.Connection, insert: Insert
) -> None:
    now = datetime.now(UTC)

    def alert(incident: str, opened: int, closed: int | None = None) -> None:
        insert(
            "alert", incident=incident, dag_id="d", severity="fail", message="m", first_run_id="r", last_run_id="r",
            opened_at=now - timedelta(days=opened), last_seen_at=now, window_end=date(2024, 1, 2),
            closed_at=None if closed is None else now - timedelta(days=closed),
        )  # fmt: skip

    alert("open", 50)
    alert("older", 60)
    alert("closed", 40, 29)
    alert("just closed", 40, 1)
    alert("long closed", 40, 31)
    found = rows(connection, status.INCIDENTS)
    assert [row["incident"] for row in found] == ["older", "open", "just closed", "closed"]
    assert {(row["all_rows"], row["last_day"]) for row in found} == {(4, date(2024, 1, 1))}


def test_quarantine_is_grouped_by_rule_with_three_examples(
    connection: psycopg.Connection, batch: Insert, insert: Insert
) -> None:
    first, last = batch(1, 1), batch(2, 2)
    for n in range(5):
        insert(
            "quarantine", batch_id=last if n == 4 else first, source="sales_fact", reason=f"no number: x{n}; too long",
            payload=Jsonb({"order_id": n, "unknown": n}),
            quarantined_at=NOON + timedelta(hours=n), replayed_at=NOON if n < 2 else None,
        )  # fmt: skip
    insert("quarantine", batch_id=first, source="product", reason="no key", payload=Jsonb({}), quarantined_at=NOON)
    most, other = rows(connection, status.QUARANTINE)
    assert (most["source"], most["reason"]) == ("sales_fact", "no number; too long")
    assert (most["rejected"], most["replayed"], most["batch_id"], most["all_rows"]) == (5, 2, last, 2)
    assert (most["first_at"], most["last_at"]) == (NOON, NOON + timedelta(hours=4))
    assert ["".join(example.split()) for example in most["examples"]] == [
        '{"order_id":4}',
        '{"order_id":3}',
        '{"order_id":2}',
    ]
    assert (other["reason"], other["rejected"]) == ("no key", 1)


def test_publications_have_the_marts_that_changed(
    connection: psycopg.Connection, build: Insert, insert: Insert
) -> None:
    def publication(number: int, mart: str, *counts: int) -> None:
        names = ("rows_inserted", "rows_updated", "rows_deleted")
        insert(
            "publication", publication_id=number, run_id=f"run{number}", mart=mart,
            published_at=NOON + timedelta(days=number), **dict(zip(names, counts, strict=True)),
        )  # fmt: skip

    publication(1, "a", 0, 0, 0)
    publication(2, "b", 1, 0, 0)
    publication(2, "a", 0, 2, 1)
    publication(2, "c", 0, 0, 0)
    build("run2", dag_id="rollback_publication")
    connection.execute("update ops.publication set restores = 1 where publication_id = 2")
    second, first = rows(connection, status.PUBLICATIONS, most=20)
    assert (second["publication_id"], second["run_id"], second["all_rows"]) == (2, "run2", 2)
    assert (second["rows_inserted"], second["rows_updated"], second["rows_deleted"]) == (1, 2, 1)
    assert second["marts"] == [
        {"mart": "a", "inserted": 0, "updated": 2, "deleted": 1},
        {"mart": "b", "inserted": 1, "updated": 0, "deleted": 0},
    ]
    assert first["marts"] is None
    assert [(row["dag_id"], row["restores"]) for row in (second, first)] == [
        ("rollback_publication", 1), ("ecommerce_warehouse", None),
    ]  # fmt: skip
    (published,) = rows(connection, today._PUBLISHED)
    assert published == {"publication_id": 2, "run_id": "run2", "published_at": NOON + timedelta(days=2)}


def test_today_has_the_last_result_of_each_check_of_the_run(connection: psycopg.Connection, insert: Insert) -> None:
    check(insert, "fail", run_id="one")
    check(insert, "pass", run_id="one")
    check(insert, "warn", run_id="one", subject="b")
    check(insert, "fail", run_id="two")
    found = rows(connection, RESULTS_OF_RUN, run_id="one")
    assert [(row["subject"], row["status"]) for row in found] == [("b", "warn"), ("a", "pass")]


def test_today_has_the_checks_that_failed_after_the_publication(connection: psycopg.Connection, insert: Insert) -> None:
    check(insert, "fail", 1, subject="before")
    check(insert, "fail", 0, run_id="two")
    check(insert, "fail", 0, run_id="three")
    check(insert, "warn", 0, subject="b")
    found = rows(connection, today._FAILED_SINCE, published_at=NOON - timedelta(days=1))
    assert [(row["subject"], row["run_id"]) for row in found] == [("a", "three")]


def test_today_has_the_last_ended_load_of_each_source_of_the_shop(
    connection: psycopg.Connection, batch: Insert
) -> None:
    batch(1, 1, "failed")
    batch(2, 2, rows_read=3, rows_quarantined=3)
    batch(3, 3, "running")
    batch(1, 1, "failed", "product")
    batch(1, 1, "failed", "refund")
    found = rows(connection, today._LOADS, absent="weather_data,refund")
    assert [(row["source"], row["status"], row["rows_quarantined"]) for row in found] == [
        ("product", "failed", 0),
        ("sales_fact", "loaded", 3),
    ]


# -- marts and facts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def table(connection: psycopg.Connection) -> Iterator[Callable[..., None]]:
    """Make a table of core or marts, with these columns and rows; gone after the test."""
    owners = {"core": "transformer", "marts": "publisher"}
    names: list[str] = []

    def make(name: str, columns: str, *rows: tuple[object, ...]) -> None:
        names.append(name)
        with acting_as(connection, owners[name.partition(".")[0]]):
            connection.execute(f"create table {name} ({columns})".encode())
            for row in rows:
                connection.execute(f"insert into {name} values ({', '.join(['%s'] * len(row))})".encode(), row)

    yield make
    for name in names:
        with acting_as(connection, owners[name.partition(".")[0]]):
            connection.execute(f"drop table {name}".encode())


def test_today_has_the_subscriptions_of_each_day_with_the_fee_that_was_known_then(
    connection: psycopg.Connection, table: Callable[..., None]
) -> None:
    long_ago, never = "2023-01-01", "infinity"
    table("marts.daily_revenue", "order_date date", ("2024-01-10",))
    table(
        "core.fact_subscriptions", "subscription_id text, start_date date, end_date date",
        # Two begin on one day with one fee, and one of them ends when another begins.
        ("A", "2024-01-01", None), ("B", "2024-01-01", "2024-01-05"), ("D", "2024-01-05", None),
        # Ended on the day it began; begins after the last day of sales.
        ("C", "2024-01-03", "2024-01-03"), ("E", "2024-01-20", None),
    )  # fmt: skip
    table(
        "core.int_subscription_fees", "subscription_id text, valid_from date, valid_to date, monthly_fee numeric",
        ("A", long_ago, never, 10), ("B", long_ago, never, 10), ("C", long_ago, never, 7), ("E", long_ago, never, 9),
        ("D", long_ago, "2024-01-08", 20), ("D", "2024-01-08", never, 25),
    )  # fmt: skip
    assert [tuple(row.values()) for row in rows(connection, key_figures.SUBSCRIPTIONS_BY_DAY)] == [
        (date(2024, 1, 8), 2, 35), (date(2024, 1, 5), 2, 30), (date(2024, 1, 1), 2, 20),
    ]  # fmt: skip


def test_today_has_the_subscriptions_of_all_plans_in_the_last_month(
    connection: psycopg.Connection, table: Callable[..., None]
) -> None:
    table(
        "marts.subscription_performance_monthly",
        "revenue_month date, plan_type text, active_subscriptions bigint, closing_mrr numeric",
        ("2024-01-01", "Basic", 1, 10), ("2024-01-01", None, 2, 20), ("2024-01-01", "All plans", 3, 30),
        ("2023-12-01", "Basic", 100, 1000),
    )  # fmt: skip
    (found,) = rows(connection, key_figures.SUBSCRIPTIONS)
    assert tuple(found.values()) == (date(2024, 1, 1), 3, 30)


def test_today_has_what_needs_attention(connection: psycopg.Connection, table: Callable[..., None]) -> None:
    table(
        "marts.order_for_reviews", "order_date date, review_priority text, review_status text",
        ("2024-01-01", "High", "open"), ("2024-01-02", "High", "open"), ("2024-01-02", "Low", "open"),
        ("2024-01-31", "Low", "open"), ("2024-01-31", "High", "fine"),
    )  # fmt: skip
    stock = (("Low Stock", 1), ("Low Stock", 0), ("Low Stock", 0), ("Out of Stock", 5), ("In Stock", None))
    table("marts.inventory_status", "product_status text, suggested_order_quantity bigint", *stock)
    (found,) = rows(connection, key_figures.ATTENTION, as_of=date(2024, 1, 31))
    assert found == {"reviews": 3, "urgent_reviews": 1, "reorders": 2, "sold_out": 1}


def test_digest_lists_the_first_orders_to_review(connection: psycopg.Connection, table: Callable[..., None]) -> None:
    table(
        "marts.order_for_reviews",
        "order_id text, order_date date, order_amount numeric, reasons text[], review_status text, risk_score int",
        *((name, "2024-01-02", 10, ["why"], "open", 5) for name in "fcad"),
        ("dear", "2024-01-31", 20, ["why"], "open", 5), ("risky", "2024-01-31", 1, ["why", "what"], "open", 9),
        ("old", "2024-01-01", 99, ["why"], "open", 9), ("seen", "2024-01-31", 99, ["why"], "fine", 9),
    )  # fmt: skip
    found = rows(connection, digest._REVIEWS, as_of=date(2024, 1, 31))
    assert [row["order_id"] for row in found] == ["risky", "dear", "a", "c", "d"]
    assert (found[0]["order_amount"], found[0]["reasons"]) == (1, ["why", "what"])


def test_digest_lists_the_first_products_to_order(connection: psycopg.Connection, table: Callable[..., None]) -> None:
    table(
        "marts.inventory_status",
        "product_id text, product_name text, stock_level bigint, suggested_order_quantity bigint,"
        " days_of_stock numeric",
        ("unknown", "Unknown", 1, 99, None), ("later", "Later", 4, 1, 4), ("less", "Less", 3, 5, 3),
        ("more b", "More", 3, 9, 3), ("more a", "More", 3, 9, 3), ("soon", "Soon", 0, 1, 0), ("enough", "E", 9, 0, 0),
    )  # fmt: skip
    found = rows(connection, digest._REORDERS)
    assert [row["product_id"] for row in found] == ["soon", "more a", "more b", "less", "later"]
    assert tuple(found[3].values()) == ("less", "Less", 3, 5)


def test_digest_lists_the_first_incidents_and_says_how_many_there_are(
    connection: psycopg.Connection, insert: Insert
) -> None:
    for hour, incident, severity in [
        (1, "warned first", "warn"), (2, "a", "fail"), (3, "b", "fail"), (4, "c", "fail"), (5, "d", "fail"),
        (6, "warned last", "warn"), (7, "closed", "fail"),
    ]:  # fmt: skip
        at = NOON + timedelta(hours=hour)
        insert(
            "alert", incident=incident, dag_id="a_dag", severity=severity, message="m", first_run_id="r",
            last_run_id="r", opened_at=at, last_seen_at=at, closed_at=at if incident == "closed" else None,
        )  # fmt: skip
    found = rows(connection, digest._INCIDENTS)
    assert [row["incident"] for row in found] == ["d", "c", "b", "a", "warned last"]
    assert {row["all_rows"] for row in found} == {6}


def test_today_has_the_days_that_are_compared_in_their_order(
    connection: psycopg.Connection, table: Callable[..., None]
) -> None:
    days = ["2024-12-31", "2023-12-28", "2023-12-27", "2024-06-01"]
    table(
        "marts.daily_revenue",
        "order_date date, daily_revenue numeric, refunded_amount numeric, net_revenue numeric, daily_orders bigint, "
        "guest_orders bigint, gross_margin_percent numeric, known_cost_percent numeric",
        *((day, 1, 2, 3, 4, 5, 6, 7) for day in days),
    )
    table(
        "marts.conversion_funnel_daily",
        "event_date date, viewers bigint, buyers bigint",
        *((day, 1, 2) for day in days),
    )
    in_order = [date(2023, 12, 28), date(2024, 6, 1), date(2024, 12, 31)]
    sales, conversion = rows(connection, key_figures.SALES), rows(connection, key_figures.CONVERSION)
    assert [row["day"] for row in sales] == [row["day"] for row in conversion] == in_order
    assert tuple(sales[0].values())[1:] == (1, 2, 3, 4, 5, 6, 7)
    assert tuple(conversion[0].values())[1:] == (1, 2)
