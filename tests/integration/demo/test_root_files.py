"""What root writes where others may write: nobody else's folder is used, and no link is followed."""

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.demo import ports
from include.demo.errors import StackError
from include.demo.state import ROOT

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has a folder outside of the project's")
STRANGER = 12_345
#: Runs a statement about the Postgres of a stack of its own.
SCRIPT = """
import psycopg
from include.demo import database
from include.demo.state import State
state = State.load() or State.create_beside()
state.save()
{}
"""


class Stack:
    """A stack of its own, whose commands run as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: The folder of its server before names could not be guessed.
        self.former = Path("/var/tmp") / f"ecommerce-warehouse-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"

    def run(self, statements: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "STACK_DIR": str(self.folder), "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"}
        command = [sys.executable, "-c", SCRIPT.format(statements)]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    def do(self, statements: str) -> str:
        done = self.run(statements)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def home(self) -> Path:
        return Path(self.do("print(database._home())"))


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    stack = Stack(Path(tempfile.mkdtemp(prefix="stack-")).resolve())
    yield stack
    stack.run("database.stop(); database.remove()")
    shutil.rmtree(stack.folder)
    shutil.rmtree(stack.former, ignore_errors=True)


@pytest.fixture
def victim(tmp_path: Path) -> Callable[[], tuple[str, int]]:
    """A file of root that an attacker wants to be written; what is in it, and whose it is."""
    path = tmp_path / "victim"
    path.write_text("root's own")
    path.chmod(0o600)
    return lambda: (path.read_text(), path.stat().st_uid)


@needs_root
@pytest.mark.slow
def test_folder_that_another_user_has_made_first_is_not_used(
    own_stack: Stack, victim: Callable[[], tuple[str, int]], tmp_path: Path
) -> None:
    own_stack.former.mkdir()
    (own_stack.former / "password").symlink_to(tmp_path / "victim")
    (own_stack.former / "incomplete").symlink_to(tmp_path / "made by root")
    (own_stack.former / "postgres.log").symlink_to(tmp_path / "victim")
    os.chown(own_stack.former, STRANGER, STRANGER)
    own_stack.do("database.start(state)")
    assert victim() == ("root's own", 0)
    assert not (tmp_path / "made by root").exists()
    home = own_stack.home
    assert home != own_stack.former
    assert (home.stat().st_uid, oct(home.stat().st_mode & 0o777)) == (0, "0o711")
    data = (home / "data").stat()
    assert (data.st_uid, oct(data.st_mode & 0o777)) == (pwd.getpwnam("nobody").pw_uid, "0o700")
    others = {path.name for path in home.iterdir() if path.stat().st_uid != 0}
    assert others == {"data", "postgres.log"}


@needs_root
@pytest.mark.slow
def test_link_among_the_data_leads_root_nowhere(
    own_stack: Stack, victim: Callable[[], tuple[str, int]], tmp_path: Path
) -> None:
    """Another program that runs as `nobody` may write there."""
    own_stack.do("database.start(state); database.stop()")
    planted = own_stack.home / "data" / "stack.conf"
    planted.unlink()
    planted.symlink_to(tmp_path / "victim")
    os.lchown(planted, *pwd.getpwnam("nobody")[2:4])
    assert own_stack.run("database.start(state)").returncode != 0
    assert victim() == ("root's own", 0)


@needs_root
@pytest.mark.slow
def test_cluster_of_a_stack_of_before_is_taken_over(own_stack: Stack) -> None:
    """Its folder had a name that could be guessed, and was nobody's."""
    shop = 'psycopg.connect(state.dsn("shop"), autocommit=True)'
    own_stack.do(f'database.start(state); {shop}.execute("create table kept as select 7 as a"); database.stop()')
    home = own_stack.home
    home.rename(own_stack.former)
    os.chown(own_stack.former, *pwd.getpwnam("nobody")[2:4])
    (own_stack.folder / "postgres_home").unlink()
    assert own_stack.home == own_stack.former
    kept = own_stack.do(f'database.start(state); print({shop}.execute("select a from kept").fetchone())')
    assert kept == "(7,)"
    assert own_stack.home not in (home, own_stack.former)
    assert not own_stack.former.exists()


@pytest.mark.parametrize("made", ["a link", "a file", "another user's"])
def test_folder_of_reserved_ports_has_to_be_the_users_own(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ports"
    monkeypatch.setattr(ports, "RESERVATIONS", folder)
    if made == "a link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif made == "a file":
        folder.touch()
    else:
        folder.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    with pytest.raises(StackError, match="is no folder of this user"):
        ports.reserve(20_123, "POSTGRES_PORT", tmp_path)
    assert not list(tmp_path.glob("elsewhere/*"))
