"""Workers start warm: what tasks import is there before the first of them forks, and nothing depends on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecommerce.workers import warm_up
from ecommerce.workers.warm_up import MODULES, is_wanted

ROOT = Path(__file__).parents[3]

IN_A_FRESH_PROCESS = """
import json, sys
before = set(sys.modules)
from ecommerce.workers.warm_up import MODULES, warm_up
warm_up()
missing = set(MODULES) - set(sys.modules)
print("answer:", json.dumps({"early": sorted(before & set(MODULES)), "missing": sorted(missing)}))
"""

#: A worker as Airflow's Celery provider configures it, with a pool of one forked process that is asked what it holds.
CELERY_WORKER = """
import json, sys
from celery import Celery
from celery.concurrency.prefork import TaskPool
from ecommerce.workers.warm_up import MODULES

app = Celery("workers", broker="memory://", backend="cache+memory://", config_source=json.loads(sys.argv[1]))
assert not set(MODULES) & set(sys.modules), "loaded before there was a worker"

class Forked(Exception):
    pass

def on_start(pool):
    print("answer:", json.dumps(sorted(set(MODULES) - set(sys.modules))))
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
        timeout=120,
        check=False,
    )


def answer(outcome: subprocess.CompletedProcess[str]) -> object:
    """What the script said, among what the modules say as they are imported."""
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    (said,) = (line for line in outcome.stdout.splitlines() if line.startswith("answer:"))
    return json.loads(said.removeprefix("answer:"))


def test_a_fresh_process_holds_every_module_after_it() -> None:
    assert answer(python(IN_A_FRESH_PROCESS)) == {"early": [], "missing": []}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("on", True), ("", True), ("1", True), ("off", False), ("OFF", False), ("0", False), ("false", False)],
)
def test_off_by_its_setting(monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool) -> None:
    monkeypatch.setenv("ECOMMERCE_WARM_WORKERS", value)
    assert is_wanted() is wanted


def test_on_without_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECOMMERCE_WARM_WORKERS", raising=False)
    assert is_wanted()


def test_a_module_that_is_not_there_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refined: list[str] = []
    monkeypatch.setattr(warm_up, "MODULES", ("json", "no_such_module"))
    monkeypatch.setattr("dbt_triggerer.airflow_internals.refine_workers", lambda: refined.append("workers"))
    warm_up.warm_up()
    assert refined == ["workers"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["workers start without no_such_module: No module named 'no_such_module'"]


SETTING = {"imports": ["ecommerce.workers.celery_warm_up"]}


def celery_worker(**env: str) -> object:
    """The modules that a worker with the setting, and with what Airflow always sets, lacks as it forks."""
    config = {"worker_redirect_stdouts": False, "worker_hijack_root_logger": False, **SETTING}
    return answer(python(CELERY_WORKER, json.dumps(config), **env))


def test_a_celery_worker_holds_every_module_before_it_forks() -> None:
    assert celery_worker() == []


def test_a_celery_worker_holds_none_where_it_is_off() -> None:
    assert celery_worker(ECOMMERCE_WARM_WORKERS="off") == sorted(MODULES)


def test_operations_names_the_setting_of_celery() -> None:
    assert f"AIRFLOW__CELERY__EXTRA_CELERY_CONFIG='{json.dumps(SETTING)}'" in (ROOT / "docs/operations.md").read_text()


def test_the_first_full_collection_after_a_fork_leaves_the_shared_pages_alone() -> None:
    """In a process of its own, since it changes how garbage is collected."""
    script = (
        "import gc, os\n"
        "from ecommerce.workers.warm_up import _keep_shared\n"
        "callbacks = list(gc.callbacks)\n"
        "_keep_shared()\n"
        "gc.collect(); assert gc.get_freeze_count() == 0, 'nothing was forked yet'\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "gc.collect(1); assert gc.get_freeze_count() == 0, 'not a full one'\n"
        "gc.collect(); assert gc.get_freeze_count() > 1000\n"
        "assert gc.callbacks == callbacks, 'once only: later garbage is collected'\n"
    )
    outcome = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": "plugins"}, cwd=ROOT)
    assert outcome.returncode == 0
