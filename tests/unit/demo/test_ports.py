"""Ports of the stack's services: which one is chosen, reservations between stacks, ports taken before the start."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from include.demo import ports, processes, stack, state
from include.demo.errors import StackError
from include.demo.ports import PORTS, choose_port, is_free, release_all, reserve, start_on_free_port
from include.demo.state import ROOT, State

#: Makes a stack, prints its ports, and holds them until its input ends; all stacks draw from the same few ports.
CREATE_STACK = """
import sys
from pathlib import Path
from include.demo import ports
from include.demo.state import State
ports.RESERVATIONS = Path(sys.argv[1])
ports.OTHER_PORTS = range(int(sys.argv[2]), int(sys.argv[3]))
print(*State.create_beside().ports.values(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def reservations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Reservations of the test's own; no port is asked for."""
    release_all()
    folder = tmp_path / "reservations"
    monkeypatch.setattr(ports, "RESERVATIONS", folder)
    for name in PORTS:
        monkeypatch.delenv(name, raising=False)
    yield folder
    release_all()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port on which no program listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def other_process(reservations: Path) -> Iterator[Callable[[int, Path], None]]:
    """Reserve a port for a stack in another process, which goes on until the test ends."""
    with ExitStack() as running:

        def reserve_there(port: int, folder: Path) -> None:
            script = (
                "import sys; from pathlib import Path; from include.demo import ports;"
                " ports.RESERVATIONS = Path(sys.argv[1]);"
                " print(ports.reserve(int(sys.argv[2]), 'KAFKA_PORT', Path(sys.argv[3])), flush=True); sys.stdin.read()"
            )
            process = start_python(script, reservations, port, folder)
            running.callback(process.wait, 10)
            running.callback(process.stdin.close)  # type: ignore[union-attr]
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"

        yield reserve_there


def start_python(script: str, *arguments: object, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_port_asked_for_is_chosen(monkeypatch: pytest.MonkeyPatch, free: int, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_PORT", str(free))
    assert choose_port("KAFKA_PORT", [1, 2], stack=tmp_path) == free


def test_port_asked_for_that_is_taken_is_an_error(monkeypatch: pytest.MonkeyPatch, taken: int, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_PORT", str(taken))
    message = rf"^port {taken} \(KAFKA_PORT\) is taken by another program; choose another: make up KAFKA_PORT=\.\.\.$"
    with pytest.raises(StackError, match=message):
        choose_port("KAFKA_PORT", [], stack=tmp_path)


@pytest.mark.parametrize("wanted", ["0", "65536", "-1", "http", "80.5"])
def test_value_that_is_no_port_is_an_error(monkeypatch: pytest.MonkeyPatch, wanted: str, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_PORT", wanted)
    with pytest.raises(StackError, match=f"^KAFKA_PORT={wanted} is not a port number$"):
        choose_port("KAFKA_PORT", [], stack=tmp_path)


def test_first_free_preferred_port_is_chosen(taken: int, free: int, tmp_path: Path) -> None:
    assert choose_port("KAFKA_PORT", [free], stack=tmp_path) == free
    assert choose_port("KAFKA_PORT", [taken, free], stack=tmp_path) == free


def test_any_free_port_is_chosen_if_preferred_ones_are_taken(taken: int, tmp_path: Path) -> None:
    port = choose_port("KAFKA_PORT", [taken], stack=tmp_path)
    assert port in ports.OTHER_PORTS
    with socket.create_server(("127.0.0.1", port)):
        """The port can be listened on."""


def test_no_free_port_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch, taken: int, tmp_path: Path) -> None:
    monkeypatch.setattr(ports, "OTHER_PORTS", range(taken, taken + 1))
    with pytest.raises(StackError, match=r"^no port between .* is free$"):
        choose_port("KAFKA_PORT", [taken], stack=tmp_path)


def test_service_keeps_its_port_or_gets_its_usual_one(
    monkeypatch: pytest.MonkeyPatch, taken: int, free: int, tmp_path: Path
) -> None:
    monkeypatch.setattr(state, "STACK", tmp_path)
    monkeypatch.setitem(PORTS, "KAFKA_PORT", free)
    made = State.create()
    made.choose_port("KAFKA_PORT")
    assert made.ports == {"KAFKA_PORT": free}
    made.ports = {"KAFKA_PORT": taken}
    made.choose_port("KAFKA_PORT")
    assert made.ports == {"KAFKA_PORT": free}
    monkeypatch.setitem(PORTS, "KAFKA_PORT", taken)
    made.choose_port("KAFKA_PORT")
    assert made.ports == {"KAFKA_PORT": free}


def test_reserved_port_is_refused_to_another_stack(
    free: int, tmp_path: Path, other_process: Callable[[int, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    other_process(free, tmp_path / "theirs")
    assert is_free(free)
    assert not reserve(free, "KAFKA_PORT", tmp_path / "ours")
    assert choose_port("KAFKA_PORT", [free], stack=tmp_path / "ours") != free
    monkeypatch.setenv("KAFKA_PORT", str(free))
    with pytest.raises(StackError, match="is taken by another program"):
        choose_port("KAFKA_PORT", [], stack=tmp_path / "ours")


def test_reserved_port_is_granted_to_another_command_of_the_stack(
    free: int, tmp_path: Path, other_process: Callable[[int, Path], None]
) -> None:
    other_process(free, tmp_path)
    assert choose_port("KAFKA_PORT", [free], stack=tmp_path) == free


def test_reserved_port_is_refused_to_another_service_of_the_stack(free: int, tmp_path: Path) -> None:
    assert choose_port("KAFKA_PORT", [free], stack=tmp_path) == free
    assert choose_port("KAFKA_PORT", [free], stack=tmp_path) == free
    assert choose_port("WEATHER_PORT", [free], stack=tmp_path) != free


def test_reservation_ends_with_its_process(free: int, tmp_path: Path, reservations: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from include.demo import ports;"
        " ports.RESERVATIONS = Path(sys.argv[1]);"
        " ports.reserve(int(sys.argv[2]), 'KAFKA_PORT', Path('/theirs')); os._exit(1)"
    )
    start_python(script, reservations, free).communicate()
    assert (reservations / str(free)).read_text() == "/theirs KAFKA_PORT"
    assert reserve(free, "KAFKA_PORT", tmp_path)
    release_all()
    assert not list(reservations.iterdir())


def test_stacks_created_at_the_same_time_share_no_port(reservations: Path, tmp_path: Path) -> None:
    first = 20_000
    stacks = [
        start_python(CREATE_STACK, reservations, first, first + 40, STACK_DIR=str(tmp_path / str(n))) for n in range(8)
    ]
    try:
        lines = [process.stdout.readline() for process in stacks if process.stdout]
    finally:
        for process in stacks:
            process.communicate()
    chosen = [int(port) for line in lines for port in line.split()]
    assert len(chosen) == 8 * len(PORTS)
    assert len(set(chosen)) == len(chosen)


#: A server as a stack starts it: the port is its last argument, and it ends if the port is taken.
SERVER = [
    sys.executable,
    "-c",
    "import socket, sys, time; server = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)",
]


@pytest.fixture
def new_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """The state of a stack in a folder of the test's own; its server ends with the test."""
    monkeypatch.setattr(state, "STACK", tmp_path / "stack")
    monkeypatch.setattr(processes, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(processes, "PIDS", tmp_path / "pids")
    yield State.create_beside()
    processes.stop("kafka", timeout=1)


def test_service_moves_if_its_port_is_taken_before_its_start(new_state: State) -> None:
    port = new_state.ports["KAFKA_PORT"]
    with socket.create_server(("127.0.0.1", port)):
        stack._start_server("kafka", "KAFKA_PORT", new_state, SERVER)
    moved = new_state.ports["KAFKA_PORT"]
    assert moved != port
    assert processes.listens("kafka", moved)
    assert State.load() == new_state


def test_service_on_a_port_asked_for_does_not_move(new_state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    port = new_state.ports["KAFKA_PORT"]
    monkeypatch.setenv("KAFKA_PORT", str(port))
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(StackError, match=rf"^kafka cannot use port {port}: another program listens on it\n"),
    ):
        stack._start_server("kafka", "KAFKA_PORT", new_state, SERVER)
    assert new_state.ports["KAFKA_PORT"] == port


def test_service_that_fails_for_another_reason_does_not_move(new_state: State) -> None:
    before = dict(new_state.ports)

    def start() -> None:
        raise StackError("the disk is full")

    with pytest.raises(StackError, match=r"^the disk is full$"):
        start_on_free_port("KAFKA_PORT", new_state, start, lambda: pytest.fail("stopped"))
    assert new_state.ports == before


def test_service_whose_every_port_is_taken_fails(new_state: State) -> None:
    with ExitStack() as others:

        def start() -> None:
            others.enter_context(socket.create_server(("127.0.0.1", new_state.ports["KAFKA_PORT"])))
            raise StackError("address already in use")

        with pytest.raises(StackError, match="address already in use"):
            start_on_free_port("KAFKA_PORT", new_state, start, lambda: None)
