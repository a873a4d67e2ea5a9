"""The operator that replays the quarantine: rejected rows are validated again, and loaded if they pass now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.errors import MassRemoval, QuarantineOverflow, SchemaDrift, ShopError
from ecommerce.common.sources import SOURCES
from ecommerce.load.batches import RunIdentity
from ecommerce.load.extract_source import raw_asset
from ecommerce.load.replay import Choice, reader_of_rejected, replay

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Stands for the raw asset of the source that a run replays.
REPLAY_ASSETS = AssetAlias("replayed")


class ReplayQuarantine(BaseOperator):
    """
    Replay the rows that the run's form chooses by `source`, and perhaps `batch` and `reason`; `dry_run` rolls back.

    Skipped if there is no such row. Returns the figures of each load.

    :param warehouse_conn_id: the Postgres that holds ``raw`` and ``ops``
    :raises QuarantineOverflow: more than the source's share of a window was rejected; ``raw`` is unchanged there
    :raises MassRemoval: the source has lost more than half of a window; `raw` is unchanged there
    :raises SourceError: the source could not be read
    """

    def __init__(self, *, warehouse_conn_id: str = LOADER, **kwargs: Any) -> None:
        super().__init__(outlets=[REPLAY_ASSETS], **kwargs)
        self.warehouse_conn_id = warehouse_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Replay, and return the loads' figures as JSON."""
        params, run = context["params"], context["dag_run"]
        name = params["source"]
        if name not in SOURCES:
            raise AirflowFailException(f"unknown source {name}; there are {', '.join(SOURCES)}")
        choice = Choice(SOURCES[name], params.get("batch"), params.get("reason"))
        is_dry = bool(params.get("dry_run"))
        figures: list[dict[str, Any]] = []
        with warehouse(self.warehouse_conn_id) as connection:
            loads = replay(
                connection,
                choice,
                lambda source, window, condition: reader_of_rejected(source, window, condition, connection),
                run=RunIdentity(run.dag_id, run.run_id, context["ti"].try_number),
                dry_run=is_dry,
            )
            try:
                for result in loads:
                    self.log.info("%s%s", "DRY RUN: " if is_dry else "", result)
                    figures.append(result.figures())
            except (QuarantineOverflow, MassRemoval, SchemaDrift, ShopError) as error:
                # The same input would fail again: a person has to look.
                raise AirflowFailException(str(error)) from error
        if not figures:
            raise AirflowSkipException(f"the quarantine has no row of {name} that was chosen and not replayed yet")
        replayed = sum(figure["rows_replayed"] for figure in figures)
        self.log.info("%s: %s rejected rows are replayed, in %s loads", name, f"{replayed:,}", len(figures))
        if is_dry:
            context["ti"].xcom_push(key="return_value", value=figures)
            raise AirflowSkipException(f"dry run, nothing was changed: {replayed:,} rows of {name} would be replayed")
        context["outlet_events"][REPLAY_ASSETS].add(
            raw_asset(name), extra={"rows_replayed": replayed, "batches": [f["batch_id"] for f in figures]}
        )
        return figures
