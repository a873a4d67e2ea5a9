"""Before a task runs dbt: its run holds the lease, and leaves out the models that its claim has excluded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from ecommerce.build import lease
from ecommerce.common.connections import TRANSFORMER, warehouse
from ecommerce.common.errors import LeaseLost

if TYPE_CHECKING:
    from airflow.sdk import Context


def assert_may_build(context: Context) -> None:
    """
    Check that the run of a task may build.

    A task can be cleared, or called by hand, while another run builds; and the excluded models reach it by an XCom,
    which a person can write.

    :raises AirflowFailException: another run holds the lease, or the task would exclude other models than the claim
    """
    run_id = context["dag_run"].run_id
    with warehouse(TRANSFORMER) as connection:
        try:
            lease.assert_holder(connection, run_id)
        except LeaseLost as error:
            raise AirflowFailException(str(error)) from error
        claimed = lease.exclusions_of(connection, run_id).models
    exclude = getattr(context["task"], "exclude", None)
    if isinstance(exclude, str) and set(exclude.split()) != claimed:
        raise AirflowFailException(
            f"the task would exclude {exclude or 'no model'}, but the claim of {run_id} has excluded "
            f"{' '.join(sorted(claimed)) or 'no model'}; clear the run from its task `claim` on"
        )
