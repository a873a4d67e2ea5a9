"""
The warehouse's metrics: gauges that are read from `ops`, and sent by Airflow's own metrics.

Airflow chooses the backend by its section `metrics`: StatsD, DogStatsD or OpenTelemetry. Where one has labels, the
source, state or step of a gauge is one; plain StatsD has none, so there it is the last part of the name.
`deploy/statsd_exporter/mapping.yml` makes a label of that part, so Prometheus has the same names from each backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow.configuration import conf
from psycopg import Connection

from ecommerce.build.dag_files import WAREHOUSE_DAG

#: Gauge → its label; None: it has none. docs/telemetry.md says what each measures.
GAUGES: dict[str, str | None] = {
    "ecommerce.rows_read": "source",
    "ecommerce.rows_loaded": "source",
    "ecommerce.rows_quarantined": "source",
    "ecommerce.rows_rejected": "source",
    "ecommerce.rows_waiting": "source",
    "ecommerce.source_lag_seconds": "source",
    "ecommerce.source_failed": "source",
    "ecommerce.checks": "state",
    "ecommerce.run_seconds": "step",
    "ecommerce.publication_age_seconds": None,
    "ecommerce.measured_at": None,
}

#: One row for each source that was read, with its gauges in the order of `GAUGES`. Rows are those of its last load; the
#: lag is the time since the end of its last loaded day.
_SOURCES = """
with last_load as (
    select distinct on (source)
        source,
        rows_read,
        rows_loaded,
        rows_quarantined,
        rows_refused
    from ops.load_batch
    where status = 'loaded'
    order by source asc, batch_id desc
)

select
    status.source,
    last_load.rows_read,
    last_load.rows_loaded,
    last_load.rows_quarantined,
    last_load.rows_refused,
    status.rows_in_quarantine,
    greatest(extract(epoch from now() - ops.shop_midnight(status.loaded_through + 1)), 0)::float8,
    status.is_failed::integer
from ops.source_status as status
left join last_load on status.source = last_load.source
where status.source = any(%s)
order by status.source
"""

#: Checks of the last run that has claimed, by state; a check counts by its last result for each subject.
_CHECKS = """
with last_run as (
    select run_id from ops.build where dag_id = %s order by claimed_at desc limit 1
),

last_result as (
    select distinct on (check_name, subject) status
    from ops.check_result
    where run_id = (select run_id from last_run)
    order by check_name asc, subject asc, check_result_id desc
)

select
    state.state,
    count(last_result.status)
from unnest(array['pass', 'warn', 'fail']) as state (state)
left join last_result on state.state = last_result.status
where exists (select from last_run)
group by state.state
order by state.state
"""

#: When the steps of the last published run ended; a step that had nothing to do ended with the one before.
_STEPS = """
with published as (
    select
        run_id,
        published_at
    from ops.publication
    where restores is null and run_id not in (select erasure.run_id from ops.erasure)
    order by publication_id desc
    limit 1
),

build as (
    select
        build.run_id,
        build.dag_id,
        build.claimed_at,
        published.published_at
    from ops.build
    inner join published on build.run_id = published.run_id
),

loads as (
    select
        min(started_at) as started_at,
        max(finished_at) as finished_at
    from ops.load_batch
    where (dag_id, run_id) in (select build.dag_id, build.run_id from build) and status <> 'running'
)

select
    coalesce(loads.started_at, build.claimed_at),
    coalesce(loads.finished_at, build.claimed_at),
    build.claimed_at,
    (select max(rebuilt_at) from ops.rebuild where run_id = build.run_id),
    (
        select max(checked_at) from ops.check_result
        where run_id = build.run_id and checked_at < build.published_at
    ),
    build.published_at
from build
cross join loads
"""

_PUBLICATION = """
select extract(epoch from now() - published_at)::float8
from ops.publication
where run_id not in (select erasure.run_id from ops.erasure)
order by publication_id desc
limit 1
"""

_STEP_NAMES = ("extract", "claim", "build", "quality", "publish")


@dataclass(frozen=True)
class Gauge:
    """
    A measured value.

    :param name: one of `GAUGES`
    :param of: the value of its label: which source, state or step
    """

    name: str
    value: float
    of: str | None = None


def is_on() -> bool:
    """Whether Airflow's configuration names a backend for metrics."""
    return any(conf.getboolean("metrics", key) for key in ("statsd_on", "statsd_datadog_enabled", "otel_on"))


def read_gauges(connection: Connection, sources: Sequence[str]) -> list[Gauge]:
    """
    Measure the warehouse. What has not happened yet, as a publication in a new warehouse, has no gauge.

    :param sources: those of the shop; others have no gauge
    """
    return [
        *_of_sources(connection, sources),
        *_of_checks(connection),
        *_of_steps(connection),
        *_of_publication(connection),
    ]


def send(gauges: Sequence[Gauge]) -> None:
    """Send gauges by Airflow's metrics."""
    from airflow.sdk.observability import stats

    has_labels = _backend_has_labels()
    for gauge in gauges:
        label = GAUGES[gauge.name]
        if label is None or gauge.of is None:
            stats.gauge(gauge.name, gauge.value)
        elif has_labels:
            stats.gauge(gauge.name, gauge.value, tags={label: gauge.of})
        else:
            stats.gauge(f"{gauge.name}.{gauge.of}", gauge.value)


def _backend_has_labels() -> bool:
    # In the order in which Airflow chooses its backend.
    if conf.getboolean("metrics", "statsd_datadog_enabled"):
        return True
    if conf.getboolean("metrics", "statsd_on"):
        return conf.getboolean("metrics", "statsd_influxdb_enabled")
    return True


def _of_sources(connection: Connection, sources: Sequence[str]) -> Iterator[Gauge]:
    names = [name for name, label in GAUGES.items() if label == "source"]
    for source, *values in connection.execute(_SOURCES, [list(sources)]):
        for name, value in zip(names, values, strict=True):
            if value is not None:
                yield Gauge(name, value, source)


def _of_checks(connection: Connection) -> Iterator[Gauge]:
    for state, count in connection.execute(_CHECKS, [WAREHOUSE_DAG]):
        yield Gauge("ecommerce.checks", count, state)


def _of_steps(connection: Connection) -> Iterator[Gauge]:
    row = connection.execute(_STEPS).fetchone()
    if row is None:
        return
    ended, *ends = row
    for step, end in zip(_STEP_NAMES, ends, strict=True):
        # A task that was cleared may have ended after a later step.
        seconds = max((end - ended).total_seconds(), 0.0) if end else 0.0
        ended = max(ended, end) if end else ended
        yield Gauge("ecommerce.run_seconds", seconds, step)


def _of_publication(connection: Connection) -> Iterator[Gauge]:
    row = connection.execute(_PUBLICATION).fetchone()
    if row is not None:
        yield Gauge("ecommerce.publication_age_seconds", row[0])
    now = connection.execute("select extract(epoch from now())::float8").fetchone()
    if now is not None:
        yield Gauge("ecommerce.measured_at", now[0])
