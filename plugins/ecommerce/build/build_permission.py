"""Before a task runs dbt: its run holds the lease, and builds the project and the models that it has claimed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from ecommerce.build import lease
from ecommerce.build.dbt_project import project_digest
from ecommerce.common.connections import TRANSFORMER, warehouse
from ecommerce.common.errors import LeaseLost

if TYPE_CHECKING:
    from airflow.sdk import Context


def assert_may_build(context: Context) -> None:
    """
    Check that the run of a task may build.

    A task can be cleared, or called by hand, while another run builds; the excluded models reach it by an XCom, which a
    person can write; and during a deployment the worker may have other files than the one that has claimed: old SQL
    would be recorded as that of the new project, or the new one's as that of the old.

    :raises AirflowFailException: another run holds the lease, or the task would exclude other models than the claim, or
        the dbt project here is another one than at the claim
    """
    run_id = context["dag_run"].run_id
    with warehouse(TRANSFORMER) as connection:
        try:
            project, claimed = lease.claimed_project(connection, run_id)
        except LeaseLost as error:
            raise AirflowFailException(str(error)) from error
    if project != project_digest():
        raise AirflowFailException(
            f"the dbt project of this worker ({socket.gethostname()}) is not the one with which {run_id} has claimed: "
            "its files have changed since, or are being deployed. Once all workers have the same files, clear the run "
            "from its task `claim` on"
        )
    exclude = getattr(context["task"], "exclude", None)
    if isinstance(exclude, str) and set(exclude.split()) != claimed:
        raise AirflowFailException(
            f"the task would exclude {exclude or 'no model'}, but the claim of {run_id} has excluded "
            f"{' '.join(sorted(claimed)) or 'no model'}; clear the run from its task `claim` on"
        )
