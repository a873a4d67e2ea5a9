"""What a command says at its end about a run: rows by source and reason, checks, marts, and what waits."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ecommerce.common.errors import SourceError
from ecommerce.common.sources import SOURCES
from ecommerce.extract.reader_protocol import ResumePoints
from ecommerce.load.batches import RunIdentity
from include.demo.errors import StackError
from include.demo.rollback import rollback_in_words
from include.demo.run_summary import run_summary, sources_in_quarantine
from include.demo.state import State
from tests.integration.support import Loader, Row, Rows

DAY = "2024-01-05"
RUN = RunIdentity("ecommerce_warehouse", "a_run")


@dataclass
class Unavailable(Rows):
    """The reader of a source whose server does not answer."""

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        raise SourceError("the API does not answer")


def order(order_id: str, amount: str) -> Row:
    return {
        "order_id": order_id, "product_id": "P1", "order_date": DAY, "order_amount": amount,
        "created_at": f"{DAY} 10:00:00",
    }  # fmt: skip


@pytest.fixture
def dsn(warehouse_dsn: str, postgres: State) -> str:
    """The warehouse as the commands read it, by a role that sees no personal data."""
    role = {"user": "inspector", "password": postgres.passwords["inspector"]}
    return make_conninfo("", **conninfo_to_dict(warehouse_dsn) | role)


def test_summary_has_rows_by_reason_checks_marts_and_what_waits(loader: Loader, dsn: str) -> None:
    good = [order(f"O{n}", "10") for n in range(60)]
    loader.load("sales_fact", DAY, rows=[*good, order("B1", "-1")], run=RunIdentity("other", "before"))
    bad = [order("B1", "-1"), order("B2", "-2"), order("B3", "-3"), order("B4", "soon")]
    loader.load("sales_fact", DAY, rows=[*good[1:], *bad], run=RUN)
    for _ in range(2):
        with pytest.raises(SourceError):
            loader.load("weather_data", DAY, reader=Unavailable(SOURCES["weather_data"], ()), run=RUN)
    for check, status, message in (
        ("volume", "fail", "5 Jan: 1 row"), ("volume", "warn", "5 Jan: 92 rows, about 150 expected"),
        ("freshness", "pass", "all days"), ("amount", "fail", "half is missing\n(50 %)"),
    ):  # fmt: skip
        loader.connection.execute(
            "insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)"
            " values (now(), 'a_run', %s, 'raw.sales_fact', %s, %s)",
            [check, status, message],
        )
    assert run_summary(dsn, "a_run", is_to_publish=True) == [
        "Loaded                     read        new  unchanged    removed   rejected",
        "sales_fact                   63          0         60          1          3",
        "  2 rejected: order_amount is negative",
        "  1 rejected: order_amount is not an amount of money (at most 16 digits)",
        "  1 more: rejected before, and unchanged",
        "weather_data         failed: the API does not answer",
        "Checks: 1 passed, 1 warned, 1 failed",
        "  fail amount, raw.sales_fact: half is missing (50 %)",
        "  warn volume, raw.sales_fact: 5 Jan: 92 rows, about 150 expected",
        "Marts: this run has published nothing",
        "Waits now:",
        f"  1 day of sales_fact, for the next build (make run FROM={DAY} TO={DAY})",
        "  4 rejected rows of sales_fact, in quarantine; when the cause is repaired: make replay SOURCE=sales_fact",
    ]
    assert sources_in_quarantine(dsn) == ["sales_fact"]


def test_summary_says_once_what_is_true_of_several_marts(loader: Loader, dsn: str) -> None:
    kept = "keeps what was published at 2024-01-05 07:00 UTC: sales_fact could not be loaded"
    for subject, message in (("marts.a", kept), ("marts.b", kept), ("marts.c", "published again")):
        status = "fail" if message == kept else "pass"
        loader.connection.execute(
            "insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)"
            " values (now(), 'a_run', 'stale', %s, %s, %s)",
            [subject, status, message],
        )
    assert run_summary(dsn, "a_run", is_to_publish=False)[:2] == [
        "Checks: 1 passed, 0 warned, 2 failed",
        f"  fail stale, marts.a, marts.b: {kept}",
    ]


def test_summary_names_no_day_of_the_future_for_the_next_build(loader: Loader, dsn: str) -> None:
    """A run of such days is refused."""
    batch = loader.load("sales_fact", DAY, rows=[order("O1", "10")], run=RUN).batch_id
    loader.connection.execute(
        "insert into ops.dirty_date (source, dirty_date, batch_id, marked_at) values"
        " ('sales_fact', '2023-12-30', %(batch)s, now()), ('sales_fact', current_date + 9, %(batch)s, now()),"
        " ('refund', current_date + 9, %(batch)s, now())",
        {"batch": batch},
    )
    assert run_summary(dsn, "a_run", is_to_publish=False)[-2:] == [
        "  1 day of refund, for the next build (make run)",
        f"  3 days of sales_fact, for the next build (make run FROM=2023-12-30 TO={DAY})",
    ]


def test_summary_of_a_publication_names_the_marts_that_changed(loader: Loader, dsn: str) -> None:
    assert run_summary(dsn, "a_run", is_to_publish=False) == ["Nothing waits."]
    for run_id, number, mart, *counts in (
        ("before", 6, "a", 9, 9, 9), ("a_run", 7, "daily_revenue", 1, 1200, 0), ("a_run", 7, "trend", 0, 0, 0),
    ):  # fmt: skip
        loader.connection.execute(
            "insert into ops.publication"
            " (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at)"
            " values (%s, %s, %s, %s, %s, %s, now())",
            [number, run_id, mart, *counts],
        )
    assert run_summary(dsn, "a_run", is_to_publish=True) == [
        "Marts: 1 of 2 changed by publication 7",
        "  daily_revenue: 1 new, 1,200 changed, 0 gone",
        "Nothing waits.",
    ]
    assert run_summary(dsn, "failed", is_to_publish=True)[0] == (
        "Marts: this run has published nothing; they are as publication 7 left them"
    )


def test_summary_of_pruning_has_what_is_gone(loader: Loader, dsn: str) -> None:
    for run_id, place, deleted, size in (
        ("a_run", "ops.check_result", 12_345, 6_700_000), ("a_run", "ops.alert", 0, 0), ("b_run", "ops.alert", 0, 0),
    ):  # fmt: skip
        loader.connection.execute(
            "insert into ops.pruning (run_id, place, deleted, bytes, older_than) values (%s, %s, %s, %s, now())",
            [run_id, place, deleted, size],
        )
    assert run_summary(dsn, "a_run", is_to_publish=False) == [
        "Pruned                     gone        bytes",
        "ops.check_result         12,345       6.7 MB",
        "Nothing waits.",
    ]
    assert run_summary(dsn, "b_run", is_to_publish=False)[0] == "Pruned: nothing was old enough"


def test_summary_says_which_check_waits_for_a_person_until_when(loader: Loader, dsn: str) -> None:
    for run_id, until, is_builder in (("a_run", "1 hour", True), ("overtaken", "1 hour", False)):
        loader.connection.execute(
            "insert into ops.build (run_id, dag_id, is_full_refresh, project_digest, claimed_at, finished_at)"
            " values (%s, 'ecommerce_warehouse', false, 'p', now(), case when %s then null else now() end)",
            [run_id, is_builder],
        )
        loader.connection.execute(
            "insert into ops.decision"
            " (run_id, check_name, subjects, message, days, difference, asked_at, answer_until)"
            " values (%s, 'volume', '{}', '5 Jan: 1 row', '{}', '[]', now(), now() + %s::interval)",
            [run_id, until],
        )
    heading, question = run_summary(dsn, "another", is_to_publish=False)
    assert heading == "Waits now:"
    assert question.startswith(
        "  The run a_run waits for a person, since the check volume failed: 5 Jan: 1 row. Whoever may edit the tasks "
        "of this DAG can approve or reject. Without an answer until "
    )
    loader.connection.execute("update ops.decision set answer_until = now() - interval '1 minute'")
    assert run_summary(dsn, "another", is_to_publish=False) == ["Nothing waits."]


def test_rollback_says_what_it_takes_back_or_why_it_cannot(loader: Loader, dsn: str) -> None:
    with pytest.raises(StackError, match="there is no publication before the last one"):
        rollback_in_words(dsn, None)
    loader.connection.execute(
        """
        insert into ops.publication (
            publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at, undo_by
        )
        values (1, 'r1', 'a', 0, 0, 0, now(), 'rows'), (2, 'r2', 'a', 0, 0, 0, now(), 'rows'),
            (3, 'r3', 'a', 0, 0, 0, now(), null), (3, 'r3', 'b', 0, 0, 0, now(), 'nothing'),
            (4, 'r4', 'a', 0, 0, 0, now(), 'rows'), (5, 'r5', 'a', 0, 0, 0, now(), 'rows')
        """
    )
    try:
        for to, problem in (
            (99, "there is no publication 99"),
            (5, "publication 5 is the last one"),
            (2, "publication 2 cannot be restored: publication 3 of a did not keep the rows it replaced"),
        ):
            with pytest.raises(StackError, match=problem):
                rollback_in_words(dsn, to)
        assert rollback_in_words(dsn, None)[0] == "Restores publication 4, and so takes back 5:"
        assert rollback_in_words(dsn, 3)[0] == "Restores publication 3, and so takes back 4, 5:"
    finally:
        loader.connection.execute("delete from ops.publication")
