"""
Erases a customer everywhere in the warehouse, or says where the customer is.

Each role changes its own tables: first those of dbt, then `ops` and `marts`, then raw. Names are known from raw, so raw
comes last: an erasure that was interrupted finds them again. Nothing is loaded, built or published meanwhile, and what
takes the customer's place is stored before anything is changed, so no load can bring the customer back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from ecommerce.build import lease
from ecommerce.common.sources import SOURCES
from ecommerce.erase.customer_versions import erase_versions
from ecommerce.erase.log_files import erase_in_logs
from ecommerce.erase.person import Person, find_person, remember
from ecommerce.erase.personal_tables import erase_table, personal_tables
from ecommerce.erase.quarantine_payloads import erase_payloads
from ecommerce.erase.receipt import Counts, Receipt
from ecommerce.erase.replaced_rows import erase_replaced_rows
from ecommerce.load.batches import one_loader
from ecommerce.load.erased_rows import ErasedValues
from ecommerce.publish.merge import MartChange, require_full_comparison
from ecommerce.publish.publication import new_publication, record_publication


@dataclass(frozen=True)
class Sessions:
    """A session of each role, in autocommit."""

    loader: Connection
    transformer: Connection
    publisher: Connection


def survey(sessions: Sessions, customer: str, *, logs: Sequence[Path] = ()) -> Receipt:
    """
    Where the customer is, and how often. Nothing is changed.

    :param customer: a key, or an e-mail address
    :param logs: folders of log files
    :raises ErasureError: there is no such customer
    """
    person = find_person(sessions.loader, customer)
    counts: Counts = {}
    for session in (sessions.transformer, sessions.publisher, sessions.loader):
        # A cursor of the quarantine needs a transaction.
        with session.transaction():
            counts |= _erase_owned(session, person, dry_run=True)
    counts |= erase_in_logs(logs, person, dry_run=True)
    return Receipt(None, len(person.keys), counts)


def erase(
    sessions: Sessions,
    customer: str,
    *,
    dag_id: str,
    run_id: str,
    requested_by: str | None,
    take_over_from: str | None = None,
    logs: Sequence[Path] = (),
) -> Receipt | None:
    """
    Erase the customer; None while a run builds, or another one publishes.

    Facts and sums stay. Afterwards the last build counts as not published, so that the next run builds and publishes.

    :param customer: a key, or an e-mail address
    :param take_over_from: run_id of a holder of the lease that has ended
    :param logs: folders of log files
    :raises ErasureError: there is no such customer
    """
    with ExitStack() as locks:
        # In the order of the registry, as no load waits for another one's lock.
        for source in SOURCES.values():
            locks.enter_context(one_loader(sessions.loader, source))
        if not locks.enter_context(_no_build(sessions.publisher, take_over_from)):
            return None
        person = find_person(sessions.loader, customer)
        erasure_id = _open_receipt(sessions.publisher, person, run_id, requested_by)
        with sessions.transformer.transaction():
            counts = _erase_owned(sessions.transformer, person)
        _note_places(sessions.publisher, erasure_id, counts)
        with sessions.publisher.transaction():
            counts |= _erase_owned(sessions.publisher, person)
            _publish(sessions.publisher, dag_id, run_id, take_over_from)
            _note_places(sessions.publisher, erasure_id, counts)
        # Before raw, from which a further try knows the names.
        of_logs = erase_in_logs(logs, person)
        with sessions.loader.transaction():
            of_raw = _erase_owned(sessions.loader, person)
        # Again: Postgres may have logged statements of this erasure.
        of_logs = {**erase_in_logs(logs, person), **of_logs}
        _note_places(sessions.publisher, erasure_id, of_raw | of_logs)
        noted = _noted_places(sessions.publisher, erasure_id)
        for session in (sessions.transformer, sessions.publisher, sessions.loader):
            _forget_old_rows(session, noted)
        sessions.publisher.execute(
            "update ops.erasure set erased_at = clock_timestamp() where erasure_id = %s", [erasure_id]
        )
    return Receipt(erasure_id, len(person.keys), noted)


@contextmanager
def _no_build(publisher: Connection, take_over_from: str | None) -> Iterator[bool]:
    """Keep others from building and publishing meanwhile; False if a run does so now."""
    with lease.all_builds_stopped(publisher):
        holder = lease.holder(publisher)
        yield holder is None or holder.run_id == take_over_from


def _open_receipt(publisher: Connection, person: Person, run_id: str, requested_by: str | None) -> int:
    """The number of the receipt: a new one, or that of a try that was interrupted; what is erased is remembered."""
    with publisher.transaction():
        row = publisher.execute(
            """
            select erasure_id
            from ops.erasure
            where
                run_id = %s
                or erased_at is null and erasure_id in (
                    select erased.erasure_id from ops.erased_value as erased where erased.replacement = any(%s)
                )
            order by erasure_id desc
            limit 1
            """,
            [run_id, list(person.keys.values())],
        ).fetchone()
        if row is None:
            row = publisher.execute(
                """
                insert into ops.erasure (run_id, requested_by, customers)
                values (%s, %s, %s)
                returning erasure_id
                """,
                [run_id, requested_by, len(person.keys)],
            ).fetchone()
        erasure_id = int(row[0]) if row else 0
        remember(publisher, person, erasure_id)
    return erasure_id


def _note_places(publisher: Connection, erasure_id: int, counts: Counts) -> None:
    """Add places to the receipt; what an earlier try has replaced stays in it."""
    publisher.execute("update ops.erasure set places = places || %s where erasure_id = %s", [Jsonb(counts), erasure_id])


def _noted_places(publisher: Connection, erasure_id: int) -> Counts:
    """The places of all tries."""
    row = publisher.execute("select places from ops.erasure where erasure_id = %s", [erasure_id]).fetchone()
    return dict(row[0]) if row else {}


def _erase_owned(session: Connection, person: Person, *, dry_run: bool = False) -> Counts:
    """Take the customer out of all tables of the session's role, in the caller's transaction."""
    counts: Counts = {}
    tables = list(personal_tables(session))
    schemas = {table.schema for table in tables}
    if "ops" in schemas:
        values = ErasedValues.read(session).adding(person.keys, person.e_mails)
        counts |= erase_payloads(session, person, values, dry_run=dry_run)
    if not dry_run and "core" in schemas:
        erase_versions(session, person)
    for table in tables:
        if table.schema == "marts" and table.columns:
            counts |= erase_replaced_rows(session, table, person, dry_run=dry_run)
        changed = erase_table(session, table, person, dry_run=dry_run)
        if table.schema == "marts" and changed and not dry_run:
            require_full_comparison(session, table.name)
        counts |= changed
    return counts


def _publish(publisher: Connection, dag_id: str, run_id: str, take_over_from: str | None) -> None:
    """
    Record that the marts have changed, so that no page shows an older answer.

    To a rollback this publication has changed nothing: the rows of before have no customer any more, either.
    """
    lease.lock_for_rollback(publisher, dag_id, run_id, take_over_from=take_over_from)
    marts = publisher.execute(
        """
        select distinct on (mart) mart, as_of_date
        from ops.publication
        where to_regclass(format('marts.%I', mart)) is not null
        order by mart, publication_id desc
        """
    ).fetchall()
    if not marts:
        return
    publication_id = new_publication(publisher)
    for mart, as_of_date in marts:
        record_publication(publisher, publication_id, run_id, MartChange(mart, 0, 0, 0), as_of_date=as_of_date)


def _forget_old_rows(session: Connection, counts: Counts) -> None:
    """
    Vacuum and analyse the tables that were changed.

    An index has the old values until then, and so have the planner's statistics, which hold a column's values.
    """
    for table in personal_tables(session):
        if any(place.startswith((f"{table}.", f"{table} ")) for place in counts):
            session.execute(sql.SQL("vacuum (analyze) {}").format(table.identifier))
