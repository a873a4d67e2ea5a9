"""Applies `include/sql` and the shop's profile to the warehouse: the tables of `ops`, `raw` and `marts` that are no dbt
models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg import sql

from ecommerce.common.blanks import BLANKS_LITERAL
from ecommerce.common.errors import SourceError
from ecommerce.common.migrations import pending, read_migrations, record
from ecommerce.common.public_holidays import write_holidays
from ecommerce.common.shop import shop
from ecommerce.common.shown_text import ADDRESS_PART, HIDDEN
from ecommerce.common.sources import SOURCES

#: `roles.sql` is for an administrator; each of `_SCHEMAS` has a script, in the order in which they build on each other.
SQL_FOLDER = Path(__file__).parents[3] / "include" / "sql"
_SCHEMAS = ("ops", "raw", "marts")

#: What stands in a script for the shop's time zone, for its country, and for the characters that are white space.
_TIME_ZONE, _COUNTRY, _BLANKS = ":'time_zone'", ":'country'", ":'blanks'"
#: The same for the columns of each source, with whether they are personal, as JSON; for the pattern of an e-mail
#: address, and for what is shown in its place.
_COLUMNS, _E_MAIL, _HIDDEN = ":'columns'", ":'e_mail'", ":'hidden'"
#: A schema's comment: this, and the digest of the files that were applied last.
_APPLIED = "include/sql "


def ensure_schema(connection: psycopg.Connection, *, others: Callable[[], None] | None = None) -> None:
    """
    Bring the schemas that the role owns up to date, if files of `include/sql`, or the shop's time zone or country, have
    changed: first their migrations, then their scripts.

    Otherwise this is one cheap query. A schema that comes after an outdated one of another role waits for that. Each
    migration and each script is a transaction, so whoever is interrupted goes on where they were.

    :param others: called first if a schema of another role is outdated; the other roles bring up theirs
    :raises SourceError: an administrator has not created the schemas yet, or the warehouse is newer than this code (see
        `migrations.pending`)
    """
    country = shop().country
    scripts = _scripts(shop().time_zone, country)
    outdated = _outdated(connection, scripts)
    if others and not all(outdated.values()):
        others()
        outdated = _outdated(connection, scripts)
    while schema := _first_own(outdated):
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(hashtext('ecommerce.schema'))")
            # Another process may have done it meanwhile.
            if schema == _first_own(_outdated(connection, scripts)):
                _advance(connection, schema, *scripts[schema], country)
        outdated = _outdated(connection, scripts)


def _advance(connection: psycopg.Connection, schema: str, script: str, digest: str, country: str | None) -> None:
    """Apply the next migration of a schema, or if there is none, its script."""
    missing = pending(connection, schema, read_migrations(SQL_FOLDER / "migrations"))
    if missing and _has_tables(connection, schema):
        connection.execute(missing[0].script.encode())
        record(connection, missing[0])
        return
    connection.execute(script.encode())
    # A new schema has what they would change: its script makes tables in their present form.
    for migration in missing:
        record(connection, migration)
    if schema == "ops":
        write_holidays(connection, country)
    connection.execute(
        sql.SQL("comment on schema {} is {}").format(sql.Identifier(schema), sql.Literal(f"{_APPLIED}{digest}"))
    )


def _has_tables(connection: psycopg.Connection, schema: str) -> bool:
    query = "select exists (select from pg_class where relnamespace = to_regnamespace(%s) and relkind in ('r', 'v'))"
    return connection.execute(query, [schema]).fetchone() == (True,)


def _first_own(outdated: Mapping[str, bool]) -> str | None:
    """The first outdated schema, unless it belongs to another role."""
    schema, is_own = next(iter(outdated.items()), (None, False))
    return schema if is_own else None


def _outdated(connection: psycopg.Connection, scripts: Mapping[str, tuple[str, str]]) -> dict[str, bool]:
    """The schemas whose comment names another digest than that of the files → whether they are the role's own."""
    existing = {
        schema: (is_own, comment)
        for schema, is_own, comment in connection.execute(
            """
            select
                nspname,
                nspowner = current_user::regrole,
                obj_description(oid, 'pg_namespace')
            from pg_namespace
            where nspname = any(%s)
            """,
            [list(_SCHEMAS)],
        )
    }
    if missing := [schema for schema in _SCHEMAS if schema not in existing]:
        raise SourceError(
            f"the warehouse has no schema {', '.join(missing)}; an administrator of the server has to run "
            "include/sql/roles.sql in its database, see docs/roles.md"
        )
    return {
        schema: is_own
        for schema, (is_own, comment) in ((name, existing[name]) for name in _SCHEMAS)
        if (comment or "") != f"{_APPLIED}{scripts[schema][1]}"
    }


@lru_cache(maxsize=4)
def _scripts(time_zone: str, country: str | None) -> dict[str, tuple[str, str]]:
    """Each schema → its script, and the digest of the script, of its migrations and of what the profile says for it."""
    literals = {
        _TIME_ZONE: sql.Literal(time_zone).as_string(),
        _COUNTRY: sql.Literal(country).as_string(),
        _BLANKS: BLANKS_LITERAL,
        _COLUMNS: sql.Literal(
            json.dumps({s.name: {column.name: column.is_personal for column in s.columns} for s in SOURCES.values()})
        ).as_string(),
        _E_MAIL: sql.Literal(f"{ADDRESS_PART}@+{ADDRESS_PART}").as_string(),
        _HIDDEN: sql.Literal(HIDDEN).as_string(),
    }
    # Another version of the package may know other holidays.
    holidays = f"{country} {version('holidays')}" if country else ""
    scripts = {schema: (SQL_FOLDER / f"{schema}.sql").read_text() for schema in _SCHEMAS}
    for place, literal in literals.items():
        scripts = {schema: script.replace(place, literal) for schema, script in scripts.items()}
    migrations = read_migrations(SQL_FOLDER / "migrations").values()
    parts = {
        schema: [time_zone, holidays, script, *(each.digest for each in migrations if each.schema == schema)]
        for schema, script in scripts.items()
    }
    return {
        schema: (script, hashlib.sha256("\0".join(parts[schema]).encode()).hexdigest())
        for schema, script in scripts.items()
    }
