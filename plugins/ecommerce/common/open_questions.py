"""
What is said of a check that waits for a person: in the question itself, on the pages, and by the commands.

No import of Airflow: the commands start without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from ecommerce.common.shown_text import one_line

#: The group of the DAG with the tasks of the checks.
QUALITY_GROUP = "quality"

#: The questions that wait for a person now, the oldest first. Not those of a run that another run has overtaken, nor
#: those whose time is over: no answer to them publishes anything.
OPEN_QUESTIONS = """
select
    build.dag_id,
    decision.run_id,
    decision.check_name,
    decision.message,
    decision.answer_until
from ops.decision
inner join ops.build on decision.run_id = build.run_id
where
    decision.decision is null
    and build.finished_at is null
    and decision.answer_until > now()
order by decision.decision_id
"""


def answer_in_words(until: datetime) -> str:
    """Who may answer a question, until when, and what happens without an answer."""
    return (
        "Whoever may edit the tasks of this DAG can approve or reject. "
        f"Without an answer until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC nothing is published."
    )


def waiting_in_words(question: Mapping[str, Any]) -> str:
    """A row of `OPEN_QUESTIONS` in words: which run waits, why, for whom, and until when."""
    return (
        f"The run {question['run_id']} waits for a person, since the check {question['check_name']} failed: "
        f"{one_line(question['message'], 500)}. {answer_in_words(question['answer_until'])}"
    )


def question_task(check_name: str) -> str:
    """The task of the DAG that asks."""
    return f"{QUALITY_GROUP}.{check_name}"


def question_path(dag_id: str, run_id: str, task_id: str) -> str:
    """The path of the page in Airflow's UI on which a person answers."""
    return f"/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}/tasks/{quote(task_id)}/required_actions"
