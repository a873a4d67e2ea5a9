"""
OpenLineage events of loads and models: datasets with their columns, rows, and the runs that they belong to.

A load reads a table, topic or API of the shop and writes a table of raw; a model reads its parents and writes its
table. Both are runs of a job, with the DAG run as parent. An error here is logged, and fails no task.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseHook
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
    set_producer,
)
from openlineage.client.uuid import generate_static_uuid

from ecommerce.build.dbt_project import MANIFEST
from ecommerce.common.connections import LOADER, TRANSFORMER
from ecommerce.common.errors import WindowError
from ecommerce.common.shop import SourceLocation, shop
from ecommerce.common.sources import SOURCES, Column
from ecommerce.common.value_rules import SQL_TYPES
from ecommerce.common.version import version
from ecommerce.common.windows import request_of

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

#: Seconds after which no further event of a task is sent: a receiver that is slow must not hold up a run.
_PATIENCE_SECONDS = 30.0

_Nodes = Mapping[str, Mapping[str, Any]]


def report_load(context: Context, figures: Any) -> None:
    """
    Report a load that has committed.

    For `post_execute` of an extract task.

    :param figures: those of its result
    """
    with _log_errors():
        rows = {"read": figures["rows_read"], "loaded": figures["rows_loaded"]}
        _send(_events_of_load(context, RunState.COMPLETE, rows=rows))


def report_failed_load(context: Context) -> None:
    """
    Report a load that has failed.

    For `on_failure_callback` of an extract task.
    """
    with _log_errors():
        error = context.get("exception")
        cause = getattr(error, "__cause__", None) or error
        # Only what kind: messages of loads quote rejected values.
        _send(_events_of_load(context, RunState.FAIL, error=f"{type(cause).__name__}; see the task's log"))


def report_build(context: Context, _: Any) -> None:
    """
    Report the models that dbt has built, or failed to build.

    For `post_execute` of a task of dbt, which has their `results`.
    """
    with _log_errors():
        manifest = json.loads(MANIFEST.read_text())
        nodes: _Nodes = manifest["nodes"] | manifest["sources"]
        results: Sequence[Any] = getattr(context["task"], "results", ())
        _send([event for result in results for event in _events_of_node(context, nodes, result)])


def _send(events: Sequence[RunEvent]) -> None:
    client = OpenLineageClient()
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    try:
        for number, event in enumerate(events):
            if time.monotonic() > give_up_at:
                log.warning("%d of %d lineage events were not sent in time", len(events) - number, len(events))
                return
            client.emit(event)
        log.info("%d lineage events sent", len(events))
    finally:
        client.close(timeout=_PATIENCE_SECONDS)


@contextmanager
def _log_errors() -> Iterator[None]:
    try:
        set_producer(f"https://openlineage.io/ecommerce-warehouse/{version()}")
        yield
    except Exception:
        log.exception("the lineage could not be reported")


# -- a run of a job ----------------------------------------------------------------------------------------------------


def _namespace() -> str:
    """Of the jobs, as OpenLineage's own variable has it."""
    return os.environ.get("OPENLINEAGE_NAMESPACE", "ecommerce")


def _job(name: str, integration: str, job_type: str) -> Job:
    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration=integration, jobType=job_type)
    return Job(_namespace(), name, facets={"jobType": kind})


def _run(context: Context, job: Job, started_at: datetime, **facets: Any) -> Run:
    """The run of a job: the same id for the same try of a task, and the DAG run as its parent."""
    dag_run = context["dag_run"]
    of_dag = generate_static_uuid(dag_run.run_after, f"{_namespace()}.{dag_run.dag_id}.{dag_run.run_id}".encode())
    of_job = generate_static_uuid(started_at, f"{of_dag}.{job.name}.{context['ti'].try_number}".encode())
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(str(of_dag)), job=parent_run.Job(_namespace(), dag_run.dag_id)
    )
    return Run(str(of_job), facets={"parent": parent, **facets})


def _error(message: str, language: Literal["SQL", "PYTHON"]) -> dict[str, Any]:
    return {"errorMessage": error_message_run.ErrorMessageRunFacet(message, programmingLanguage=language)}


def _fields(columns: Sequence[tuple[str, str | None, str | None]]) -> dict[str, Any]:
    """The facet with names, types and descriptions of columns."""
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name, type=data_type, description=description, ordinal_position=place)
        for place, (name, data_type, description) in enumerate(columns, 1)
    ]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)} if fields else {}


def _address(account: Any, scheme: str, port: int) -> str:
    """The namespace of a database's tables."""
    return f"{scheme}://{account.host}:{account.port or port}"


# -- loads -------------------------------------------------------------------------------------------------------------


