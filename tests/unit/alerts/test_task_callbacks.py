"""The attributes by which callbacks recognise tasks, on the operators that have them."""

from pathlib import Path
from typing import Any

from dbt_triggerer.tasks import DbtNode
from ecommerce.alerts.task_callbacks import RecordsCheck, WatchesBuild
from ecommerce.audit.quality_check import QualityCheck
from ecommerce.publish.refresh_marts import RefreshMarts
from ecommerce.verify.verify_warehouse import VerifyWarehouse


def test_tasks_of_checks_record_a_check() -> None:
    tasks = QualityCheck(task_id="q", check_name="volume", window_task_id="window"), VerifyWarehouse(task_id="v")
    assert [task.check_name for task in tasks if isinstance(task, RecordsCheck)] == ["volume", "drift"]
    assert not isinstance(RefreshMarts(task_id="r"), RecordsCheck)


def test_nodes_of_a_build_watch_it() -> None:
    profile: Any = None
    node = DbtNode(
        task_id="n", command="test", unique_ids=[], build_task_id="dbt_build", project=Path(), profile=profile
    )
    assert isinstance(node, WatchesBuild)
    assert not isinstance(RefreshMarts(task_id="r"), WatchesBuild)
