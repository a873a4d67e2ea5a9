"""The task `prune`: delete what is older than `include/retention.yml` says, or say what would go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.common.connections import LOADER, PUBLISHER, warehouse
from ecommerce.common.errors import RetentionError
from ecommerce.common.run_notes import add_note
from ecommerce.prune.old_log_files import prune_logs
from ecommerce.prune.packing import MESSAGES, PACKED, pack_messages, survey_messages
from ecommerce.prune.prunable_tables import PRUNABLE_TABLES
from ecommerce.prune.pruning import Pruned, free_space, note, prune, size_in_words, survey
from ecommerce.prune.retention_file import AIRFLOW_LOGS, Retention, read_retention

if TYPE_CHECKING:
    from airflow.sdk import Context
    from psycopg import Connection

#: A statement waits no longer for a lock: it is pruned the next time.
_LOCK_TIMEOUT = "10s"


class PruneWarehouse(BaseOperator):
    """
    Prune the tables of `ops` and the logs of tasks on this machine, and pack old messages; `dry_run` only counts.

    Returns for each place the rows, or files, and bytes that are gone; of messages the bytes that packing has won, and
    of a dry run those that they take now.

    :param warehouse_conn_id: the Postgres that holds `ops`, for the owner of its tables
    :param loader_conn_id: the same for the owner of `raw`
    :raises AirflowFailException: the file has a mistake; nothing was deleted
    """

    def __init__(self, *, warehouse_conn_id: str = PUBLISHER, loader_conn_id: str = LOADER, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.warehouse_conn_id = warehouse_conn_id
        self.loader_conn_id = loader_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Prune, and return the figures as JSON."""
        is_dry = bool(context["params"]["dry_run"])
        try:
            retention = read_retention()
        except RetentionError as error:
            raise AirflowFailException(str(error)) from error
        with warehouse(self.warehouse_conn_id) as connection:
            connection.execute(f"set lock_timeout = '{_LOCK_TIMEOUT}'")
            pruned = [*self._prune(connection, retention, context["dag_run"].run_id, is_dry=is_dry)]
        for place, days in retention.days.items():
            if days is None:
                self.log.info("%s: kept for ever", place)
        if not is_dry:
            add_note(context, _summary(pruned))
        return [
            {"place": one.place, "deleted": one.deleted, "bytes": one.size, "before": one.before.isoformat()}
            for one in pruned
        ]

    def _prune(self, connection: Connection, retention: Retention, run_id: str, *, is_dry: bool) -> Iterator[Pruned]:
        now = datetime.now(UTC)
        for table in PRUNABLE_TABLES.values():
            if before := retention.before(table.name, now):
                if is_dry:
                    self.log.info("DRY RUN: %s", would_go := survey(connection, table, before))
                    yield would_go
                    continue
                pruned = _total(table.name, before, prune(connection, table, before, run_id))
                note(connection, Pruned(table.name, 0, 0, before), run_id)
                taken = (
                    f"; the table and its indexes take {size_in_words(free_space(connection, table.name))}"
                    if pruned.deleted
                    else ""
                )
                self.log.info("%s%s", pruned, taken)
                yield pruned
        if before := retention.before(MESSAGES, now):
            yield self._pack(before, run_id, is_dry=is_dry)
        if before := retention.before(AIRFLOW_LOGS, now):
            logs = prune_logs(Path(conf.get("logging", "base_log_folder")), before, dry_run=is_dry)
            if not is_dry:
                note(connection, logs, run_id)
            self.log.info("%s%s", "DRY RUN: " if is_dry else "", logs)
            yield logs

    def _pack(self, before: datetime, run_id: str, *, is_dry: bool) -> Pruned:
        with warehouse(self.loader_conn_id) as connection:
            if is_dry:
                self.log.info(
                    "DRY RUN: %s now, less once they are packed", would_go := survey_messages(connection, before)
                )
                return would_go
            packed = _total(MESSAGES, before, pack_messages(connection, before, run_id))
            note(connection, Pruned(MESSAGES, 0, 0, before), run_id)
            if packed.deleted:
                messages, rows = (size_in_words(free_space(connection, table)) for table in (MESSAGES, PACKED))
                self.log.info(
                    "%s won; the table of messages and its indexes take %s, that of packed ones %s",
                    packed, messages, rows,
                )  # fmt: skip
            else:
                self.log.info("%s", packed)
            return packed


def _total(place: str, before: datetime, steps: Iterable[Pruned]) -> Pruned:
    """What all steps have deleted of a place."""
    done = [*steps]
    return Pruned(place, sum(step.deleted for step in done), sum(step.size for step in done), before)


def _summary(pruned: list[Pruned]) -> str:
    gone = [f"{one.place} {one.deleted:,}" for one in pruned if one.deleted]
    if not gone:
        return "nothing was old enough"
    size = size_in_words(sum(one.size for one in pruned))
    return f"{size} of old rows and logs are deleted: {', '.join(gone)}"
