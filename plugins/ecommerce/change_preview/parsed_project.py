"""A version of the dbt project: parsed once, and built into schemas of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
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
#: without: then it is good for all warehouses, and `place` enters the name of the database.
_ADDRESS = ("WAREHOUSE_HOST", "WAREHOUSE_PORT", "WAREHOUSE_USER", "WAREHOUSE_DBNAME")


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


def parse(folder: Path, target: Path, *, like: Sequence[Path] = ()) -> ParsedProject:
    """
    Parse a project; only the files that have changed since the last time.

    :param target: a folder for what dbt writes, with what it has parsed the last time
    :param like: other folders that may have a parsed version of the project, from which to begin the first time
    :raises PreviewError: dbt cannot parse it
    """
    target.mkdir(parents=True, exist_ok=True)
    if not (target / PARSED).exists():
        for parsed in [path / PARSED for path in like if (path / PARSED).exists()][:1]:
            shutil.copyfile(parsed, target / PARSED)
    with _without(*_ADDRESS):
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


@contextmanager
def _without(*variables: str) -> Iterator[None]:
    """The environment without some variables."""
    values = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(values)
