"""
Runs dbt in the process of the tests: the project is parsed once for all modules, then a command takes under a second.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dbt.artifacts.schemas.results import NodeStatus
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from ecommerce.build.dbt_project import DBT_PROJECT
from tests.environment import KEPT


@dataclass(frozen=True)
class Model:
    """A table of the dbt project."""

    name: str
    schema: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class ParsedProject:
    """
    The dbt project as dbt has parsed it.

    :param warnings: what dbt warned of, such as arguments that a macro does not take
    :param folder: where dbt has written `partial_parse.msgpack`
    """

    manifest: Manifest
    warnings: list[str]
    folder: Path

    def write_manifest(self, path: Path) -> None:
        """Write the file that dbt writes."""
        self.manifest.writable_manifest().write(str(path))


def parsed_project(variables: Mapping[str, int] | None = None) -> ParsedProject:
    """Parse the project with some of its vars changed, once a process: of a kept one dbt reads what has changed."""
    return _parse_once(json.dumps(variables or {}))


@cache
def _parse_once(variables: str) -> ParsedProject:
    return _parse(DBT_PROJECT, variables)


def _parse(project: Path, variables: str) -> ParsedProject:
    warnings: list[str] = []

    def note(event: Any) -> None:
        if event.info.level == "warn":
            warnings.append(event.info.msg)

    folder = tempfile.mkdtemp(prefix="dbt-", dir=os.environ["ECOMMERCE_TESTS_FOLDER"])
    parsed_before = KEPT and KEPT / f"{hashlib.sha256(f'{project} {variables}'.encode()).hexdigest()}.msgpack"
    if parsed_before and parsed_before.exists():
        shutil.copy(parsed_before, Path(folder) / "partial_parse.msgpack")
    options = [*_folders(project, folder), "--vars", variables]
    parsed = dbtRunner(callbacks=[note]).invoke(["--quiet", "parse", *options])
    assert isinstance(parsed.result, Manifest), parsed.exception
    if parsed_before:
        shutil.copy(Path(folder) / "partial_parse.msgpack", parsed_before)
    return ParsedProject(parsed.result, warnings, Path(folder))


class Dbt:
    """The parsed project on one warehouse."""

    def __init__(self, project: ParsedProject, database: str, options: list[str]) -> None:
        self.project = project
        self._manifest = project.manifest
        self._database = database
        self._options = options

    @property
    def tables(self) -> list[Model]:
        """All models that are tables, incremental ones included."""
        return [
            Model(node.alias, node.schema)
            for node in self._manifest.nodes.values()
            if node.resource_type == "model" and node.config.materialized != "view"
        ]

    def run(self, *arguments: str) -> None:
        """Build models and seeds, without tests; fails the test if one fails."""
        self.build("--resource-type", "model", "--resource-type", "seed", *arguments)

    def build(self, *arguments: str) -> None:
        """`dbt build`; fails the test if a model, a seed or a test fails."""
        results = self._invoke("build", *arguments)
        failed = {node: result for node, result in results.items() if result not in ("success", "pass")}
        assert not failed, failed

    def test(self, *arguments: str) -> dict[str, str]:
        """`dbt test`; status by name of the test."""
        return self._invoke("test", *arguments)

    def errors(self, *arguments: str) -> list[str]:
        """`dbt test`; the messages of tests that could not run."""
        outcome = self._outcome("test", *arguments)
        assert outcome.exception is None, outcome.exception
        results: Any = outcome.result
        return [result.message for result in results if result.status == NodeStatus.Error]

    def errors_of_build(self, *names: str) -> list[str]:
        """The messages of the models and seeds, of these, that could not be built."""
        outcome = self._outcome("build", "--resource-type", "model", "--resource-type", "seed", "--select", *names)
        results: Any = outcome.result
        return [result.message for result in results if result.status == NodeStatus.Error]

    def compiled(self, *names: str) -> dict[str, str]:
        """The compiled SQL of models and tests, by name."""
        outcome = self._outcome("compile", "--full-refresh", "--select", *names)
        assert outcome.success, outcome.exception
        return {result.node.name: result.node.compiled_code for result in outcome.result}  # type: ignore[union-attr]

    def _invoke(self, *arguments: str) -> dict[str, str]:
        outcome = self._outcome(*arguments)
        assert outcome.exception is None, outcome.exception
        results: Any = outcome.result
        errors = [result.message for result in results if result.status == NodeStatus.Error]
        assert not errors, "\n".join(errors)
        # Hooks have results, too.
        return {result.node.name: str(result.status) for result in results if result.node.resource_type != "operation"}

    def _outcome(self, *arguments: str) -> dbtRunnerResult:
        _name_database(self._manifest, self._database)
        runner = dbtRunner(manifest=self._manifest)
        # In a thread, since dbt inspects the whole call stack with its source files, and pytest's stack is deep.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(
                runner.invoke, ["--quiet", "--no-write-json", *arguments, "--log-level-file", "none", *self._options]
            ).result()


@contextmanager
def dbt_on(
    dsn: str, folder: Path, variables: Mapping[str, int] | None = None, *, project: Path = DBT_PROJECT
) -> Iterator[Dbt]:
    """
    The project on the warehouse of ``dsn``, with some of its vars changed; dbt writes its files to ``folder``.

    :param project: a changed copy of the project, which is parsed each time
    """
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "DBNAME": "dbname"}
    options = [*_folders(project, folder), "--vars", json.dumps(variables or {})]
    parsed = parsed_project(variables) if project == DBT_PROJECT else _parse(project, json.dumps(variables or {}))
    with pytest.MonkeyPatch.context() as patch:
        for variable, part in names.items():
            patch.setitem(os.environ, f"WAREHOUSE_{variable}", str(parts[part]))
        yield Dbt(parsed, str(parts["dbname"]), options)


def _folders(project: Path, target: Path | str) -> list[str]:
    """dbt's options for the folders that it reads and writes."""
    return [
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--target-path", str(target), "--log-path", str(target)),
    ]


def _name_database(manifest: Manifest, name: str) -> None:
    """Let all relations of the project be in this database: of a warehouse, nothing else is in what dbt has parsed."""
    for node in (*manifest.nodes.values(), *manifest.sources.values()):
        if relation := getattr(node, "relation_name", None):
            node.relation_name = relation.replace(f'"{node.database}"', f'"{name}"', 1)
        node.database = name
