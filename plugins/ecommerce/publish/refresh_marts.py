"""The task `refresh_marts`: publish the marts that were built and checked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.common.errors import LeaseLost, PublishError
from ecommerce.publish.publication import publish

if TYPE_CHECKING:
    from airflow.sdk import Context

MARTS = Asset(name="marts", uri="warehouse://marts", group="marts")


class RefreshMarts(BaseOperator):
    """
    Merge every mart that was built into `marts`, in one transaction, and give the lease of the build back.

    Skipped if every mart depends on a source that could not be loaded.

    :param warehouse_conn_id: the Postgres that holds the marts
    :raises AirflowFailException: another run has taken over, or a mart cannot be merged; `marts` is unchanged
    """

    def __init__(self, *, warehouse_conn_id: str = PUBLISHER, **kwargs: Any) -> None:
        super().__init__(outlets=[MARTS], **kwargs)
        self.warehouse_conn_id = warehouse_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Publish; rows inserted, updated and deleted by mart, also in the extra of the asset event."""
        with warehouse(self.warehouse_conn_id) as connection:
            try:
                changes = publish(
                    connection,
                    context["dag_run"].run_id,
                    allow_column_changes=bool(context["params"].get("allow_column_changes")),
                )
            except (LeaseLost, PublishError) as error:
                raise AirflowFailException(str(error)) from error
        if not changes:
            raise AirflowSkipException("every mart depends on a source that could not be loaded; all stay as they were")
        figures = [asdict(change) for change in changes]
        context["outlet_events"][MARTS].extra.update({mart["mart"]: mart for mart in figures})
        return figures
