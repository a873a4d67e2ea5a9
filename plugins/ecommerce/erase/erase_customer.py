"""The task `erase`: erase a customer, or say where the customer is."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.build import lease
from ecommerce.build.other_runs import must_wait_for
from ecommerce.common.connections import LOADER, PUBLISHER, TRANSFORMER, postgres, warehouse
from ecommerce.common.errors import ErasureError
from ecommerce.erase.erasure import Sessions, erase, survey
from ecommerce.erase.receipt import Receipt
from ecommerce.erase.run_conf import FORGOTTEN

if TYPE_CHECKING:
    from airflow.sdk import Context


#: Environment variable: further folders with log files, beside Airflow's own, separated by `:`.
LOG_FOLDERS = "ECOMMERCE_LOG_FOLDERS"


def log_folders() -> list[Path]:
    """The folders with log files on this machine."""
    names = [conf.get("logging", "base_log_folder"), *os.environ.get(LOG_FOLDERS, "").split(os.pathsep)]
    return [folder for name in dict.fromkeys(filter(None, names)) if (folder := Path(name)).is_dir()]


class EraseCustomer(BaseSensorOperator):
    """
    Wait until no run builds, then erase the customer of the run's form; `dry_run` only says where the customer is.

    The log and the returned receipt have places and counts, and no value.

    :raises AirflowFailException: there is no such customer; nothing was changed
    """

    def __init__(self, **kwargs: Any) -> None:
        # It waits in its worker, for the reason given in `ClaimDirtyDates`.
        kwargs.setdefault("poke_interval", timedelta(seconds=2))
        kwargs.setdefault("timeout", timedelta(hours=12))
        super().__init__(**kwargs)

    def poke(self, context: Context) -> PokeReturnValue:
        """Try to erase; once it is done, return the receipt."""
        params = context["params"]
        if params["customer"] == FORGOTTEN:
            raise AirflowFailException("the run has ended, and whom it was to erase is not kept: start another one")
        try:
            receipt = self._erase(context, params["customer"], is_dry=params["dry_run"])
        except ErasureError as error:
            raise AirflowFailException(str(error)) from error
        if receipt is None:
            return PokeReturnValue(is_done=False)
        for line in receipt.lines():
            self.log.info("%s%s", "DRY RUN: " if params["dry_run"] else "", line)
        return PokeReturnValue(is_done=True, xcom_value={"erasure_id": receipt.erasure_id, "places": receipt.places})

    def _erase(self, context: Context, customer: str, *, is_dry: bool) -> Receipt | None:
        run = context["dag_run"]
        logs = log_folders()
        with ExitStack() as sessions:
            publisher = sessions.enter_context(warehouse(PUBLISHER))
            loader, transformer = (sessions.enter_context(postgres(conn_id)) for conn_id in (LOADER, TRANSFORMER))
            roles = Sessions(loader, transformer, publisher)
            if is_dry:
                return survey(roles, customer, logs=logs)
            holder = lease.holder(publisher)
            if must_wait_for(context, publisher, holder):
                return None
            return erase(
                roles,
                customer,
                dag_id=run.dag_id,
                run_id=run.run_id,
                requested_by=run.triggering_user_name,
                take_over_from=holder.run_id if holder else None,
                logs=logs,
            )
