"""
Writes what a person says of an order (`ops.review`) or of an incident (`ops.incident_note`): all that the pages write
into the warehouse.

By a role of its own, which may add such rows and nothing else. A row is never changed: whoever is of another opinion
adds one, and the last one counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection

from shop_pages import limits
from shop_pages.pool import WarehouseUnavailable, connection_arguments, connection_problem, statement_problem


@dataclass(frozen=True)
class Review:
    """
    What a person says of an order.

    :param status: `fine`, `watch` or `problem`
    :param rules: names of the rules that the order breaks
    :param reviewed_by: the user's name in Airflow
    """

    order_id: str
    status: str
    note: str
    rules: Sequence[str]
    reviewed_by: str


@dataclass(frozen=True)
class IncidentNote:
    """
    What a person says of an incident.

    :param incident: its text in `ops.alert`
    :param owner: who looks after it; None for nobody
    :param silent_until: until when no alert of it is sent; None: alerts are sent
    :param noted_by: the user's name in Airflow
    """

    incident: str
    owner: str | None
    silent_until: datetime | None
    note: str
    noted_by: str


async def add_review(review: Review, conn_id: str = limits.REVIEWER) -> None:
    """
    Add a review; its number and its time are the database's.

    :raises WarehouseUnavailable: it was not written
    """
    await _add(
        """
        insert into ops.review (order_id, status, note, rules, reviewed_by)
        values (%(order_id)s, %(status)s, %(note)s, %(rules)s, %(reviewed_by)s)
        """,
        {**vars(review), "rules": list(review.rules)},
        conn_id,
    )


async def add_incident_note(note: IncidentNote, conn_id: str = limits.REVIEWER) -> None:
    """
    Add what is said of an incident; its number and its time are the database's.

    :raises WarehouseUnavailable: it was not written
    """
    await _add(
        """
        insert into ops.incident_note (incident, owner, silent_until, note, noted_by)
        values (%(incident)s, %(owner)s, %(silent_until)s, %(note)s, %(noted_by)s)
        """,
        vars(note),
        conn_id,
    )


async def _add(statement: str, values: dict[str, Any], conn_id: str) -> None:
    # In a thread: the secrets backend may ask the network.
    arguments = await asyncio.to_thread(connection_arguments, conn_id)
    try:
        connection = await AsyncConnection.connect(**{**arguments, "application_name": "airflow pages, remarks"})
    except psycopg.Error as error:
        raise connection_problem(error, conn_id) from error
    try:
        # The sessions of the pages are read-only; this transaction is not.
        await connection.set_read_only(False)
        await connection.execute(statement.encode(), values)
        await connection.commit()
    except psycopg.Error as error:
        problem = statement_problem(error, conn_id, limits.STATEMENT_TIMEOUT) or connection_problem(error, conn_id)
        raise WarehouseUnavailable(str(problem)) from error
    finally:
        await connection.close()
