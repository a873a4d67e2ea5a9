"""A check that a person may approve: its question with what would change, the recorded answer, and its effect."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent
from psycopg.types.json import Jsonb

from ecommerce.alerts.task_callbacks import settle_checks
from ecommerce.audit import evaluation, quality_check
from ecommerce.audit.checks_file import check_of
from ecommerce.audit.quality_check import QualityCheck, question_in_words
from ecommerce.audit.quality_trigger import QualityTrigger
from ecommerce.build import lease
from ecommerce.build.other_runs import is_in_the_way
from ecommerce.common.errors import PublishError
from ecommerce.common.open_questions import OPEN_QUESTIONS
from ecommerce.common.windows import Request, Window
from ecommerce.publish import publication
from ecommerce.publish.merge import MartChange
from ecommerce.publish.preview import Difference, Mover, as_markdown, differences, preview_publication
from ecommerce.publish.rollback import roll_back
from tests.integration.audit.test_anomaly import MONDAY, Sold, history, sold
from tests.integration.publish.test_publication import build, publish, warehouse
from tests.integration.support import Loader, acting_as, checks_passed

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

    def ask(self) -> None:
        """Let the check fail, so that its task asks."""
        figures = [["raw.sales_fact", str(MONDAY), 1.0]]
        with pytest.raises(TaskAwaitingInput) as waiting:
            self.resume({"failures": FAILURE, "subjects": ["raw.sales_fact"], "figures": figures})
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
    assert all(difference.digest for difference in preview)
    assert [replace(difference, digest="") for difference in preview] == [
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


def test_preview_shows_keys_without_a_value_and_figures_of_0() -> None:
    preview = [Difference("m", 0, 1200, 0, "v", [Mover({"k": None, "n": 0}, 0.0, 1234.5)])]
    assert as_markdown(preview).endswith("| m | 0 | 1,200 | 0 | v: (none), 0: 0.00 → 1,234.50 |")


@pytest.mark.parametrize(
    ("columns", "measure"),
    [
        ({"growth_percent": "numeric(18,2)", "orders": "bigint", "revenue": "numeric(18,2)"}, "revenue"),
        ({"orders": "bigint", "share": "numeric(38,2)"}, "share"),
        ({"rank": "integer", "orders": "bigint", "customers": "bigint"}, "orders"),
        ({"name": "text"}, None),
    ],
    ids=["money", "another number with decimals", "the first count", "no figure"],
)
def test_preview_measures_money_before_other_figures(
    warehouse: Loader, columns: dict[str, str], measure: str | None
) -> None:
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    build(warehouse, "measured", f"id bigint, {listed}", "primary key (id)")
    publish(warehouse.connection, RUN)
    lease.take(warehouse.connection, "a_dag", RUN, project="p", full_refresh=False)
    build(warehouse, "measured", f"id bigint, {listed}", "primary key (id)", (1, *[None] * len(columns)))
    with acting_as(warehouse.connection, "publisher"):
        (difference,) = differences(warehouse.connection, RUN)
    assert (difference.inserted, difference.measure) == (1, measure)


def test_failed_check_asks_with_what_would_change(held_back: Loader, questions: list[dict[str, Any]]) -> None:
    Check().ask()
    (question,) = questions
    assert question["options"] == ["Approve", "Reject"]
    assert question["body"].startswith(FAILURE)
    assert "| revenue | 1 | 1 | 1 | revenue: Toys" in question["body"]
    # Airflow's form wants a value of a field that may not be null.
    assert question["params"]["reason"]["schema"]["type"] == ["null", "string"]
    assert question["params"]["reason"]["value"] is None
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


def test_approval_needs_no_reason_unless_the_check_requires_one(
    held_back: Loader, questions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = check_of("volume").model_copy(update={"reason_required": True})
    monkeypatch.setattr(quality_check, "check_of", lambda name: strict)
    check = Check()
    check.ask()
    reason = questions[0]["params"]["reason"]
    # Airflow's form asks for a value, and accepts no empty one.
    assert (reason["schema"]["type"], reason["schema"]["minLength"], reason["value"]) == ("string", 1, "")
    # By Airflow's API, which does not ask for it.
    asked_again = []
    monkeypatch.setattr(check.task, "_ask_again", lambda context, why: asked_again.append(why))
    check.answer("Approve", "  ")
    assert asked_again == ["Ada has approved without a reason, and this check requires one"]
    assert decisions(held_back) == [(RUN, "volume", [MONDAY], None, None, None)]
    monkeypatch.setattr(quality_check, "check_of", check_of)
    check.answer("Approve", "")
    assert decisions(held_back) == [(RUN, "volume", [MONDAY], "approved", "Ada", "")]
    assert questions[-1] == {"note": "approved by Ada: no reason given"}


def test_open_question_is_that_of_the_run_that_may_publish_until_its_time_is_over(
    held_back: Loader, questions: list[dict[str, Any]]
) -> None:
    check = Check()
    check.ask()
    ((dag_id, run_id, name, message, until),) = held_back.rows(OPEN_QUESTIONS)
    assert (dag_id, run_id, name, message) == ("a_dag", RUN, "volume", FAILURE)
    assert timedelta(hours=19, minutes=58) < until - datetime.now(UTC) < timedelta(hours=20)
    assert f"until {until:%Y-%m-%d %H:%M} UTC nothing is published" in questions[0]["body"]
    held_back.connection.execute("update ops.decision set answer_until = now()")
    assert held_back.rows(OPEN_QUESTIONS) == []
    check.ask()
    assert len(held_back.rows(OPEN_QUESTIONS)) == 1
    lease.take(held_back.connection, "a_dag", "next", project="p", full_refresh=False, take_over_from=RUN)
    assert held_back.rows(OPEN_QUESTIONS) == [], "the next run decides what is published"


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
        Check().resume({"failures": FAILURE, "subjects": ["raw.sales_fact"], "figures": []})
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


def approve(loader: Loader, subject: str, day: date, value: float) -> None:
    """As a person has approved a figure of the check `volume`."""
    loader.connection.execute(
        """
        insert into ops.decision (
            run_id, check_name, subjects, message, days, figures, difference, asked_at, decision, decided_at, decided_by
        )
        values ('a_run', 'volume', '{}', '', array[%(day)s]::date[], %(figures)s, '[]', now(), 'approved', now(), 'Ada')
        """,
        {"day": day, "figures": Jsonb([{"subject": subject, "day": str(day), "value": value}])},
    )


def test_approved_figure_is_a_known_incident(
    nothing_sold: Callable[[date], None], loader: Loader, monkeypatch: pytest.MonkeyPatch, sold: Sold
) -> None:
    sold({MONDAY + timedelta(days=1): 20})
    _with_limits(monkeypatch, fail_below=-5)
    event = Check().trigger_event(monkeypatch)
    assert event.payload["figures"] == [["raw.sales_fact", str(MONDAY), 0.0]]
    assert "4 Mar 2024: 0 rows, about 40 expected (100 % fewer)" in event.payload["failures"]
    approve(loader, "raw.sales_fact", MONDAY, 0)
    assert isinstance(Check().trigger_event(monkeypatch), TaskSuccessEvent)
    messages = loader.rows("select message from ops.check_result order by check_result_id desc limit 2")
    assert any("4 Mar 2024 is approved by Ada" in message for (message,) in messages)


@pytest.mark.parametrize(
    ("subject", "approved", "found", "is_asked"),
    [
        ("raw.sales_fact", 1000, 1000, False),
        ("raw.sales_fact", 1000, 1010, False),
        # 1 % is tolerated: the shop has corrected something.
        ("raw.sales_fact", 1000, 1030, True),
        ("raw.sales_fact", 1000, 1500, True),
        ("raw.sales_fact", 1000, 400, True),
        ("raw.refund", 1000, 1000, True),
    ],
)
def test_figure_that_leaves_the_approved_one_is_asked_again(
    history: None, sold: Sold, loader: Loader, monkeypatch: pytest.MonkeyPatch, subject: str, approved: int,
    found: int, is_asked: bool,
) -> None:  # fmt: skip
    """An approval is of a figure, and not of a day."""
    _with_limits(monkeypatch, fail_above=5)
    approve(loader, subject, MONDAY, approved)
    sold({MONDAY: found})
    event = Check().trigger_event(monkeypatch)
    assert isinstance(event, TaskSuccessEvent) is not is_asked
    if is_asked:
        assert event.payload["figures"] == [["raw.sales_fact", str(MONDAY), float(found)]]


def test_approval_of_before_figures_were_kept_approves_nothing(
    history: None, sold: Sold, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_limits(monkeypatch, fail_above=5)
    approve(loader, "raw.sales_fact", MONDAY, 1000)
    loader.connection.execute("update ops.decision set figures = null")
    sold({MONDAY: 1000})
    assert not isinstance(Check().trigger_event(monkeypatch), TaskSuccessEvent)


def test_rollback_revokes_what_was_approved_since(
    held_back: Loader, history: None, sold: Sold, questions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approved, published, rolled back: the same figure is asked again, and a larger one, too."""
    _with_limits(monkeypatch, fail_above=5)
    approve(held_back, "raw.sales_fact", MONDAY - timedelta(days=1), 1000)
    held_back.connection.execute("update ops.decision set decided_at = '2024-01-01', run_id = 'long ago'")
    sold({MONDAY: 1000})
    check = Check()
    with pytest.raises(TaskAwaitingInput):
        check.resume(check.trigger_event(monkeypatch).payload)
    check.answer("Approve")
    assert publish(held_back.connection, RUN)
    assert isinstance(Check().trigger_event(monkeypatch), TaskSuccessEvent), "known, as long as it is published"
    with acting_as(held_back.connection, "publisher"):
        assert roll_back(held_back.connection, "rollback_publication", "back")
    revoked = held_back.rows("select run_id, revoked_by, revoked_at is null from ops.decision order by decided_at")
    assert revoked == [("long ago", None, True), (RUN, "back", False)]
    event = Check().trigger_event(monkeypatch)
    assert event.payload["figures"] == [["raw.sales_fact", str(MONDAY), 1000.0]]


