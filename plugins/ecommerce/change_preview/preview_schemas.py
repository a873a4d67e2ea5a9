"""The schemas in which a preview builds: one set for the models as they were, and one as they are now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from psycopg import Connection, sql

from ecommerce.common.errors import PreviewError

#: What the names of all preview schemas begin with, and the session of each preview.
_PREFIX = "preview_"
_LONGEST_NAME = 24


@dataclass(frozen=True)
class PreviewSchemas:
    """
    The schemas of one preview.

    :param name: of the preview, unique among those that run at the same time
    :param leftovers: schemas of earlier previews that were killed; they are dropped
    """

    name: str
    leftovers: list[str] = field(default_factory=list)

    @property
    def before(self) -> str:
        """What is put before the name of a schema for the models as they are at the base."""
        return f"{_PREFIX}{self.name}_before_"

    @property
    def after(self) -> str:
        """What is put before the name of a schema for the models of the working tree."""
        return f"{_PREFIX}{self.name}_after_"

    @property
    def differences(self) -> str:
        """The schema of the rows that differ."""
        return f"{_PREFIX}{self.name}_differences"


def preview_name(branch: str) -> str:
    """The name of a branch's preview, as a part of names in Postgres."""
    return re.sub(r"[^a-z0-9]+", "_", branch.lower()).strip("_")[:_LONGEST_NAME].strip("_") or "change"


@contextmanager
def preview_schemas(connection: Connection, name: str) -> Iterator[PreviewSchemas]:
    """
    Drop what killed previews have left, and at the end what this one has made.

    :param connection: of the role `previewer`, which owns all these schemas and no others
    :raises PreviewError: a preview of this name is running
    """
    running = _running(connection)
    if name in running:
        raise PreviewError(f"a preview of {name} is running already; wait for its end, or give this one another NAME")
    leftovers = [
        schema
        for schema in _own_schemas(connection)
        if not any(schema.startswith(f"{_PREFIX}{other}_") for other in running)
    ]
    connection.execute("select set_config('application_name', %s, false)", [f"{_PREFIX}{name}"])
    _drop(connection, leftovers)
    schemas = PreviewSchemas(name, leftovers)
    try:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schemas.differences)))
        yield schemas
    finally:
        made = (schemas.before, schemas.after, schemas.differences)
        _drop(connection, [schema for schema in _own_schemas(connection) if schema.startswith(made)])


def _running(connection: Connection) -> set[str]:
    """The names of the previews that are running: each has a session of its name."""
    rows = connection.execute(
        """
        select application_name
        from pg_stat_activity
        where
            datname = current_database()
            and usename = current_user
            and pid <> pg_backend_pid()
            and starts_with(application_name, %s)
        """,
        [_PREFIX],
    )
    return {name.removeprefix(_PREFIX) for (name,) in rows}


def _own_schemas(connection: Connection) -> list[str]:
    rows = connection.execute(
        """
        select nspname
        from pg_namespace
        where nspowner = current_user::regrole and starts_with(nspname, %s)
        order by nspname
        """,
        [_PREFIX],
    )
    return [name for (name,) in rows]


def _drop(connection: Connection, schemas: list[str]) -> None:
    # One after the other: all their tables at once may be more locks than a transaction can have.
    for schema in schemas:
        connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
