"""What one try of an extract task does, in a process forked from one that has imported all of this already."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

# What reading a connection imports when it comes to it.
import airflow.sdk.execution_time.supervisor  # noqa: F401
from airflow.sdk import Context
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance, _run_execute_callable

from ecommerce.common import fault_points
from ecommerce.common.shop import VARIABLE
from ecommerce.extract import kafka_reader, kafka_topic, weather_reader
from ecommerce.load.extract_source import ExtractSource
from tests.integration.support import write_shop

#: How long a try may take; what hangs is ended by Airflow's own execution timeout.
EXECUTION_TIMEOUT = 20.0
RETRIES = 3


@dataclass(frozen=True)
class Order:
    """
    One try of one load.

    :param environment: connections and variables as Airflow reads them, and the armed fault point
    :param patience: seconds that the readers wait for their source to say something
    :param folder: for what it reports and logs
    """

    number: int
    source: str
    first: str
    last: str
    run_id: str
    try_number: int
    environment: Mapping[str, str]
    topic: str
    folder: Path
    patience: float = 10.0
    execution_timeout: float = EXECUTION_TIMEOUT
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        return self.folder / f"try_{self.number}.json"

    @property
    def log(self) -> Path:
        return self.folder / f"try_{self.number}.log"


def work(order: Order) -> None:
    """Execute the task as Airflow's task runner does, and report what came of it, unless the process is killed."""
    log = os.open(order.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    os.environ.update(order.environment)
    fault_points.arm(os.environ.get(fault_points.VARIABLE))
    os.environ[VARIABLE] = str(write_shop(kafka_stream={"connection": "shop_kafka", "topic": order.topic}))
    kafka_topic.REQUEST_TIMEOUT = kafka_reader.MESSAGE_TIMEOUT = order.patience
    cast("Any", weather_reader).TIMEOUT = (order.patience, order.patience)
    cast("Any", weather_reader.WeatherReader._ask).retry.sleep = lambda seconds: None
    try:
        figures = _execute(order)
    except BaseException as error:
        traceback.print_exc()
        order.report.write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        sys.stderr.flush()
        os._exit(1)
    order.report.write_text(json.dumps({"figures": figures}, default=str))


def _execute(order: Order) -> dict[str, Any]:
    task = ExtractSource(
        task_id=f"extract_{order.source}",
        source=order.source,
        retries=RETRIES,
        execution_timeout=timedelta(seconds=order.execution_timeout),
    )
    now = datetime.now(UTC)
    run = SimpleNamespace(
        dag_id="ecommerce_warehouse", run_id=order.run_id, logical_date=None, run_after=now,
        data_interval_start=None, data_interval_end=None,
    )  # fmt: skip
    instance = RuntimeTaskInstance.model_construct(
        task=task, task_id=task.task_id, dag_id=run.dag_id, run_id=run.run_id, try_number=order.try_number,
        map_index=-1, max_tries=RETRIES, start_date=now,
    )  # fmt: skip
    context = {
        "dag_run": run,
        "run_id": run.run_id,
        "ti": instance,
        "task_instance": instance,
        "task": task,
        "params": {"start_date": order.first, "end_date": order.last, **order.params},
        "outlet_events": OutletEventAccessors(),
    }
    return _run_execute_callable(cast("Context", context), task.execute, task)
