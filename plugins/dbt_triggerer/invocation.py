"""Run one dbt command in this process and read its results from its events."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_triggerer.errors import BuildError
from dbt_triggerer.node_results import NodeResult

if TYPE_CHECKING:
    from cosmos import ProfileConfig

log = logging.getLogger(__name__)

#: The parsed project of dbt's last command; with it dbt parses only the files that have changed since.
PARSED = "partial_parse.msgpack"
_LONGEST_SQL = 20_000


def run_dbt(
    arguments: Sequence[str],
    *,
    project: Path,
    profile: ProfileConfig,
    on_result: Callable[[NodeResult], None] | None = None,
    artifacts: Path | None = None,
) -> list[NodeResult]:
    """
    Run a dbt command to its end; the results of its nodes, in the order in which they ended.

    A node that fails is a result, and no error of this function.

    :param arguments: dbt's command line without its program, e.g. ``["build", "--full-refresh"]``
    :param project: the folder of the dbt project
    :param profile: how dbt reaches the warehouse
    :param on_result: called for each node as it ends, from dbt's own threads
    :param artifacts: a folder for the files that dbt writes, as `manifest.json`; None: they are deleted
    :raises BuildError: dbt could not start or did not finish: no connection, a project that cannot be parsed
    """
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    results: list[NodeResult] = []

    def on_event(event: Any) -> None:
        if event.info.name == "NodeFinished":
            result = _result_of(event.data, compiled)
            results.append(result)
            if on_result:
                on_result(result)
        if event.info.level in ("info", "warn", "error") and event.info.msg:
            log.log(
                getattr(logging, event.info.level.upper().replace("WARN", "WARNING")),
                "%s",
                without_rows(event.info.msg),
            )

    with tempfile.TemporaryDirectory(prefix="dbt-") as folder, profile.ensure_profile() as (profiles, env):
        target = artifacts or Path(folder)
        compiled = _CompiledFiles(target / "compiled")
        cache = _parse_cache(project, profile.target_name)
        parsed = [file for file in (cache, project / "target" / PARSED) if file.exists()]
        if parsed:
            shutil.copyfile(max(parsed, key=lambda file: file.stat().st_mtime), target / PARSED)
        command = [
            *arguments,
            *("--project-dir", str(project), "--profiles-dir", str(profiles.parent)),
            *("--profile", profile.profile_name, "--target", profile.target_name),
            *("--target-path", str(target), "--log-path", folder),
            # The events go to `on_event`: dbt need not print them as well, nor write a manifest that nobody reads.
            *("--log-level", "none", "--log-level-file", "none", "--no-use-colors"),
            *(() if artifacts else ("--no-write-json",)),
        ]
        log.info("dbt %s", " ".join(arguments))
        # What a macro prints.
        with _environment(env), contextlib.redirect_stdout(io.StringIO()):
            outcome = dbtRunner(callbacks=[on_event]).invoke(command)
        if outcome.exception is not None:
            raise BuildError(f"dbt {arguments[0]} broke off: {outcome.exception}") from outcome.exception
        _store_parse(target / PARSED, cache)
    # The adapter's locks are semaphores of the machine. In a worker that was forked warm they would stay behind: the
    # process that releases them is the scheduler there, and does so when it ends.
    reset_adapters()
    gc.collect()
    return results


def without_rows(message: str) -> str:
    """A message of dbt without the row that breaks a constraint, of which Postgres quotes all values."""
    return re.sub(r"(Failing row contains )\(.*\)", r"\1(not shown)", message, flags=re.DOTALL)


class _CompiledFiles:
    """
    The files into which dbt compiles, by name: a node's event has the name of its file, and not its folder.

    :param folder: dbt's folder `compiled`, which need not exist yet
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}

    def read(self, name: str) -> str | None:
        """The beginning of a file; None if there is none of this name."""
        # Other files, such as those of seeds, are not compiled: to look for them again each time costs the build.
        if name not in self._files and name.endswith(".sql"):
            self._files |= {file: Path(folder, file) for folder, _, files in os.walk(self._folder) for file in files}
        file = self._files.get(name)
        return file.read_text(errors="replace").strip()[:_LONGEST_SQL] if file else None


def _result_of(finished: Any, compiled: _CompiledFiles) -> NodeResult:
    node, run = finished.node_info, finished.run_result
    # A view has no rows of its own, and the rows that a test returns are its failures.
    has_rows = node.materialized not in ("view", "test") and run.HasField("adapter_response")
    rows = run.adapter_response.fields.get("rows_affected") if has_rows else None
    return NodeResult(
        unique_id=node.unique_id,
        status=str(node.node_status or run.status),
        message=without_rows(run.message) or None,
        started_at=_in_utc(node.node_started_at),
        finished_at=_in_utc(node.node_finished_at),
        seconds=round(run.execution_time, 3),
        rows=int(rows.number_value) if rows is not None and rows.number_value >= 0 else None,
        failures=run.num_failures or None,
        sql=compiled.read(Path(node.node_path).name) if node.node_path else None,
    )


def _in_utc(moment: str) -> str | None:
    """A time with its zone: dbt writes UTC without one."""
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).isoformat() if moment else None


def _parse_cache(project: Path, target: str) -> Path:
    """The file of a project and a target, in a folder of this user alone: it contains SQL that will be run."""
    folder = Path(tempfile.gettempdir()) / f"dbt-triggerer-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    # Somebody else may have made a folder of this name first, or a link to one of ours.
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise BuildError(f"{folder}, the cache of dbt's parsed project, is no folder of this user; remove it")
    folder.chmod(0o700)
    key = hashlib.sha256(f"{project} {target}".encode()).hexdigest()
    return folder / f"{key[:16]}.msgpack"


def _store_parse(parsed: Path, cache: Path) -> None:
    if not parsed.exists() or (cache.exists() and parsed.read_bytes() == cache.read_bytes()):
        return
    # Renamed when it is complete, since another task may be reading.
    with tempfile.NamedTemporaryFile(dir=cache.parent, delete=False) as copy:
        copy.write(parsed.read_bytes())
    Path(copy.name).replace(cache)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
