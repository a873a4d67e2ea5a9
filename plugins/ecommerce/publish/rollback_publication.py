"""The task `roll_back`: restore the marts of an earlier publication."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.build import lease
from ecommerce.build.other_runs import must_wait_for
from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.common.errors import RollbackError
from ecommerce.publish.refresh_marts import MARTS
from ecommerce.publish.rollback import roll_back

if TYPE_CHECKING:
    from airflow.sdk import Context


class RollbackPublication(BaseSensorOperator):
    """
    Wait until no run builds, then restore every mart to the state after a publication.

    :param warehouse_conn_id: the Postgres that holds the marts
    :raises AirflowFailException: that publication cannot be restored; `marts` is unchanged
    """

    def __init__(self, *, warehouse_conn_id: str = PUBLISHER, **kwargs: Any) -> None:
        # It waits in its worker, for the reason given in `ClaimDirtyDates`.
        kwargs.setdefault("poke_interval", timedelta(seconds=2))
        kwargs.setdefault("timeout", timedelta(hours=12))
        super().__init__(outlets=[MARTS], **kwargs)
        self.warehouse_conn_id = warehouse_conn_id

    def poke(self, context: Context) -> PokeReturnValue:
        """Try to roll back; once it is done, return the rows inserted, updated and deleted by mart."""
        run = context["dag_run"]
        with warehouse(self.warehouse_conn_id) as connection:
            holder = lease.holder(connection)
            if must_wait_for(context, connection, holder):
                return PokeReturnValue(is_done=False)
            try:
                changes = roll_back(
                    connection,
                    run.dag_id,
                    run.run_id,
                    to=context["params"]["publication_id"],
                    take_over_from=holder.run_id if holder else None,
                )
            except RollbackError as error:
                raise AirflowFailException(str(error)) from error
        if changes is None:
            return PokeReturnValue(is_done=False)
        for change in changes:
            self.log.info("%s", change)
        figures = [asdict(change) for change in changes]
        context["outlet_events"][MARTS].extra.update({mart["mart"]: mart for mart in figures})
        return PokeReturnValue(is_done=True, xcom_value=figures)
