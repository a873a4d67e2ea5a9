"""Background processes: found by their pid files, stopped with their children, with the reason if they end early."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from include.demo import processes
from include.demo.errors import StackError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
#: A parent that prints the pid of its child, and does not wait for it.
FAMILY = [
    sys.executable,
    "-c",
    f"import subprocess, time; print('child', subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(60)",
]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Logs and pid files of the test's own; its processes end with it."""
    monkeypatch.setattr(processes, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(processes, "PIDS", tmp_path / "pids")
    yield tmp_path
    for pid_file in (tmp_path / "pids").glob("*"):
        processes.stop(pid_file.name, timeout=1)


def test_process_is_found_and_stopped() -> None:
    processes.start("it", SLEEP)
    process = processes.find("it")
    assert process is not None
    assert process.pid != os.getpid()
    # In a session of its own, so that a Ctrl-C in the terminal does not reach it.
    assert os.getsid(process.pid) == process.pid
    assert processes.stop("it")
    assert processes.find("it") is None
    assert not process.is_running()
    assert not processes.stop("it")


def test_log_and_files_of_a_process_are_readable_by_their_owner_alone(folders: Path) -> None:
    (folders / "logs").mkdir()
    # Of an earlier version.
    (folders / "logs" / "it.log").touch(mode=0o644)
    made = folders / "made"
    processes.start("it", [sys.executable, "-c", f"open({str(made)!r}, 'w'); import time; time.sleep(60)"])
    deadline = time.monotonic() + 10
    while not made.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [path.stat().st_mode & 0o777 for path in (folders / "logs" / "it.log", made)] == [0o600, 0o600]


def test_process_that_was_never_started_is_not_found() -> None:
    assert processes.find("it") is None
    assert not processes.stop("it")


def test_pid_that_belongs_to_another_process_is_not_found(folders: Path) -> None:
    processes.start("it", SLEEP)
    started = processes.find("it")
    assert started is not None
    (folders / "pids" / "it").write_text(f"{os.getpid()} {psutil.Process().create_time() - 1000}")
    assert processes.find("it") is None
    assert not processes.stop("it")
    assert psutil.pid_exists(os.getpid())
    started.kill()
    started.wait(5)


def test_process_that_ended_is_not_found(folders: Path) -> None:
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


def test_stop_ends_children(folders: Path) -> None:
    _, child = start_family(folders)
    processes.stop("it", timeout=0.2)
    assert not child.is_running()


@pytest.mark.parametrize("again", [lambda: processes.stop("it"), lambda: processes.start("it", SLEEP)])
def test_children_of_killed_process_end_with_the_next_command(folders: Path, again: Callable[[], None]) -> None:
    parent, child = start_family(folders)
    parent.kill()
    parent.wait(5)
    assert child.is_running()
    again()
    assert not child.is_running()


def test_pids_from_before_a_reboot_are_not_stopped(folders: Path) -> None:
    parent, child = start_family(folders)
    (folders / "pids" / "it").write_text(f"{parent.pid} {psutil.boot_time() - 60}")
    parent.kill()
    parent.wait(5)
    processes.stop("it")
    assert child.is_running()
    child.kill()


def test_process_that_ignores_sigterm_is_killed(folders: Path) -> None:
    ignores = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    processes.start("it", [sys.executable, "-c", ignores])
    processes.wait_until(lambda: (folders / "logs" / "it.log").read_text() != "", "it", seconds=20)
    process = processes.find("it")
    assert process is not None
    processes.stop("it", timeout=0.2)
    assert not process.is_running()


def test_process_that_ends_while_starting_is_an_error_with_its_log() -> None:
    processes.start("it", [sys.executable, "-c", "import sys; sys.exit('the disk is full')"])
    with pytest.raises(StackError, match=r"^it ended while starting; the end of its log:\n  the disk is full\n  \("):
        processes.wait_until(lambda: False, "it", seconds=20)


def test_process_that_is_never_ready_is_an_error() -> None:
    processes.start("it", SLEEP)
    with pytest.raises(StackError, match=r"^it did not answer within 0 s; the end of its log:"):
        processes.wait_until(lambda: False, "it", seconds=0.1)


def test_environment_is_passed_and_log_is_appended() -> None:
    command = [sys.executable, "-c", "import os; print(os.environ['NAME'])"]
    for name in ("one", "two"):
        processes.start("it", command, env={"NAME": name})
        with pytest.raises(StackError):
            processes.wait_until(lambda: False, "it", seconds=20)
    assert processes.tail("it").splitlines()[:2] == ["  one", "  two"]
    assert processes.tail("it", lines=1).splitlines()[0] == "  two"


def test_listens_is_true_for_a_port_of_the_process_or_a_child() -> None:
    server = (
        "import socket, time; server = socket.create_server(('127.0.0.1', 0));"
        " print(server.getsockname()[1], flush=True); time.sleep(60)"
    )
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {server!r}]); time.sleep(60)"
    for command in (server, parent):
        processes.start("it", [sys.executable, "-c", command])
        processes.wait_until(lambda: (processes.LOGS / "it.log").read_text().endswith("\n"), "it", seconds=20)
        port = int((processes.LOGS / "it.log").read_text().splitlines()[-1])
        assert processes.listens("it", port)
        processes.stop("it", timeout=1)
        assert not processes.listens("it", port)
        (processes.LOGS / "it.log").unlink()


def test_listens_is_false_for_a_port_of_another_process() -> None:
    processes.start("it", SLEEP)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not processes.listens("it", other.getsockname()[1])


def test_wait_for_port_fails_at_once_if_another_program_listens() -> None:
    processes.start("it", SLEEP)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=rf"^it cannot use port {port}: another program listens on it\n"):
            processes.wait_for_port("it", port, seconds=20)
