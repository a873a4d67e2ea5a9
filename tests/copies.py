"""Databases that are made once and then copied: Postgres copies one in a fraction of the time that making takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from include.demo import database
from include.demo.state import State

#: What the names of databases with contents begin with.
_TEMPLATE = "template of "


class Copies:
    """
    Contents of databases, by name: the first who asks for one has it made, all others get a copy of it.

    Where several modules begin with the same rows, the fixture that makes them takes this one (`copies`):

        copies.fill(name_of_database, "the shop of the pages", lambda: load_build_and_publish(dsn))
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @contextmanager
    def administrator(self) -> Iterator[psycopg.Connection]:
        """A session of the server's superuser, in none of the tests' databases."""
        with psycopg.connect(self._state.dsn("postgres"), autocommit=True) as connection:
            yield connection

    def fill(self, name: str, contents: str, make: Callable[[], object]) -> None:
        """
        Give a database these contents: made in it the first time, then copied. All its sessions are ended.

        :param make: makes them, and leaves nothing elsewhere that a test needs
        """
        template = f"{_TEMPLATE}{contents}"
        if self._is_there(template):
            self._copy(template, name)
            # A copy has neither the rights on the database nor the settings of roles in it; and the shop that is chosen
            # now may have another time zone.
            database.make_tables(self._state.dsn(name, "postgres"))
        else:
            make()
            self._copy(name, template)
            with self.administrator() as connection:
                # Nobody connects to it: Postgres copies no database that is in use.
                connection.execute(
                    sql.SQL("alter database {} allow_connections false").format(sql.Identifier(template))
                )

    def _is_there(self, name: str) -> bool:
        with self.administrator() as connection:
            return bool(connection.execute("select from pg_database where datname = %s", [name]).rowcount)

    def drop_all_others(self) -> None:
        """Drop the databases that tests have left, so that only the contents are there."""
        with self.administrator() as connection:
            left = connection.execute("select datname from pg_database where datname <> 'postgres'").fetchall()
            for (name,) in left:
                if not name.startswith("template"):
                    connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def _copy(self, source: str, target: str) -> None:
        """Copy a database with its owner; the copy takes the place of a database of that name."""
        with self.administrator() as connection:
            ((owner,),) = connection.execute(
                "select pg_get_userbyid(datdba) from pg_database where datname = %s", [source]
            ).fetchall()
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [source]
            )
            names = {"source": source, "target": target, "owner": owner}
            for statement in (
                "drop database if exists {target} with (force)",
                "create database {target} template {source} owner {owner}",
            ):
                connection.execute(
                    sql.SQL(statement).format(**{name: sql.Identifier(value) for name, value in names.items()})
                )
