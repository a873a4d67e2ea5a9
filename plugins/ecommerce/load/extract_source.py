"""The operator of an extract task: loads one window of one source into `raw`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ecommerce.common import fault_points
from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.errors import MassRemoval, QuarantineOverflow, SchemaDrift, ShopError, WindowError
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import request_of
from ecommerce.extract.readers import reader_of
from ecommerce.load.batches import RunIdentity, reach_back
from ecommerce.load.loader import load

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol


def raw_asset(source: str) -> Asset:
    """The asset of a raw table; each load that commits updates it."""
    return Asset(name=f"raw.{source}", uri=f"warehouse://raw/{source}", group="raw")


class ExtractSource(BaseOperator):
    """
    Load one window of one source into ``raw`` in a single transaction.

    Skipped if the run's `sources` do not have it. Returns the load's figures, and adds them to the raw asset's event.

    :param source: a name in the registry, e.g. ``sales_fact``
    :param warehouse_conn_id: the Postgres that holds ``raw`` and ``ops``
    :raises QuarantineOverflow: more than the source's share of rows was rejected; ``raw`` is unchanged
    :raises MassRemoval: more than half of what ``raw`` has would be removed; ``raw`` is unchanged
    :raises SourceError: the source could not be read; ``raw`` is unchanged
    :raises ShopError: the shop's profile or a template of it is wrong; ``raw`` is unchanged
    """

    template_fields: Sequence[str] = ("source",)

    def __init__(self, *, source: str, warehouse_conn_id: str = LOADER, **kwargs: Any) -> None:
        super().__init__(outlets=[raw_asset(source)], **kwargs)
        self.source = source
        self.warehouse_conn_id = warehouse_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Load, and return the figures as JSON."""
        source = SOURCES[self.source]
        run, ti = context["dag_run"], context["ti"]
        try:
            request = request_of(context)
            if source.name not in request.sources:
                raise AirflowSkipException(f"{source.name} is not among the sources of this run")
            with warehouse(self.warehouse_conn_id) as connection:
                window = reach_back(connection, source, request.window)
                result = load(
                    connection,
                    source,
                    window,
                    reader_of,
                    run=RunIdentity(run.dag_id, run.run_id, ti.try_number, self._first_try(ti)),
                    dry_run=request.dry_run,
                    allow_mass_removal=request.allow_mass_removal,
                )
            fault_points.point("before_report")
        except (WindowError, ShopError, QuarantineOverflow, MassRemoval, SchemaDrift) as error:
            # The same input would fail again: a person has to look.
            raise AirflowFailException(str(error)) from error
        self.log.info("%s", result)
        figures = result.figures()
        if request.dry_run:
            # Skipped, not successful: a success would trigger the DAGs that are scheduled on the asset.
            context["ti"].xcom_push(key="return_value", value=figures)
            raise AirflowSkipException(f"dry run, nothing was changed: {result}")
        context["outlet_events"][raw_asset(self.source)].extra.update(figures)
        return figures

    def _first_try(self, ti: RuntimeTaskInstanceProtocol) -> int:
        # Clearing a task adds its retries to the tries that it has had.
        return max(1, ti.max_tries - (self.retries or 0) + 1)
