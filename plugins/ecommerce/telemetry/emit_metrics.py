"""The task `emit`: measure the warehouse, and send the gauges to where Airflow's metrics go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.common.shop import shop
from ecommerce.telemetry.gauges import read_gauges, send

if TYPE_CHECKING:
    from airflow.sdk import Context


class EmitMetrics(BaseOperator):
    """
    Send the warehouse's gauges. Returns how many.

    :param warehouse_conn_id: the Postgres that holds `ops`
    """

    def __init__(self, *, warehouse_conn_id: str = PUBLISHER, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.warehouse_conn_id = warehouse_conn_id

    def execute(self, context: Context) -> int:
        """Measure and send."""
        with warehouse(self.warehouse_conn_id) as connection:
            gauges = read_gauges(connection, list(shop().sources))
        send(gauges)
        return len(gauges)