def test_answer_to_another_difference_than_the_one_shown_asks_again(
    held_back: Loader, history: None, sold: Sold, questions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the person reads, the build is cleared, and builds other figures."""
    _with_limits(monkeypatch, fail_above=5)
    sold({MONDAY: 1000})
    check = Check()
    with pytest.raises(TaskAwaitingInput):
        check.resume(check.trigger_event(monkeypatch).payload)
    build(held_back, "revenue", REVENUE, REVENUE_KEY, (MONDAY, "Toys", 999_999, 1))
    with pytest.raises(TaskAwaitingInput):
        check.answer("Approve")
    assert [row[3] for row in decisions(held_back)] == ["overtaken", None]
    assert "100.00 → 999,999.00" in questions[-1]["body"]
    # The answer to what is shown now is good.
    with checks_passed(held_back.connection, RUN, except_for=["volume"]):
        check.answer("Approve")
        assert publish_only(held_back)[0].total == 3


def test_difference_that_leaves_the_approved_one_is_not_published(
    held_back: Loader, questions: list[dict[str, Any]]
) -> None:
    """After the answer the build is cleared alone, and the publication is called."""
    check = Check()
    check.ask()
    with checks_passed(held_back.connection, RUN, except_for=["volume"]):
        check.answer("Approve")
        with acting_as(held_back.connection, "transformer"):
            held_back.connection.execute("update marts_build.revenue set orders = 7 where category = 'Toys'")
        with pytest.raises(PublishError, match="what was approved of check volume is not what would be published now"):
            publish_only(held_back)
        held_back.connection.execute("update marts_build.revenue set orders = 1 where category = 'Toys'")
        assert publish_only(held_back)[0].total == 3


def test_approved_mart_that_gains_a_column_is_published(held_back: Loader, questions: list[dict[str, Any]]) -> None:
    build(
        held_back,
        "revenue",
        f"{REVENUE}, units bigint",
        REVENUE_KEY,
        (MONDAY, "Toys", 1, 1, 5),
        (MONDAY, None, 5, 1, 2),
    )
    check = Check()
    check.ask()
    with checks_passed(held_back.connection, RUN, except_for=["volume"]):
        check.answer("Approve")
        assert publish_only(held_back)[0].total == 3


def publish_only(loader: Loader) -> list[MartChange]:
    """Publish with the results that are there."""
    with acting_as(loader.connection, "publisher"):
        return publication.publish(loader.connection, RUN)


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
    assert event.payload["figures"] == [["raw.sales_fact", str(MONDAY), 0.0]]


def test_check_that_is_evaluated_again_withdraws_its_question(
    held_back: Loader, questions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a person has decided stays, and so do the questions of other checks and runs.
    held_back.connection.execute(
        """
        insert into ops.decision (
            run_id, check_name, subjects, message, days, difference, asked_at, decision, decided_at, decided_by
        )
        values
            ('a_run', 'volume', '{}', '', '{}', '[]', now(), 'rejected', now(), 'Ada'),
            ('a_run', 'other', '{}', '', '{}', '[]', now(), null, null, null),
            ('other', 'volume', '{}', '', '{}', '[]', now(), null, null, null)
        """
    )
    kept = sorted(map(str, decisions(held_back)))
    Check().ask()
    assert len(decisions(held_back)) == len(kept) + 1
    Check().trigger_event(monkeypatch)
    assert sorted(map(str, decisions(held_back))) == kept


def _with_limits(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    check = check_of("volume").model_copy(update=limits)
    monkeypatch.setattr(evaluation, "check_of", lambda _: check)
