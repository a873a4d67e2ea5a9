"""Warm workers: a process that forks imports and parses first, leaves no threads, and its forks can run dbt."""

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dbt_triggerer import warm_workers

pytestmark = pytest.mark.slow

PLUGINS = Path(warm_workers.__file__).parents[1]
PROJECT = {
    "dbt_project.yml": """
        name: tiny
        version: "1.0.0"
        profile: tiny
        flags: {send_anonymous_usage_stats: false}
    """,
    "profiles.yml": """
        tiny:
          target: nowhere
          outputs:
            nowhere: {type: postgres, host: 127.0.0.1, port: 9, user: nobody, password: "", dbname: none, schema: tiny}
    """,
    "models/one.sql": "select 1 as number\n",
    "models/two.sql": "select * from {{ ref('one') }}\n",
}

#: Counts the threads that warming has left, then lets a fork parse a project of which one file has changed.
FORK = """
import os, signal, sys, time
from pathlib import Path
from dbt_triggerer.warm_workers import parse_once

project = Path(sys.argv[1])
parse_once(project)
print("threads:", len(os.listdir("/proc/self/task")), flush=True)
pid = os.fork()
if pid == 0:
    from dbt.cli.main import dbtRunner
    (project / "models" / "two.sql").write_text("select number + 1 as number from {{ ref('one') }}")
    folder = sys.argv[2]
    ended = dbtRunner().invoke(
        ["--quiet", "parse", "--project-dir", str(project), "--profiles-dir", str(project), "--target-path", folder,
         "--log-path", folder, "--static-parser"]
    )
    os._exit(0 if ended.success else 1)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.1)
os.kill(pid, signal.SIGKILL)
sys.exit("the fork hangs in dbt's parser")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return tmp_path / "project"


def python(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_fork_of_a_warm_process_can_parse_a_changed_file(project: Path, tmp_path: Path) -> None:
    """Threads of dbt's static parser would be missing in the fork, which would then wait for them for ever."""
    outcome = python(FORK, project, tmp_path / "target")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr[-2000:]
    assert "threads: 1\n" in outcome.stdout


def test_missing_module_and_broken_project_are_warnings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(warm_workers, "MODULES", ("json",))
    monkeypatch.setattr(warm_workers, "keep_pages_shared", lambda: calls.append("shared"))
    monkeypatch.setattr("dbt_triggerer.airflow_internals.patch_workers", lambda: calls.append("patched"))
    with caplog.at_level(logging.INFO, logger=warm_workers.__name__):
        warm_workers.warm_up(project=tmp_path, modules=["no_such_module"])
    assert calls == ["shared", "patched"]
    records = [record for record in caplog.records if record.name == warm_workers.__name__]
    warnings = [record.getMessage() for record in records if record.levelname == "WARNING"]
    assert warnings[0] == "workers start without no_such_module: No module named 'no_such_module'"
    assert warnings[1].startswith("workers start without a parsed dbt project: ")
    assert "workers start warm: 2 modules in" in records[-1].getMessage()


def test_first_full_collection_after_a_fork_freezes_the_shared_objects() -> None:
    """In a process of its own, since it changes how garbage is collected."""
    script = """if True:
        import gc, os
        from dbt_triggerer.warm_workers import keep_pages_shared
        callbacks = list(gc.callbacks)
        keep_pages_shared()
        gc.collect(); assert gc.get_freeze_count() == 0, 'nothing was forked yet'
        pid = os.fork()
        if pid == 0: os._exit(0)
        os.waitpid(pid, 0)
        gc.collect(1); assert gc.get_freeze_count() == 0, 'not a full one'
        gc.collect(); assert gc.get_freeze_count() > 1000
        assert gc.callbacks == callbacks, 'once only: later garbage is collected'
    """
    outcome = python(script)
    assert outcome.returncode == 0, outcome.stderr