def _events_of_load(
    context: Context,
    state: RunState,
    *,
    rows: Mapping[str, int] | None = None,
    error: str | None = None,
) -> list[RunEvent]:
    task: Any = context["task"]
    ti, source = context["ti"], SOURCES[task.source]
    ended_at = datetime.now(UTC)
    started_at = ti.start_date or ended_at
    job = _job(f"{ti.dag_id}.{ti.task_id}", "AIRFLOW", "TASK")
    facets = {**_window_of(context), **(_error(error, "PYTHON") if error else {})}
    run = _run(context, job, started_at, **facets)
    account = BaseHook.get_connection(LOADER)
    read = input_statistics_input_dataset.InputStatisticsInputDatasetFacet
    written = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    inputs = [
        InputDataset(
            *_place_of_source(shop().location_of(source.name)),
            facets=_fields(_typed(source.columns)),
            inputFacets={"inputStatistics": read(rowCount=rows["read"])} if rows else {},
        )
    ]
    outputs = [
        OutputDataset(
            _address(account, "postgres", 5432),
            # As models read it.
            f"{account.schema}.raw.{source.all_rows}",
            facets=_fields(_typed(source.loaded_columns)),
            outputFacets={"outputStatistics": written(rowCount=rows["loaded"])} if rows else {},
        )
    ]
    return [
        RunEvent(eventTime=moment.isoformat(), run=run, job=job, eventType=event, inputs=inputs, outputs=outputs)
        for event, moment in ((RunState.START, started_at), (state, ended_at))
    ]


def _typed(columns: Sequence[Column]) -> list[tuple[str, str | None, str | None]]:
    return [(column.name, SQL_TYPES[column.kind], None) for column in columns]


def _window_of(context: Context) -> dict[str, Any]:
    """The shop's days that the run is about; a run whose window is not valid has none."""
    try:
        window = request_of(context).window
    except WindowError:
        return {}
    start, end = (shop().midnight(day).isoformat() for day in (window.start, window.end))
    return {"nominalTime": nominal_time_run.NominalTimeRunFacet(start, end)}


def _place_of_source(location: SourceLocation) -> tuple[str, str]:
    """Namespace and name of a source's dataset, by OpenLineage's naming."""
    account = BaseHook.get_connection(location.connection)
    if location.topic:
        bootstrap = str(account.extra_dejson.get("bootstrap.servers", "")).split(",")[0]
        return f"kafka://{bootstrap}", location.topic
    if account.conn_type in ("postgres", "mysql"):
        # A template reads several tables; it has the name of its source.
        table = location.table_name or location.source
        if account.conn_type == "mysql":
            return _address(account, "mysql", 3306), f"{location.schema_name or account.schema}.{table}"
        return _address(account, "postgres", 5432), f"{account.schema}.{location.schema_name or 'public'}.{table}"
    return f"{account.schema or account.conn_type}://{account.host}", location.source


# -- models ------------------------------------------------------------------------------------------------------------


def _events_of_node(context: Context, nodes: _Nodes, result: Any) -> Iterator[RunEvent]:
    """
    Begin and end of a model or seed; nothing for a test, and for what dbt skipped.

    :param result: one of the `results` of a task of dbt
    """
    node = nodes.get(result.unique_id, {})
    if node.get("resource_type") not in ("model", "seed", "snapshot") or result.is_skipped:
        return
    account = BaseHook.get_connection(TRANSFORMER)
    ended_at = _moment(result.finished_at)
    started_at = min(_moment(result.started_at), ended_at)
    job = _job(f"{context['ti'].dag_id}.{node['name']}", "DBT", str(node["resource_type"]).upper())
    run = _run(
        context, job, started_at, **(_error(f"{result.status}; see the task's log", "SQL") if result.is_bad else {})
    )
    written = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    has_rows = result.rows is not None and not result.is_bad
    inputs = [
        InputDataset(*_place_of_node(account, nodes[parent]), facets=_fields(_columns_of(nodes[parent])))
        for parent in node["depends_on"].get("nodes", ())
        if parent in nodes
    ]
    outputs = [
        OutputDataset(
            *_place_of_node(account, node),
            facets=_fields(_columns_of(node)),
            outputFacets={"outputStatistics": written(rowCount=result.rows)} if has_rows else {},
        )
    ]
    end = RunState.FAIL if result.is_bad else RunState.COMPLETE
    for state, moment in ((RunState.START, started_at), (end, ended_at)):
        yield RunEvent(eventTime=moment.isoformat(), run=run, job=job, eventType=state, inputs=inputs, outputs=outputs)


def _place_of_node(account: Any, node: Mapping[str, Any]) -> tuple[str, str]:
    table = node.get("alias") or node.get("identifier") or node["name"]
    return _address(account, "postgres", 5432), f"{account.schema}.{node['schema']}.{table}"


def _columns_of(node: Mapping[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return [
        (column["name"], column.get("data_type"), column.get("description") or None)
        for column in node["columns"].values()
    ]


def _moment(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.now(UTC)
