"""Build what a change touches twice, as it was and as it is now, from the same rows, and compare the marts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from psycopg import Connection

from ecommerce.build.dbt_project import DBT_PROJECT, project_digest
from ecommerce.change_preview.base_commit import BaseCommit, branch_name
from ecommerce.change_preview.changed_models import built_nodes, changed_nodes, marts_of, with_followers, with_origins
from ecommerce.change_preview.giving_way import giving_way
from ecommerce.change_preview.mart_differences import MartDifference, compare_mart
from ecommerce.change_preview.parsed_project import ParsedProject, parse
from ecommerce.change_preview.preview_schemas import PreviewSchemas, preview_name, preview_schemas
from ecommerce.common.errors import PreviewError


@dataclass(frozen=True)
class ChangePreview:
    """
    What a change does to the marts.

    :param branch: the branch of the change; `base` is what it is compared with
    :param as_of_date: the models' "today"
    :param changed: names of the models that the change touches itself; `built`: these and what is made of them
    :param remarks: sentences about what the comparison does not cover
    """

    branch: str
    base: BaseCommit
    as_of_date: date | None
    changed: Sequence[str]
    built: Sequence[str]
    marts: Sequence[MartDifference]
    remarks: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class _Versions:
    """The dbt project as it is at the base, and as it is in the working tree."""

    before: ParsedProject
    after: ParsedProject

    @classmethod
    def of(cls, base: BaseCommit) -> _Versions:
        """Parse both. What was parsed stays in dbt's own folder, which git ignores, for the next preview."""
        target = base.dbt_project / "target"
        kept, change = target / "preview", target / "preview" / "change"
        at_base = kept / base.tree
        at_base.mkdir(parents=True, exist_ok=True)
        for other in {*kept.iterdir()} - {at_base, change}:
            shutil.rmtree(other)
        before = parse(base.extract_project(at_base), at_base, like=change, of_stack=target)
        return cls(before, parse(base.dbt_project, change, like=at_base))

    @property
    def marts(self) -> dict[str, str]:
        """The marts of both: id → name."""
        return marts_of(self.before.manifest) | marts_of(self.after.manifest)

    def changed(self) -> set[str]:
        """The ids of models and seeds that the change adds, changes or removes."""
        old, new = self.before.variables, self.after.variables
        changed_vars = {name for name in old | new if old.get(name) != new.get(name)}
        removed = built_nodes(self.before.manifest).keys() - self.after.manifest.nodes.keys()
        return changed_nodes(self.before.manifest, self.after.manifest, changed_vars) | removed

    def with_followers(self, keys: Collection[str]) -> set[str]:
        """These and all that are made of them, in either version."""
        return with_followers(self.before.manifest, keys) | with_followers(self.after.manifest, keys)

    def with_origins(self, marts: Collection[str]) -> set[str]:
        """
        These marts and all that they are made of, in either version.

        :raises PreviewError: one of the names is no mart
        """
        if unknown := set(marts) - set(self.marts.values()):
            raise PreviewError(f"no mart: {', '.join(sorted(unknown))}")
        keys = [key for key, name in self.marts.items() if name in marts]
        return with_origins(self.before.manifest, keys) | with_origins(self.after.manifest, keys)

    def names(self, keys: Collection[str]) -> list[str]:
        """The names of models, sorted."""
        nodes = {**self.before.manifest.nodes, **self.after.manifest.nodes}
        return sorted(nodes[key].name for key in keys)


def preview(
    connection: Connection,
    base_branch: str,
    *,
    marts: Collection[str] = (),
    name: str | None = None,
    dbt_project: Path = DBT_PROJECT,
) -> ChangePreview:
    """
    Preview the working tree's dbt project on the warehouse of a connection.

    Both versions read the models that the change does not touch from the warehouse, and raw as it is now. Incremental
    models are built whole. What is built is dropped at the end.

    :param connection: of the role `previewer`, with autocommit; dbt connects as it by the `WAREHOUSE_*` variables
    :param base_branch: the branch that the change is to be merged into
    :param marts: build and compare only these, with what they are made of; none: all
    :param name: of the preview; None: the branch's
    :param dbt_project: the project's folder in the working tree
    :raises PreviewError: nothing can be compared; the message says why
    """
    started = time.monotonic()
    base, branch = BaseCommit.of(base_branch, dbt_project), branch_name(dbt_project)
    versions = _Versions.of(base)
    changed = versions.changed()
    built = versions.with_followers(changed)
    if marts:
        built &= versions.with_origins(marts)
    compared = sorted(versions.marts[key] for key in built & versions.marts.keys())
    with preview_schemas(connection, preview_name(name or branch)) as schemas:
        remarks = _remarks_on_base(connection, base, versions.before) + _remarks_on_leftovers(schemas)
        # By the server's clock, as in the tables that are asked.
        ((built_from, as_of_date),) = connection.execute(
            "select clock_timestamp(), as_of_date from ops.as_of"
        ).fetchall()
        with giving_way(connection):
            for project, prefix in ((versions.before, schemas.before), (versions.after, schemas.after)):
                project.place(built, prefix, connection.info.dbname)
                project.build(built)
        differences = [
            compare_mart(
                connection, mart, f"{schemas.before}marts_build", f"{schemas.after}marts_build", schemas.differences
            )
            for mart in compared
        ]
        remarks += _remarks_on_changes_since(connection, built_from)
    return ChangePreview(
        branch,
        base,
        as_of_date,
        versions.names(changed & built),
        versions.names(built),
        differences,
        remarks,
        time.monotonic() - started,
    )


def _remarks_on_base(connection: Connection, base: BaseCommit, before: ParsedProject) -> list[str]:
    remarks = []
    if files := base.unpreviewed_files():
        remarks.append(f"Not previewed, since the preview builds by the warehouse's own: {', '.join(files)}.")
    row = connection.execute(
        "select project_digest from ops.build where is_published order by claimed_at desc limit 1"
    ).fetchone()
    if row is None:
        raise PreviewError("nothing was published yet in this warehouse: there is nothing to compare with")
    if row[0] != project_digest(before.folder):
        remarks.append(
            f"The warehouse was last built by another version of the dbt project than {base.branch}: models that the "
            "change does not touch are as that version has built them."
        )
    if run := connection.execute("select run_id from ops.build where finished_at is null").fetchone():
        remarks.append(f"The run {run[0]} had not published yet: what it builds may be in one version only.")
    return remarks


def _remarks_on_leftovers(schemas: PreviewSchemas) -> list[str]:
    if not schemas.leftovers:
        return []
    return [f"Schemas of a preview that was killed were dropped: {', '.join(schemas.leftovers)}."]


def _remarks_on_changes_since(connection: Connection, moment: datetime) -> list[str]:
    """What was written while the two versions were built, so that only one of them has it."""
    rows = connection.execute(
        """
        select distinct 'raw.' || source from ops.load_batch
        where finished_at >= %(moment)s and status = 'loaded' and rows_loaded + rows_removed > 0
        union
        select distinct 'core and marts_build' from ops.rebuild where rebuilt_at >= %(moment)s
        order by 1
        """,
        {"moment": moment},
    ).fetchall()
    if not rows:
        return []
    changed = ", ".join(name for (name,) in rows)
    return [f"Rows of {changed} changed while the models were built; a difference may come from that. Try again."]
