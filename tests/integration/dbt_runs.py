"""Runs dbt in the process of the tests: it parses the project once, then a command takes under a second."""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dbt.artifacts.schemas.results import NodeStatus
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from ecommerce.build.dbt_project import DBT_PROJECT


@dataclass(frozen=True)
class Model:
    """A table of the dbt project."""

    name: str
    schema: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class Dbt:
    """The parsed project on one warehouse."""

    def __init__(self, manifest: Manifest, options: list[str]) -> None:
        self._manifest = manifest
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
        build = ("build", "--resource-type", "model", "--resource-type", "seed")
        failed = {node: result for node, result in self._invoke(*build, *arguments).items() if result != "success"}
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
        runner = dbtRunner(manifest=self._manifest)
        # In a thread, since dbt inspects the whole call stack with its source files, and pytest's stack is deep.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(
                runner.invoke, ["--quiet", "--no-write-json", *arguments, "--log-level-file", "none", *self._options]
            ).result()


@contextmanager
def dbt_on(dsn: str, folder: Path, variables: Mapping[str, int] | None = None) -> Iterator[Dbt]:
    """The project on the warehouse of ``dsn``, with some of its vars changed; dbt writes its files to ``folder``."""
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "DBNAME": "dbname"}
    options = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target-path", str(folder)]
    options += ["--log-path", str(folder), "--vars", json.dumps(variables or {})]
    with pytest.MonkeyPatch.context() as patch:
        for variable, part in names.items():
            patch.setitem(os.environ, f"WAREHOUSE_{variable}", str(parts[part]))
        parsed = dbtRunner().invoke(["--quiet", "parse", *options])
        assert isinstance(parsed.result, Manifest), parsed.exception
        yield Dbt(parsed.result, options)
