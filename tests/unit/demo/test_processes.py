"""Background processes: found again by their pid files, stopped with their children, and they say why they ended."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from include.demo import processes
from include.demo.errors import StackError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
#: A parent that says so once its child runs, and does not look after it.
FAMILY = [
    sys.executable,
    "-c",
    f"import subprocess, time; print('child', subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(60)",
]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Logs and pid files of the test's own; whatever it started ends with it."""
    monkeypatch.setattr(processes, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(processes, "PIDS", tmp_path / "pids")
    yield tmp_path
    for pid_file in (tmp_path / "pids").glob("*"):
        processes.stop(pid_file.name, timeout=1)


def test_a_process_is_found_again_and_stopped() -> None:
    processes.start("it", SLEEP)
    found = processes.find("it")
    assert found is not None
    assert found.pid != os.getpid()
    # In a session of its own, so that a Ctrl-C in the terminal does not reach it.
    assert os.getsid(found.pid) == found.pid
    assert processes.stop("it")
    assert processes.find("it") is None
    assert not found.is_running()
    assert not processes.stop("it")


def test_what_was_never_started() -> None:
    assert processes.find("it") is None
    assert not processes.stop("it")


def test_a_pid_that_belongs_to_another_process_now(folders: Path) -> None:
    processes.start("it", SLEEP)
    ours = processes.find("it")
    assert ours is not None
    (folders / "pids" / "it").write_text(f"{os.getpid()} {psutil.Process().create_time() - 1000}")
    assert processes.find("it") is None
    assert not processes.stop("it")
    assert psutil.pid_exists(os.getpid())
    ours.kill()
    ours.wait(5)


def test_a_process_that_ended(folders: Path) -> None:
    processes.start("it", [sys.executable, "-c", ""])
    with pytest.raises(StackError, match="it ended while starting"):
        processes.wait_until(lambda: False, "it", seconds=20)
    assert processes.find("it") is None


def start_family(folders: Path) -> tuple[psutil.Process, psutil.Process]:
    """A process and its child."""
    processes.start("it", FAMILY)
    log = folders / "logs" / "it.log"
    processes.wait_until(lambda: log.read_text().endswith("\n"), "it", seconds=20)
    parent = processes.find("it")
    assert parent is not None
    return parent, psutil.Process(int(log.read_text().split()[1]))


def test_children_end_with_it(folders: Path) -> None:
    _, child = start_family(folders)
    processes.stop("it", timeout=0.2)
    assert not child.is_running()


@pytest.mark.parametrize("again", [lambda: processes.stop("it"), lambda: processes.start("it", SLEEP)])
def test_children_of_one_that_was_killed_end_with_the_next_command(folders: Path, again: Callable[[], None]) -> None:
    parent, child = start_family(folders)
    parent.kill()
    parent.wait(5)
    assert child.is_running()
    again()
    assert not child.is_running()


def test_numbers_of_before_a_reboot_end_nobody(folders: Path) -> None:
    parent, child = start_family(folders)
    (folders / "pids" / "it").write_text(f"{parent.pid} {psutil.boot_time() - 60}")
    parent.kill()
    parent.wait(5)
    processes.stop("it")
    assert child.is_running()
    child.kill()


def test_one_that_does_not_listen_is_ended_all_the_same(folders: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    processes.start("it", [sys.executable, "-c", deaf])
    processes.wait_until(lambda: (folders / "logs" / "it.log").read_text() != "", "it", seconds=20)
    found = processes.find("it")
    assert found is not None
    processes.stop("it", timeout=0.2)
    assert not found.is_running()


def test_one_that_ends_while_starting_says_why() -> None:
    processes.start("it", [sys.executable, "-c", "import sys; sys.exit('the disk is full')"])
    with pytest.raises(StackError, match=r"^it ended while starting; the end of its log:\n  the disk is full\n  \("):
        processes.wait_until(lambda: False, "it", seconds=20)


def test_one_that_never_answers() -> None:
    processes.start("it", SLEEP)
    with pytest.raises(StackError, match=r"^it did not answer within 0 s; the end of its log:"):
        processes.wait_until(lambda: False, "it", seconds=0.1)


def test_its_environment_and_its_log() -> None:
    command = [sys.executable, "-c", "import os; print(os.environ['NAME'])"]
    for name in ("one", "two"):
        processes.start("it", command, env={"NAME": name})
        with pytest.raises(StackError):
            processes.wait_until(lambda: False, "it", seconds=20)
    assert processes.tail("it").splitlines()[:2] == ["  one", "  two"]
    assert processes.tail("it", lines=1).splitlines()[0] == "  two"
