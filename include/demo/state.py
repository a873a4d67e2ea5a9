"""Keep what must survive between two commands of a stack: ports, generated secrets, the shop's data. One JSON file."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import mkstemp
from urllib.parse import quote

from include.demo.ports import PORTS, choose_port, draw_free_port

ROOT = Path(__file__).parents[2]
#: Where the services find the project's code.
PYTHON_PATH = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
#: Where the stack keeps everything; another folder makes another, independent stack.
STACK = Path(os.environ.get("STACK_DIR") or ROOT / ".stack").resolve()

#: Roles of the warehouse; `include/sql/roles.sql` grants their rights.
WORKING_ROLES = ("loader", "transformer", "publisher")
WAREHOUSE_ROLES = (*WORKING_ROLES, "reader", "inspector", "reviewer", "previewer")

#: Passwords that are of no database role: of the admin of the Airflow UI, and of the workers' broker.
_PROGRAMS = ("admin", "valkey")


def _close_to_others(folder: Path) -> None:
    """Let nobody else into a folder of ours: Airflow writes logs and settings with passwords there."""
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o700)


def write_private_file(path: Path, text: str) -> None:
    """Write a file in one step, readable by its owner alone."""
    # A file of its own for each: services start side by side, and two commands may do so as well.
    handle, scratch = mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(scratch).replace(path)


@dataclass
class State:
    """The ports, secrets and progress of one stack."""

    ports: dict[str, int]
    #: role → password: the database roles, `admin` of the Airflow UI, and `valkey`, the broker of Celery workers
    passwords: dict[str, str]
    #: Airflow's own keys
    keys: dict[str, str]
    #: the data folder that the sources are filled from, its fingerprint, its sources, the profile that says where they
    #: lie (empty: the profile `default`), and how far the filling got
    shop: dict[str, str] = field(default_factory=dict)
    #: fingerprint and window of the last successful demo run
    demo: dict[str, str] = field(default_factory=dict)
    #: the version of Airflow that migrated the metadata database
    airflow_version: str = ""
    #: the profile with which Airflow was started last: its name or folder (empty: `default`), and what the demo wrote
    airflow_shop: str = ""
    airflow_profile: str = ""
    #: Celery workers that run the tasks; 0: the scheduler's own processes do (LocalExecutor)
    workers: int = 0

    @classmethod
    def load(cls) -> State | None:
        """Read the stack's state; None if there is no stack yet."""
        path = STACK / "state.json"
        if not path.exists():
            return None
        _close_to_others(STACK)
        state = cls(**json.loads(path.read_text()))
        # A stack of an earlier version knows fewer roles.
        state.passwords = {**cls.create().passwords, **state.passwords}
        return state

    @classmethod
    def create(cls) -> State:
        """Make the state of a new stack: new passwords and keys, no ports yet."""
        roles = ("postgres", "airflow", "warehouse", "shop", *WAREHOUSE_ROLES, *_PROGRAMS)
        return cls(
            ports={},
            passwords={role: secrets.token_urlsafe(16) for role in roles},
            keys={name: secrets.token_urlsafe(64) for name in ("jwt", "session")},
        )

    @classmethod
    def create_beside(cls) -> State:
        """Make and save the state of a stack that may run beside others: no service gets its usual port."""
        state = cls.create()
        for name in PORTS:
            state.ports[name] = choose_port(name, [], stack=STACK)
        state.save()
        return state

    def choose_port(self, name: str) -> None:
        """
        Choose the port of a service that is about to start: the one asked for, its last one, its usual one or another.

        :raises StackError: the user asked for a port that is taken
        """
        preferred = [*filter(None, [self.ports.get(name)]), PORTS[name]]
        self.ports[name] = choose_port(name, preferred, stack=STACK)

    def move_port(self, name: str) -> None:
        """Give a service another port, and save it."""
        self.ports[name] = draw_free_port(name, STACK)
        self.save()

    def save(self) -> None:
        """Write the file in one step, readable by its owner alone."""
        STACK.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close_to_others(STACK)
        write_private_file(STACK / "state.json", json.dumps(asdict(self), indent=2))

    def dsn(self, database: str = "warehouse", role: str | None = None) -> str:
        """Compose the libpq URI of one of the stack's databases, for its owner or another role."""
        role = role or database
        return f"postgresql://{role}:{self.passwords[role]}@127.0.0.1:{self.ports['POSTGRES_PORT']}/{database}"

    def dsn_by_file(self, database: str = "warehouse", role: str | None = None) -> str:
        """
        As `dsn`, for a command line, which others on this computer can see: the password is in a file of the stack.

        libpq reads the file, and so does every program that connects by libpq.
        """
        # Passwords are letters, digits, - and _: nothing to escape.
        roles = {name: password for name, password in self.passwords.items() if name not in _PROGRAMS}
        lines = (f"127.0.0.1:*:*:{name}:{password}\n" for name, password in roles.items())
        path = STACK / "pgpass"
        write_private_file(path, "".join(lines))
        role = role or database
        port = self.ports["POSTGRES_PORT"]
        return f"postgresql://{role}@127.0.0.1:{port}/{database}?passfile={quote(str(path), safe='/')}"

    @property
    def bootstrap(self) -> str:
        """The address of the Kafka broker, ``host:port``."""
        return f"127.0.0.1:{self.ports['KAFKA_PORT']}"

    @property
    def airflow_url(self) -> str:
        """The URL of Airflow's UI and API."""
        return f"http://localhost:{self.ports['AIRFLOW_PORT']}"
