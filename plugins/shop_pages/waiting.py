"""The banner of *Today* and *Data status*: a check waits for a person, who may answer, where, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ecommerce.common.open_questions import question_path, question_task, waiting_in_words
from shop_pages.pool import Row


@dataclass(frozen=True)
class WaitingQuestion:
    """
    A question that waits for a person.

    :param path: where it is answered, below Airflow's own address
    """

    text: str
    path: str


def waiting_questions(rows: Sequence[Row]) -> list[WaitingQuestion]:
    """The rows of `OPEN_QUESTIONS` as the pages show them."""
    return [
        WaitingQuestion(
            waiting_in_words(row), question_path(row["dag_id"], row["run_id"], question_task(row["check_name"]))
        )
        for row in rows
    ]
