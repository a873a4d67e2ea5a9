"""What a running stack remembers: ports, generated secrets, what its shop holds. One JSON file, mode 0600."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path

from include.demo.errors import StackError

ROOT = Path(__file__).parents[2]
#: Where the stack keeps everything; another folder makes another, independent stack.
STACK = Path(os.environ.get("STACK_DIR") or ROOT / ".stack").resolve()

#: Service → the port it prefers. Set the environment variable to insist on another.
PORTS = {"AIRFLOW_PORT": 8080, "POSTGRES_PORT": 5433, "KAFKA_PORT": 9092, "WEATHER_PORT": 8090}

#: Who may do what in the warehouse (`include/sql/roles.sql`).
WORKING_ROLES = ("loader", "transformer", "publisher")
WAREHOUSE_ROLES = (*WORKING_ROLES, "reader", "inspector")


@dataclass
class State:
    """Everything that must survive from one command to the next."""

    ports: dict[str, int]
    #: who → password: the database roles, and `admin` of the Airflow UI
    passwords: dict[str, str]
    #: Airflow's own keys
    keys: dict[str, str]
    #: fingerprint of the data folder that the shop was filled with, and the folder
    shop: dict[str, str] = field(default_factory=dict)
    #: fingerprint and window of the demo run that ended well
    demo: dict[str, str] = field(default_factory=dict)
    #: the version of Airflow whose metadata database this is
    airflow_version: str = ""

    @classmethod
    def load(cls) -> State | None:
        """The stack's state, or None where there is no stack yet."""
        path = STACK / "state.json"
        if not path.exists():
            return None
        state = cls(**json.loads(path.read_text()))
        # A stack of an earlier version knows fewer roles.
        state.passwords = {**cls.create().passwords, **state.passwords}
        return state

    @classmethod
    def create(cls) -> State:
        """A new stack: fresh passwords and keys, no ports yet."""
        roles = ("postgres", "airflow", "warehouse", "shop", *WAREHOUSE_ROLES, "admin")
        return cls(
            ports={},
            passwords={role: secrets.token_urlsafe(16) for role in roles},
            keys={name: secrets.token_urlsafe(64) for name in ("jwt", "session")},
        )

    @classmethod
    def create_beside(cls) -> State:
        """A new stack beside whatever else runs, with any free port for each service, and saved."""
        state = cls.create()
        for name in PORTS:
            # Others may start at this moment too, so not the usual port or the next one; and none that the system may
            # give to a connection before the service is there.
            state.ports[name] = choose_port(name, 10_000 + secrets.randbelow(22_000))
        state.save()
        return state

    def save(self) -> None:
        """Write the file in one step, readable by its owner alone."""
        STACK.mkdir(parents=True, exist_ok=True)
        path = STACK / "state.json"
        scratch = path.with_suffix(".new")
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(asdict(self), indent=2))
        scratch.replace(path)

    def dsn(self, database: str = "warehouse", role: str | None = None) -> str:
        """The libpq URI of one of the stack's databases, by its owner or another role."""
        role = role or database
        return f"postgresql://{role}:{self.passwords[role]}@127.0.0.1:{self.ports['POSTGRES_PORT']}/{database}"

    @property
    def bootstrap(self) -> str:
        """The broker's address."""
        return f"127.0.0.1:{self.ports['KAFKA_PORT']}"

    @property
    def airflow_url(self) -> str:
        """Airflow's UI and API."""
        return f"http://localhost:{self.ports['AIRFLOW_PORT']}"


def choose_port(name: str, current: int | None) -> int:
    """
    The port of a service that is about to start: the one that was asked for, the one it had, or a free one.

    :raises StackError: the port that was asked for is taken
    """
    wanted = os.environ.get(name)
    if wanted:
        if not wanted.isdigit() or not 0 < int(wanted) < 65536:
            raise StackError(f"{name}={wanted} is not a port number")
        if not _is_free(int(wanted)):
            raise StackError(f"port {wanted} ({name}) is taken by another program; choose another: make up {name}=...")
        return int(wanted)
    for port in (current, PORTS[name]):
        if port and _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
