"""The first task of a run: logs its window and sources, or fails before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.common.errors import WindowError
from ecommerce.common.shop import shop
from ecommerce.common.windows import request_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class ResolveWindow(BaseOperator):
    """
    Determine the run's window and sources, and log both.

    :raises AirflowFailException: the request is invalid (a retry would not help)
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the request as JSON, with days inclusive."""
        try:
            request = request_of(context)
        except WindowError as error:
            raise AirflowFailException(str(error)) from error
        self.log.info(
            "window %s (days of %s, inclusive); sources %s%s%s",
            request.window,
            shop().time_zone,
            ", ".join(sorted(request.sources)),
            "; full refresh" if request.full_refresh else "",
            "; DRY RUN: nothing will change" if request.dry_run else "",
        )
        return {
            "start_date": str(request.window.start),
            "end_date": str(request.window.last),
            "sources": sorted(request.sources),
            "full_refresh": request.full_refresh,
            "dry_run": request.dry_run,
        }
