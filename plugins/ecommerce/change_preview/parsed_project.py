"""A version of the dbt project: parsed once, and built into schemas of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dbt_triggerer import PARSED, without_rows
from ecommerce.build.dbt_project import DBT_PROFILE, DBT_PROJECT, DBT_TARGET
from ecommerce.common.errors import PreviewError

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

#: The target of `profiles.yml` by which models are built for a preview; macros ask for its name.
_TARGET = "preview"
#: Where the warehouse is, as `profiles.yml` reads it. What dbt has parsed is good for one address only, so it parses
#: without: then it is good for all warehouses, and `place` enters the name of the database. Only where a preview begins
#: with what the stack has parsed, it parses with the stack's address, which is kept beside: with another one dbt would
#: parse all files again.
_ADDRESS = ("WAREHOUSE_HOST", "WAREHOUSE_PORT", "WAREHOUSE_USER", "WAREHOUSE_DBNAME")
_KEPT_ADDRESS = "address.json"


@dataclass(frozen=True)
class ParsedProject:
    """
    A dbt project as dbt has parsed it.

    :param folder: where its files are
    :param target: where dbt writes to
    """

    folder: Path
    target: Path
    manifest: Manifest

    @property
    def variables(self) -> dict[str, Any]:
        """The vars of `dbt_project.yml`."""
        return yaml.safe_load((self.folder / "dbt_project.yml").read_text()).get("vars") or {}

    def place(self, keys: Collection[str], prefix: str, database: str) -> None:
        """
        Let these models be built in schemas of their own; all others are read where the warehouse has them.

        :param keys: ids; those that are not of this version count for nothing
        :param prefix: what is put before the names of their schemas
        :param database: the warehouse's
        """
        for node in self._nodes(keys):
            node.schema = f"{prefix}{node.schema}"
        for table in (*self.manifest.nodes.values(), *self.manifest.sources.values()):
            table.database = database
            if getattr(table, "relation_name", None):
                table.relation_name = f'"{database}"."{table.schema}"."{table.identifier}"'

    def build(self, keys: Collection[str]) -> None:
        """
        Build these models and seeds from all rows, without tests.

        :raises PreviewError: at least one of them cannot be built
        """
        names = sorted(node.name for node in self._nodes(keys))
        if not names:
            return
        options = ["--resource-type", "model", "--resource-type", "seed", "--select", *names]
        outcome = _invoke(["build", *options], self.folder, self.target, _TARGET, manifest=self.manifest)
        failed = [
            f"{result.node.name}: {without_rows(str(result.message))}"
            for result in outcome.result or ()
            if str(result.status) not in ("success", "skipped")
        ]
        if failed or outcome.exception:
            raise PreviewError(f"dbt cannot build {'; '.join(failed) or outcome.exception}")

    def _nodes(self, keys: Collection[str]) -> list[Any]:
        return [self.manifest.nodes[key] for key in keys if key in self.manifest.nodes]


def parse(folder: Path, target: Path, *, like: Path, of_stack: Path | None = None) -> ParsedProject:
    """
    Parse a project; only the files that have changed since the last time.

    :param target: a folder for what dbt writes, with what it has parsed the last time
    :param like: another such folder, which may have a parsed version of the project from which to begin the first time
    :param of_stack: the folder of dbt itself, which may have what the stack has parsed
    :raises PreviewError: dbt cannot parse it
    """
    target.mkdir(parents=True, exist_ok=True)
    if not (target / PARSED).exists():
        _begin_with_parsed(target, like, of_stack)
    kept = target / _KEPT_ADDRESS
    with _address(json.loads(kept.read_text()) if kept.exists() else {}):
        outcome = _invoke(["parse"], folder, target, DBT_TARGET)
    if outcome.exception or not outcome.result:
        raise PreviewError(f"dbt cannot parse {folder}: {outcome.exception}")
    manifest = outcome.result
    manifest.build_parent_and_child_maps()
    return ParsedProject(folder, target, manifest)


def _invoke(
    command: Sequence[str], folder: Path, target: Path, target_name: str, *, manifest: Manifest | None = None
) -> Any:
    """Run a dbt command in this process; what `dbtRunner` returns."""
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    options = [
        *("--project-dir", str(folder), "--profiles-dir", str(DBT_PROJECT)),
        *("--profile", DBT_PROFILE, "--target", target_name),
        *("--target-path", str(target), "--log-path", str(target)),
        *("--log-level", "none", "--log-level-file", "none", "--no-write-json"),
    ]
    reset_adapters()
    return dbtRunner(manifest=manifest).invoke([*command, *options])


def _begin_with_parsed(target: Path, like: Path, of_stack: Path | None) -> None:
    """Copy what was parsed before, and the address with which it was."""
    if (like / PARSED).exists():
        shutil.copyfile(like / PARSED, target / PARSED)
        if (like / _KEPT_ADDRESS).exists():
            shutil.copyfile(like / _KEPT_ADDRESS, target / _KEPT_ADDRESS)
    elif of_stack and (of_stack / PARSED).exists():
        shutil.copyfile(of_stack / PARSED, target / PARSED)
        # The stack has parsed as the role that builds, which is the default of `profiles.yml`.
        address = {name: os.environ[name] for name in _ADDRESS if name in os.environ and name != "WAREHOUSE_USER"}
        (target / _KEPT_ADDRESS).write_text(json.dumps(address))


@contextmanager
def _address(address: Mapping[str, str]) -> Iterator[None]:
    """Inside, the environment has this address of the warehouse, and no other part of one."""
    values = {name: os.environ.pop(name) for name in _ADDRESS if name in os.environ}
    os.environ.update(address)
    try:
        yield
    finally:
        for name in address:
            del os.environ[name]
        os.environ.update(values)
