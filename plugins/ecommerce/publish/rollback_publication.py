"""Put the marts back to an earlier publication."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.build import lease
from ecommerce.build.other_runs import is_in_the_way
from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.common.errors import RollbackError
from ecommerce.publish.refresh_marts import MARTS
from ecommerce.publish.rollback import roll_back

if TYPE_CHECKING:
    from airflow.sdk import Context


class RollbackPublication(BaseSensorOperator):
    """
    Wait until no run builds, then put every mart back to what a publication had left.

    :param warehouse_conn_id: the Postgres that holds the marts
    :raises AirflowFailException: there is no way back to that publication; `marts` is untouched
    """

    def __init__(self, *, warehouse_conn_id: str = PUBLISHER, **kwargs: Any) -> None:
        # As in `ClaimDirtyDates`: it waits in its worker.
        kwargs.setdefault("poke_interval", timedelta(seconds=2))
        kwargs.setdefault("timeout", timedelta(hours=12))
        super().__init__(outlets=[MARTS], **kwargs)
        self.warehouse_conn_id = warehouse_conn_id

    def poke(self, context: Context) -> PokeReturnValue:
        """Rows put back, a mart, once the lease was free."""
        run, to = context["dag_run"], context["params"]["publication_id"]
        with warehouse(self.warehouse_conn_id) as connection:
            held_by = lease.holder(connection)
            if held_by and is_in_the_way(context, connection, *held_by):
                self.log.info("run %s of %s builds now; waiting for it", held_by[1], held_by[0])
                return PokeReturnValue(is_done=False)
            try:
                done = roll_back(connection, run.dag_id, run.run_id, to=to, over=held_by[1] if held_by else None)
            except RollbackError as error:
                raise AirflowFailException(str(error)) from error
        if done is None:
            return PokeReturnValue(is_done=False)
        for mart in done:
            self.log.info(
                "marts.%s: %s rows inserted, %s updated, %s deleted",
                mart.mart,
                mart.inserted,
                mart.updated,
                mart.deleted,
            )
        figures = [asdict(mart) for mart in done]
        context["outlet_events"][MARTS].extra.update({mart["mart"]: mart for mart in figures})
        return PokeReturnValue(is_done=True, xcom_value=figures)
