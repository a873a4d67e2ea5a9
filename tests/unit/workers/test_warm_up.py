"""Warm workers of the shop: the modules of its tasks are imported before the first fork, unless the setting is off."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dbt_triggerer import warm_workers
from ecommerce.workers.warm_up import MODULES, is_wanted

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

#: What a task of the shop imports.
ALL = {*MODULES, *warm_workers.MODULES}

IN_A_FRESH_PROCESS = """
import json, sys
names = set(json.loads(sys.argv[1]))
from ecommerce.workers.warm_up import warm_up
early = names & set(sys.modules)
warm_up()
print("answer:", json.dumps({"early": sorted(early), "missing": sorted(names - set(sys.modules))}))
"""

#: A worker as Airflow's Celery provider configures it; where its pool would fork, it prints which modules are missing.
CELERY_WORKER = """
import json, sys
from celery import Celery
from celery.concurrency.prefork import TaskPool
names = set(json.loads(sys.argv[2]))
app = Celery("workers", broker="memory://", backend="cache+memory://", config_source=json.loads(sys.argv[1]))
assert not names & set(sys.modules), "imported before there was a worker"

class Forked(Exception):
    pass

def on_start(pool):
    print("answer:", json.dumps(sorted(names - set(sys.modules))))
    raise Forked

# Where the pool would fork: nothing after this can be shared.
TaskPool.on_start = on_start
worker = app.Worker(pool="prefork", concurrency=1, quiet=True)
try:
    worker.start()
except BaseException as error:
    assert isinstance(error, (Forked, SystemExit)), error
"""


def python(script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "plugins", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def answer(outcome: subprocess.CompletedProcess[str]) -> object:
    """What the script printed after `answer:`."""
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    (line,) = (line for line in outcome.stdout.splitlines() if line.startswith("answer:"))
    return json.loads(line.removeprefix("answer:"))


def test_warm_up_imports_every_module_of_a_task() -> None:
    assert answer(python(IN_A_FRESH_PROCESS, json.dumps(sorted(ALL)))) == {"early": [], "missing": []}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("on", True), ("", True), ("1", True), ("off", False), ("OFF", False), ("0", False), ("false", False)],
)
def test_warm_up_is_off_by_its_setting(monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool) -> None:
    monkeypatch.setenv("ECOMMERCE_WARM_WORKERS", value)
    assert is_wanted() is wanted


def test_warm_up_is_on_without_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECOMMERCE_WARM_WORKERS", raising=False)
    assert is_wanted()


SETTING = {"imports": ["ecommerce.workers.celery_warm_up"]}


def celery_worker(**env: str) -> object:
    """The modules that a worker with the setting, and with those that Airflow always makes, lacks when it forks."""
    config = {"worker_redirect_stdouts": False, "worker_hijack_root_logger": False, **SETTING}
    return answer(python(CELERY_WORKER, json.dumps(config), json.dumps(sorted(ALL)), **env))


def test_celery_worker_imports_every_module_before_it_forks() -> None:
    assert celery_worker() == []


def test_celery_worker_imports_none_if_it_is_off() -> None:
    assert celery_worker(ECOMMERCE_WARM_WORKERS="off") == sorted(ALL)


def test_operations_names_the_setting_of_celery() -> None:
    assert f"AIRFLOW__CELERY__EXTRA_CELERY_CONFIG='{json.dumps(SETTING)}'" in (ROOT / "docs/operations.md").read_text()
