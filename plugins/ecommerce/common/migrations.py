"""Numbered changes of existing tables (`include/sql/migrations`): which there are, and which a warehouse has."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psycopg

from ecommerce.common.errors import SourceError

#: `0004_raw_add_column.sql`: the number, and the schema whose owner applies it.
_FILE = re.compile(r"(?P<number>\d{4})_(?P<schema>ops|raw|marts)_[a-z0-9_]+\.sql")


@dataclass(frozen=True)
class Migration:
    """A file that brings tables of a schema from their former to their present form, once."""

    number: int
    name: str
    schema: str
    script: str

    @property
    def digest(self) -> str:
        """Of the file: one that was applied is never changed again."""
        return hashlib.sha256(self.script.encode()).hexdigest()


@lru_cache(maxsize=4)
def read_migrations(folder: Path) -> dict[int, Migration]:
    """
    The files of a folder, by number.

    :raises ValueError: a name has another form, or two files have one number
    """
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name}: a migration is called <four digits>_<ops, raw or marts>_<what>.sql")
        number = int(match["number"])
        if number in found:
            raise ValueError(f"{path.name} has the number of {found[number].name}")
        found[number] = Migration(number, path.stem, match["schema"], path.read_text())
    return found


def pending(connection: psycopg.Connection, schema: str, migrations: Mapping[int, Migration]) -> list[Migration]:
    """
    The migrations that a schema lacks, in the order of their numbers.

    :raises SourceError: the warehouse is newer than this code, a file was changed after it was applied, or one that was
        not has a lower number than one that was
    """
    done = applied(connection)
    for number, (name, digest) in sorted(done.items()):
        migration = migrations.get(number)
        if migration is None:
            raise SourceError(
                f"the warehouse is newer than this code: it has the migration {name}, which is not in "
                "include/sql/migrations. Use the code that applied it, or a later one; see docs/migration.md"
            )
        if migration.digest != digest:
            raise SourceError(
                f"the migration {name} was applied to the warehouse with another content than that of "
                f"include/sql/migrations/{migration.name}.sql. Restore the file, and put the change into a new one; "
                "see docs/migration.md"
            )
    own = [migration for number, migration in sorted(migrations.items()) if migration.schema == schema]
    missing = [migration for migration in own if migration.number not in done]
    last = max((migration.number for migration in own if migration.number in done), default=0)
    if missing and missing[0].number < last:
        raise SourceError(
            f"the migration {missing[0].name} was not applied, but {done[last][0]} was, which comes after it: "
            "give it a number after all others; see docs/migration.md"
        )
    return missing


def record(connection: psycopg.Connection, migration: Migration) -> None:
    """Note in `ops.migration` that the warehouse has a migration."""
    connection.execute(
        "insert into ops.migration (number, name, digest) values (%s, %s, %s)",
        [migration.number, migration.name, migration.digest],
    )


def applied(connection: psycopg.Connection) -> dict[int, tuple[str, str]]:
    """Number → name and digest. Empty in a warehouse from before there were numbers."""
    (table,) = connection.execute("select to_regclass('ops.migration')").fetchone() or (None,)
    if table is None:
        return {}
    rows = connection.execute("select number, name, digest from ops.migration")
    return {number: (name, digest) for number, name, digest in rows}
