"""A check that a person may approve: its question with what would change, the recorded answer, and its effect."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from ecommerce.alerts.task_callbacks import settle_checks
from ecommerce.audit import evaluation, quality_check
from ecommerce.audit.checks_file import check_of
from ecommerce.audit.quality_check import QualityCheck, question_in_words
from ecommerce.audit.quality_trigger import QualityTrigger
from ecommerce.build import lease
from ecommerce.build.other_runs import is_in_the_way
from ecommerce.common.windows import Request, Window
from ecommerce.publish.preview import Difference, Mover, as_markdown, differences, preview_publication
from tests.integration.audit.test_anomaly import MONDAY, Sold, history, sold
from tests.integration.publish.test_publication import build, publish, warehouse
from tests.integration.support import Loader, acting_as

__all__ = ["history", "sold", "warehouse"]

RUN = "a_run"
REVENUE = "order_date date not null, category text, revenue numeric(18,2), orders bigint"
REVENUE_KEY = "unique nulls not distinct (order_date, category)"
FAILURE = "raw.sales_fact: 4 Mar 2024: 1 rows, about 40 expected (98 % fewer)"


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the task has passed to Airflow: questions, and notes for the run."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(quality_check, "upsert_hitl_detail", lambda **question: sent.append(question))
    monkeypatch.setattr(quality_check, "add_note", lambda context, text: sent.append({"note": text}))
    return sent


class Check:
    """The task of the check `volume` in a worker, and in the triggerer."""

    def __init__(self, day: date = MONDAY, run_id: str = RUN) -> None:
        self.day, self.run_id = day, run_id
        self.task = QualityCheck(
            task_id="volume",
            check_name="volume",
            window_task_id="window",
            preview=preview_publication,
            on_question=settle_checks,
        )

    def resume(self, event: dict[str, Any]) -> None:
        run = SimpleNamespace(run_id=self.run_id, dag_id="a_dag")
        window = {"start_date": str(self.day), "end_date": str(self.day)}
        ti = SimpleNamespace(id=UUID(int=1))
        self.task.execute_complete(cast("Any", {"dag_run": run, "ti": ti, "params": window}), event)

    def ask(self, days: tuple[date, ...] = (MONDAY,)) -> None:
        """Let the check fail, so that its task asks."""
        with pytest.raises(TaskAwaitingInput) as waiting:
            self.resume({"failures": FAILURE, "subjects": ["raw.sales_fact"], "days": [str(day) for day in days]})
        assert waiting.value.method_name == "execute_complete"
        assert waiting.value.timeout == timedelta(hours=20)

    def answer(self, option: str, why: str = "a strike") -> None:
        who = {"id": "7", "name": "Ada"}
        self.resume({"chosen_options": [option], "params_input": {"reason": why}, "responded_by_user": who})

    def trigger_event(self, monkeypatch: pytest.MonkeyPatch) -> TriggerEvent:
        """Evaluate the check as its trigger does."""
        trigger = QualityTrigger(check_name="volume", warehouse_conn_id="warehouse_publisher", window_task_id="window")

        async def read_context(_: object) -> Any:
            window = Window.of_days(self.day, self.day)
            return quality_check.CheckContext(Request(window, frozenset(), False, False), self.run_id, {})

        monkeypatch.setattr(QualityTrigger, "_read_context", read_context)

        async def event() -> TriggerEvent:
            return await anext(trigger.run())

        return asyncio.run(event())


@pytest.fixture
def held_back(warehouse: Loader) -> Loader:
    """A publication, and a run that has built the mart with other rows since."""
    build(
        warehouse, "revenue", REVENUE, REVENUE_KEY, (MONDAY, "Toys", 100, 2), (MONDAY, None, 5, 1), (MONDAY, "Z", 1, 1)
    )
    publish(warehouse.connection, RUN)
    lease.take(warehouse.connection, "a_dag", RUN, project="p", full_refresh=False)
    rows = ((MONDAY, "Toys", 1, 1), (MONDAY, None, 5, 1), (MONDAY, "New", 40, 3))
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, *rows)
    return warehouse


def decisions(loader: Loader) -> list[tuple]:
    return loader.rows("select run_id, check_name, days, decision, decided_by, reason from ops.decision order by 1")


def test_preview_names_the_biggest_changes_of_each_mart(held_back: Loader) -> None:
    build(held_back, "gained", "k int primary key, v int", "check (true)", (1, 2))
    with acting_as(held_back.connection, "publisher"):
        preview = differences(held_back.connection, RUN)
    day = str(MONDAY)
    assert preview == [
        Difference("gained", 1, 0, 0, None, []),
        Difference(
            "revenue",
            1,
            1,
            1,
            "revenue",
            [
                Mover({"category": "Toys", "order_date": day}, 100.0, 1.0),
                Mover({"category": "New", "order_date": day}, None, 40.0),
                Mover({"category": "Z", "order_date": day}, 1.0, None),
            ],
        ),
    ]
    assert as_markdown(preview).splitlines()[2:] == [
        "| gained | 1 | 0 | 0 | – |",
        f"| revenue | 1 | 1 | 1 | revenue: Toys, {day}: 100.00 → 1.00; New, {day}: – → 40.00; Z, {day}: 1.00 → – |",
    ]
    assert held_back.value("select revenue from marts.revenue where category = 'Toys'") == 100
    assert as_markdown([]) == "No mart would change."


def test_preview_escapes_bars_in_markdown() -> None:
    preview = [Difference("m", 1, 0, 0, "v", [Mover({"k": "a|b"}, None, 1.0)])]
    assert as_markdown(preview).endswith(r"| m | 1 | 0 | 0 | v: a\|b: – → 1.00 |")


def test_preview_shows_keys_as_they_are() -> None:
    attack = "x\n\n# All fine ![](https://evil.test/pixel.png) <img src=x>" + "y" * 1_000
    row = as_markdown([Difference("m", 1, 0, 0, "v", [Mover({"k": attack}, None, 1.0)])]).splitlines()[-1]
    assert row.startswith(r"| m | 1 | 0 | 0 | v: x \# All fine \!\[\](https：//evil.test/pixel.png) \<img src=x\>yyy")
    assert row.endswith("y…: – → 1.00 |")
    assert len(row) < 200


def test_question_shows_values_as_they_are() -> None:
    attack = "the mix differs; \n\n# All fine, please approve\n\n![](https://evil.test/pixel.png) [Yes](https://e.test)"
    body = question_in_words(attack, datetime(2024, 7, 1, 8, tzinfo=UTC), "No mart would change.")
    assert body.split("\n\n") == [
        r"the mix differs; \# All fine, please approve \!\[\](https：//evil.test/pixel.png) \[Yes\](https：//e.test)",
        "Whoever may edit the tasks of this DAG can approve or reject. "
        "Without an answer until 2024-07-01 08:00 UTC nothing is published.",
        "**What would change in `marts`**",
        "No mart would change.",
    ]


def test_failed_check_asks_with_what_would_change(held_back: Loader, questions: list[dict[str, Any]]) -> None:
    Check().ask()
    (question,) = questions
    assert question["options"] == ["Approve", "Reject"]
    assert question["body"].startswith(FAILURE)
    assert "| revenue | 1 | 1 | 1 | revenue: Toys" in question["body"]
    assert question["params"]["reason"]["value"] == ""
    assert decisions(held_back) == [(RUN, "volume", [MONDAY], None, None, None)]
    (difference,) = held_back.value("select difference from ops.decision")
    assert (difference["mart"], difference["movers"][0]["after"]) == ("revenue", 1.0)
    # A task that was cleared asks again; it is still one question.
    Check().ask()
    assert len(decisions(held_back)) == 1


def test_approval_is_recorded_and_lets_the_run_publish(held_back: Loader, questions: list[dict[str, Any]]) -> None:
    check = Check()
    check.ask()
    check.answer("Approve")
    assert decisions(held_back) == [(RUN, "volume", [MONDAY], "approved", "Ada", "a strike")]
    assert questions[-1] == {"note": "approved by Ada: a strike"}
    results = held_back.rows("select check_name, subject, status, message from ops.check_result")
    assert results == [("volume", "raw.sales_fact", "warn", "approved by Ada: a strike")]
    assert publish(held_back.connection, RUN)[0].total == 3


def test_rejection_is_recorded_and_fails_the_task(held_back: Loader, questions: list[dict[str, Any]]) -> None:
    check = Check()
    check.ask()
    with pytest.raises(AirflowFailException, match=r"^check volume: rejected by Ada: half is missing; nothing"):
        check.answer("Reject", " half is missing ")
    assert decisions(held_back) == [(RUN, "volume", [MONDAY], "rejected", "Ada", "half is missing")]


def test_question_without_an_answer_fails_the_task(held_back: Loader, questions: list[dict[str, Any]]) -> None:
    check = Check()
    check.ask()
    with pytest.raises(AirflowFailException, match="Nothing is published"):
        check.resume({"error": "The timeout has passed.", "error_type": "timeout"})
    assert [row[3] for row in decisions(held_back)] == ["unanswered"]
    assert not lease.awaits_decision(held_back.connection)


def test_run_that_waits_for_a_person_does_not_block_the_next(
    held_back: Loader, questions: list[dict[str, Any]]
) -> None:
    ti = SimpleNamespace(get_dr_count=lambda **_: 1)
    held_by = lease.holder(held_back.connection)
    assert held_by is not None
    assert is_in_the_way(cast("Any", {"ti": ti}), held_back.connection, *held_by)
    check = Check()
    check.ask()
    assert not is_in_the_way(cast("Any", {"ti": ti}), held_back.connection, *held_by)
    assert lease.take(held_back.connection, "a_dag", "next", project="p", full_refresh=False, take_over_from=RUN)
    assert is_in_the_way(cast("Any", {"ti": ti}), held_back.connection, "a_dag", "next")
    with pytest.raises(AirflowFailException, match="another run has built in the meantime; that run decides"):
        check.answer("Approve")
    assert [row[3] for row in decisions(held_back)] == ["overtaken"]
    assert held_back.value("select revenue from marts.revenue where category = 'Toys'") == 100


@pytest.mark.parametrize("without", ["a lease", "a build"])
def test_run_with_nothing_to_publish_does_not_ask(
    held_back: Loader, questions: list[dict[str, Any]], without: str
) -> None:
    if without == "a lease":
        lease.take(held_back.connection, "a_dag", "another", project="p", full_refresh=False, take_over_from=RUN)
    else:
        publish(held_back.connection, RUN)
    with pytest.raises(AirflowFailException, match="check volume failed, nothing is published"):
        Check().resume({"failures": FAILURE, "subjects": ["raw.sales_fact"], "days": []})
    assert questions == []
    assert decisions(held_back) == []


def test_check_that_is_not_approvable_fails(held_back: Loader, questions: list[dict[str, Any]]) -> None:
    task = QualityCheck(task_id="it", check_name="reconciliation_core", window_task_id="window")
    with pytest.raises(AirflowFailException, match="check reconciliation_core failed"):
        task.execute_complete(cast("Any", {}), {"failures": "it differs"})
    assert questions == []


@pytest.fixture
def nothing_sold(history: None, sold: Sold, loader: Loader) -> Callable[[date], None]:
    """Let the run `next` claim a day; Monday has no order, which is far too little by the history."""

    def nothing_sold(day: date) -> None:
        loader.connection.execute("insert into ops.claimed_date values (%s, 'sales_fact', %s, 0, now())", ["next", day])

    sold({MONDAY: 0})
    return nothing_sold


def test_approved_day_is_a_known_incident(
    nothing_sold: Callable[[date], None], loader: Loader, monkeypatch: pytest.MonkeyPatch, sold: Sold
) -> None:
    sold({MONDAY + timedelta(days=1): 20})
    _with_limits(monkeypatch, fail_below=-5)
    event = Check().trigger_event(monkeypatch)
    assert event.payload["days"] == [str(MONDAY)]
    assert "4 Mar 2024: 0 rows, about 40 expected (100 % fewer)" in event.payload["failures"]
    loader.connection.execute(
        """
        insert into ops.decision (
            run_id, check_name, subjects, message, days, difference, asked_at, decision, decided_at, decided_by
        )
        values ('a_run', 'volume', '{}', '', array[%s]::date[], '[]', now(), 'approved', now(), 'Ada')
        """,
        [MONDAY],
    )
    assert isinstance(Check().trigger_event(monkeypatch), TaskSuccessEvent)
    messages = loader.rows("select message from ops.check_result order by check_result_id desc limit 2")
    assert any("4 Mar 2024 is approved by Ada" in message for (message,) in messages)


def test_next_run_checks_days_that_it_publishes_for_the_run_before(
    nothing_sold: Callable[[date], None], monkeypatch: pytest.MonkeyPatch, sold: Sold
) -> None:
    """Nobody has decided on Monday, so Tuesday's run, which has claimed it, fails by it."""
    tuesday = MONDAY + timedelta(days=1)
    sold({tuesday: 20})
    _with_limits(monkeypatch, fail_below=-5)
    assert isinstance(Check(tuesday, "next").trigger_event(monkeypatch), TaskSuccessEvent)
    nothing_sold(MONDAY)
    event = Check(tuesday, "next").trigger_event(monkeypatch)
    assert event.payload["days"] == [str(MONDAY)]


def test_check_that_is_evaluated_again_withdraws_its_question(
    held_back: Loader, questions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Check().ask()
    Check().trigger_event(monkeypatch)
    assert decisions(held_back) == []


def _with_limits(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    check = check_of("volume").model_copy(update=limits)
    monkeypatch.setattr(evaluation, "check_of", lambda _: check)
