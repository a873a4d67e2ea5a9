"""How a node's task ends, for every state of a build and of the upstream tasks; and when a check may begin."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_triggerer.node_results import Build, NodeResult, Progress
from dbt_triggerer.task_outcome import TaskEnd, TaskOutcome, outcome_of_audit, outcome_of_nodes

#: When the try of the task was created.
SINCE = datetime(2024, 5, 1, 12, tzinfo=UTC)
BEFORE, AFTER = SINCE - timedelta(minutes=1), SINCE + timedelta(minutes=1)

ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
OPEN = (None, "scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule", "restarting")
GOOD = ("success", "pass", "warn", "no-op")
BAD = ("error", "fail", "runtime error", "partial success")


def node(unique_id: str, status: str) -> NodeResult:
    return NodeResult(unique_id, status)


def build(
    *results: NodeResult, state: str | None = "running", began: datetime | None = BEFORE, **parents: str | None
) -> Build:
    """A build as a trigger reads it; without `began` it has written nothing."""
    return Build(
        progress=Progress(attempt=1, started_at=began.isoformat()) if began else None,
        results={result.unique_id: result for result in results},
        task_state=state,
        task_states=parents,
    )


def state(
    known: Build, *unique_ids: str, parents: tuple[str, ...] = ("before",), try_number: int = 1
) -> TaskEnd | None:
    outcome = outcome_of_nodes(
        known, unique_ids=unique_ids or ("it",), parents=parents, try_number=try_number, since=SINCE
    )
    return outcome.state if outcome else None


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(build(began=None, state=None), None, id="not scheduled yet"),
        pytest.param(build(began=None, state="queued"), None, id="not begun"),
        pytest.param(build(), None, id="running, no result yet"),
        pytest.param(build(node("other", "success")), None, id="running, another is built"),
        *[pytest.param(build(node("it", status)), TaskEnd.SUCCESS, id=f"dbt: {status}") for status in GOOD],
        *[pytest.param(build(node("it", status)), TaskEnd.FAILED, id=f"dbt: {status}") for status in BAD],
        pytest.param(build(node("it", "skipped")), None, id="skipped, the build goes on"),
        pytest.param(
            build(node("it", "skipped"), state="success", before="failed"), TaskEnd.UPSTREAM_FAILED, id="skipped"
        ),
        pytest.param(
            build(node("it", "skipped"), state="success", before="upstream_failed"),
            TaskEnd.UPSTREAM_FAILED,
            id="skipped, further down",
        ),
        pytest.param(
            build(node("it", "skipped"), state="success", before="up_for_retry"), None, id="skipped, parent retried"
        ),
        pytest.param(
            build(node("it", "skipped"), state="success", before="deferred"), None, id="skipped, parent about to end"
        ),
        pytest.param(
            build(node("it", "skipped"), state="success", before="success"),
            TaskEnd.RUN_ALONE,
            id="skipped, parent built on its own",
        ),
        pytest.param(
            build(node("it", "skipped"), state="success", before="skipped"),
            TaskEnd.SKIPPED,
            id="skipped, parent skipped",
        ),
        pytest.param(build(state="skipped", began=None), TaskEnd.SKIPPED, id="nothing to build"),
        pytest.param(
            build(state="upstream_failed", began=None), TaskEnd.UPSTREAM_FAILED, id="no build: failed before it"
        ),
        pytest.param(build(state="removed", began=None), TaskEnd.UPSTREAM_FAILED, id="no build: not in the DAG"),
        pytest.param(build(state="failed"), TaskEnd.UPSTREAM_FAILED, id="the build failed"),
        pytest.param(build(node("it", "success"), state="failed"), TaskEnd.SUCCESS, id="built, then the build failed"),
        pytest.param(build(state="up_for_retry"), None, id="failed, will be retried"),
        pytest.param(build(state="success", before="success"), TaskEnd.RUN_ALONE, id="no result in the build"),
        pytest.param(build(state="success", before=None), None, id="no result, parent not scheduled"),
    ],
)
def test_first_try_ends_by_the_build(known: Build, expected: TaskEnd | None) -> None:
    assert state(known) is expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(build(node("it", "success"), state="success", before="success"), TaskEnd.RUN_ALONE, id="cleared"),
        pytest.param(build(node("it", "error"), state="success", before="success"), TaskEnd.RUN_ALONE, id="retried"),
        pytest.param(build(node("it", "error")), None, id="retried while the build runs: after it"),
        pytest.param(build(node("it", "success"), state="success", before="deferred"), None, id="cleared with parent"),
        pytest.param(
            build(node("it", "success"), state="success", before="failed"),
            TaskEnd.UPSTREAM_FAILED,
            id="parent failed again",
        ),
        pytest.param(
            build(node("it", "error"), state="failed", before="success"), TaskEnd.RUN_ALONE, id="build failed"
        ),
        pytest.param(build(node("it", "success"), state=None), None, id="build cleared too, not scheduled"),
        pytest.param(
            build(node("it", "success"), state="queued"), None, id="build cleared too, old results still there"
        ),
        pytest.param(build(node("it", "success"), began=AFTER), TaskEnd.SUCCESS, id="build cleared too, and built"),
        pytest.param(build(node("it", "error"), began=AFTER), TaskEnd.FAILED, id="build cleared too, and it failed"),
        pytest.param(build(node("it", "success"), began=SINCE), None, id="a build that began in that instant is stale"),
        pytest.param(build(state="skipped", began=None), TaskEnd.SKIPPED, id="run cleared, nothing to build"),
        pytest.param(
            build(state="upstream_failed"), TaskEnd.UPSTREAM_FAILED, id="run cleared, failed before the build"
        ),
    ],
)
def test_later_try_ends_by_a_newer_build(known: Build, expected: TaskEnd | None) -> None:
    assert state(known, try_number=2) is expected


def test_task_of_several_tests_waits_for_all() -> None:
    passed, failed = node("one", "pass"), node("two", "fail")
    assert state(build(passed), "one", "two") is None
    assert state(build(failed), "one", "two") is None, "the other may fail as well"
    assert state(build(passed, failed), "one", "two") is TaskEnd.FAILED
    assert state(build(failed, state="failed"), "one", "two") is TaskEnd.FAILED, "the other has no result"
    assert state(build(passed, state="failed"), "one", "two") is TaskEnd.UPSTREAM_FAILED
    assert state(build(passed, node("two", "warn")), "one", "two") is TaskEnd.SUCCESS


def test_failure_contains_messages_of_dbt() -> None:
    failed = [replace(node("model.shop.one", "error"), message="no such column"), node("model.shop.two", "fail")]
    outcome = outcome_of_nodes(
        build(*failed), unique_ids=[n.unique_id for n in failed], parents=(), try_number=1, since=SINCE
    )
    assert outcome is not None
    assert "no such column" in outcome.reason
    assert "two: fail" in outcome.reason
    assert outcome.results == failed


def test_upstream_failed_names_the_failed_tasks() -> None:
    known = build(node("it", "skipped"), state="success", good="success", bad="failed")
    outcome = outcome_of_nodes(known, unique_ids=["it"], parents=["good", "bad"], try_number=1, since=SINCE)
    assert outcome is not None
    assert outcome.reason == "not built, because of bad"


@st.composite
def situations(draw: st.DrawFn, states: tuple[str | None, ...] = ENDED + OPEN) -> dict[str, Any]:
    """Any state that a trigger can read."""
    unique_ids = draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True))
    parents = draw(st.lists(st.sampled_from("xyz"), unique=True))
    results = [
        node(unique_id, draw(st.sampled_from((*GOOD, *BAD, "skipped"))))
        for unique_id in draw(st.lists(st.sampled_from("abcd"), unique=True))
    ]
    known = build(
        *results,
        state=draw(st.sampled_from(states)),
        began=draw(st.sampled_from((None, BEFORE, SINCE, AFTER))),
        **{parent: draw(st.sampled_from(states)) for parent in parents},
    )
    return {
        "build": known,
        "unique_ids": unique_ids,
        "parents": parents,
        "try_number": draw(st.integers(1, 3)),
        "since": SINCE,
    }


def outcome_in(situation: dict[str, Any]) -> TaskOutcome | None:
    known, rest = situation["build"], {name: value for name, value in situation.items() if name != "build"}
    return outcome_of_nodes(known, **rest)


@given(situations())
def test_success_needs_fresh_good_results_of_every_node(situation: dict[str, Any]) -> None:
    outcome = outcome_in(situation)
    if outcome is None or outcome.state is not TaskEnd.SUCCESS:
        return
    known = situation["build"]
    statuses = [known.results[unique_id].status for unique_id in situation["unique_ids"]]
    assert set(statuses) <= set(GOOD)
    assert situation["try_number"] == 1 or known.started_at > SINCE


@given(situations(ENDED))
def test_no_task_waits_when_all_others_have_ended(situation: dict[str, Any]) -> None:
    assert outcome_in(situation) is not None


@given(situations())
def test_node_runs_on_its_own_only_after_build_and_parents(situation: dict[str, Any]) -> None:
    outcome = outcome_in(situation)
    if outcome is not None and outcome.state is TaskEnd.RUN_ALONE:
        known = situation["build"]
        assert known.task_state in ("success", "failed")
        assert {known.task_states[parent] for parent in situation["parents"]} <= {"success"}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        *[pytest.param(build(state=state), None, id=f"the build is {state}") for state in OPEN],
        pytest.param(build(node("it", "success"), began=AFTER, state="success"), TaskEnd.SUCCESS, id="all is built"),
        pytest.param(
            build(node("it", "success"), began=AFTER, state="success", before="deferred"),
            TaskEnd.SUCCESS,
            id="all is built, its tasks have not ended",
        ),
        pytest.param(
            build(node("it", "error"), began=AFTER, state="success", before="up_for_retry"),
            None,
            id="a node is retried",
        ),
        pytest.param(
            build(node("it", "error"), node("on", "skipped"), began=AFTER, state="success", before="deferred"),
            None,
            id="a node waits for one that is retried",
        ),
        pytest.param(
            build(node("it", "fail"), began=AFTER, state="success", before="failed"),
            TaskEnd.UPSTREAM_FAILED,
            id="a node failed",
        ),
        pytest.param(
            build(node("it", "skipped"), began=AFTER, state="success", before="upstream_failed"),
            TaskEnd.UPSTREAM_FAILED,
            id="a node failed further up",
        ),
        pytest.param(
            build(node("it", "error"), began=AFTER, state="success", before="success"),
            TaskEnd.SUCCESS,
            id="built on its own",
        ),
        pytest.param(
            build(node("it", "success"), state="success", before="running"), None, id="cleared with a node that runs"
        ),
        pytest.param(
            build(node("it", "success"), state="success", before="success"), TaskEnd.SUCCESS, id="cleared alone"
        ),
        pytest.param(build(state="skipped", began=None, before="skipped"), TaskEnd.SUCCESS, id="nothing to build"),
        *[
            pytest.param(build(state=state), TaskEnd.UPSTREAM_FAILED, id=f"the build has {state}")
            for state in ("failed", "upstream_failed", "removed")
        ],
    ],
)
def test_audit_begins_when_all_is_built(known: Build, expected: TaskEnd | None) -> None:
    outcome = outcome_of_audit(known, parents=("before",), since=SINCE)
    assert (outcome.state if outcome else None) is expected
