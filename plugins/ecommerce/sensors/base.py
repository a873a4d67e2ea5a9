"""What all quality sensors share: judge once, write every judgement down, fail with the reasons."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException
from psycopg import Connection

from ecommerce import lease
from ecommerce.warehouse import WAREHOUSE, warehouse
from ecommerce.windows import Request, Window, request_of

if TYPE_CHECKING:
    from airflow.sdk import Context

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Judgement:
    """One check of one subject: what was seen, what was expected, and the sentence for a person."""

    subject: str
    status: Status
    observed: Decimal | int | None
    expected: Decimal | int | None
    message: str


def write_down(
    connection: Connection, check_name: str, run_id: str, judgements: Sequence[Judgement], window: Window | None
) -> None:
    """A row of `ops.check_result` a judgement, all or none; ``window`` where the check is about one."""
    start, end = (window.start, window.end) if window else (None, None)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.check_result (checked_at, run_id, check_name, subject, window_start, window_end,"
            " status, observed, expected, message) values (now(), %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    run_id,
                    check_name,
                    judged.subject,
                    start,
                    end,
                    judged.status,
                    judged.observed,
                    judged.expected,
                    judged.message,
                )
                for judged in judgements
            ],
        )


class QualitySensor(BaseSensorOperator):
    """
    A check of the data that a run is about to publish.

    :param warehouse_conn_id: the Postgres to judge, and to write `ops.check_result` into
    :raises AirflowFailException: at least one subject was judged `fail`; the message says which and why
    """

    #: the check's name in `ops.check_result`
    check_name: str

    def __init__(self, *, warehouse_conn_id: str = WAREHOUSE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.warehouse_conn_id = warehouse_conn_id

    @abstractmethod
    def judge(self, connection: Connection, request: Request, run_id: str) -> Iterator[Judgement]:
        """Every subject of this check, judged once."""

    def poke(self, context: Context) -> bool:
        """Always done: what is judged was built by this run and cannot improve by waiting."""
        request, run_id = request_of(context), context["dag_run"].run_id
        with warehouse(self.warehouse_conn_id) as connection:
            left_out = lease.left_out(connection, run_id)
            judgements = list(self.judge(connection, request, run_id))
            write_down(connection, self.check_name, run_id, judgements, request.window)
        for judged in judgements:
            self.log.info("%s %s: %s", judged.status, judged.subject, judged.message)
        # What depends on a source that failed is left out already: its failure holds back nothing else.
        failures = [
            f"{judged.subject}: {judged.message}"
            for judged in judgements
            if judged.status == "fail" and not left_out.covers(judged.subject)
        ]
        if failures:
            raise AirflowFailException(f"check {self.check_name} failed, nothing is published; {'; '.join(failures)}")
        return True
