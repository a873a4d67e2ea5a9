"""
Which tables of `ops` lose old rows, and which rows stay because something still reads them.

This is the one place for both. Each table of `ops` and `raw` is in one of the lists, and a test fails at one that is
not: whoever adds a table decides.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Publications that stay, whatever their age: as many as *Data status* looks at for those that can be taken back.
KEPT_PUBLICATIONS_AT_LEAST = 100

#: The runs that have built last: the checks of a run read what it has recorded, and pages show the last ones.
_LAST_RUNS = "select build.run_id from ops.build order by build.claimed_at desc limit 20"


def _is_old_result(result: str) -> str:
    """Condition on a row of `ops.check_result`: it is old, and neither a page nor a check asks for it."""
    return f"""
        {result}.checked_at < %(before)s
        and {result}.run_id not in ({_LAST_RUNS})
        and 20 <= (
            select count(*)
            from (
                select from ops.check_result as newer
                where
                    newer.check_name = {result}.check_name
                    and newer.subject = {result}.subject
                    and newer.checked_at > {result}.checked_at
                limit 20
            ) as newest
        )
        and not exists (
            select from ops.alert
            where
                alert.closed_at is null
                and alert.check_name = {result}.check_name
                and alert.subject = {result}.subject
        )
    """


@dataclass(frozen=True)
class PrunableTable:
    """
    A table of `ops` that loses old rows.

    :param name: with its schema
    :param minimum_days: pages and checks look back so far
    :param condition: SQL, a row (as ``old``) may go; parameters are `before` and `kept_publications`
    :param stays: what does not go, however old it is, in words
    :param is_free: SQL, nothing refers to the row any more: true once the tables before it are pruned
    """

    name: str
    minimum_days: int
    condition: str
    stays: str
    is_free: str = "true"


#: In the order in which they are pruned: what refers to a row of another table goes before it.
PRUNABLE_TABLES = {
    table.name: table
    for table in (
        PrunableTable(
            "ops.check_failure",
            30,
            f"""
            exists (
                select from ops.check_result as result
                where result.check_result_id = old.check_result_id and {_is_old_result("result")}
            )
            """,
            "bad rows of results that stay by the rule of `ops.check_result`",
        ),
        PrunableTable(
            "ops.check_result",
            90,
            _is_old_result("old"),
            "the last 20 results of each check and subject, those of the last 20 builds, and those of checks with an "
            "open incident",
            "not exists (select from ops.check_failure where check_failure.check_result_id = old.check_result_id)",
        ),
        PrunableTable(
            "ops.quarantine",
            30,
            "old.replayed_at < %(before)s",
            "rejected rows that wait: a replay reads them, and a topic's messages among them count as read",
        ),
        PrunableTable(
            "ops.claimed_date",
            30,
            f"old.claimed_at < %(before)s and old.run_id not in ({_LAST_RUNS})",
            "the days of the last 20 builds",
        ),
        PrunableTable(
            "ops.rebuild",
            30,
            f"""
            old.rebuilt_at < %(before)s
            and old.run_id not in ({_LAST_RUNS})
            and exists (
                select from ops.rebuild as newer
                where newer.model = old.model and newer.run_id in ({_LAST_RUNS})
            )
            """,
            "the last 20 builds, and the last build of each model",
        ),
        PrunableTable(
            "ops.load_batch",
            90,
            # Which days are loaded, and published, is read from the batches: so another old one must say the same of
            # all days of this one.
            """
            old.finished_at < %(before)s
            and (
                old.status = 'failed'
                or old.rows_loaded = 0 and old.rows_removed = 0 and old.rows_quarantined = 0
            )
            and exists (
                select from ops.load_batch as later
                inner join ops.build on later.built_by = build.run_id
                where
                    later.source = old.source
                    and later.status = 'loaded'
                    and later.window_end >= old.window_end
                    and later.window_start <= old.window_start
                    and later.batch_id > old.batch_id
                    and later.finished_at < %(before)s
                    and build.is_published
            )
            and not exists (select from ops.quarantine where quarantine.batch_id = old.batch_id)
            and not exists (select from ops.dirty_date where dirty_date.batch_id = old.batch_id)
            and not exists (select from ops.loaded_day where loaded_day.batch_id = old.batch_id)
            and not exists (select from ops.kafka_offset where kafka_offset.batch_id = old.batch_id)
            and not exists (select from ops.kafka_gap where kafka_gap.batch_id = old.batch_id)
            and not exists (select from ops.source_column where source_column.batch_id = old.batch_id)
            and not exists (select from ops.message_schema where message_schema.batch_id = old.batch_id)
            and not exists (
                select from ops.schema_change
                where old.batch_id in (schema_change.batch_id, schema_change.last_batch_id)
            )
            """,
            "loads that have left rows in raw or in quarantine, the last load of each day, and those that another "
            "table names",
            "not exists (select from ops.claimed_date where claimed_date.batch_id = old.batch_id)",
        ),
        PrunableTable(
            "ops.decision",
            30,
            f"""
            old.decision <> 'approved'
            and old.decided_at < %(before)s
            and old.run_id not in ({_LAST_RUNS})
            """,
            "approvals: a check does not ask again for a figure that was approved",
        ),
        PrunableTable(
            "ops.alert",
            30,
            "old.closed_at < %(before)s and (old.sent_at is not null or old.send_error is null)",
            "open incidents, and alerts that are still to be sent",
        ),
        PrunableTable(
            "ops.publication",
            90,
            """
            old.published_at < %(before)s
            and exists (
                select from ops.publication as newer
                where
                    newer.mart = old.mart
                    and newer.publication_id > old.publication_id
                    and newer.publication_id < (
                        select min(kept.publication_id)
                        from (
                            select distinct publication_id
                            from ops.publication
                            order by publication_id desc
                            limit %(kept_publications)s
                        ) as kept
                    )
            )
            and not exists (select from ops.publication as rollback where rollback.restores = old.publication_id)
            """,
            f"the last {KEPT_PUBLICATIONS_AT_LEAST} publications, the one before them of each mart, and those that a "
            "rollback has restored",
        ),
    )
}

#: The table whose old rows are packed (`packing.py`), if the file says that the facts of them are kept.
PACKABLE_TABLE = PrunableTable(
    "raw.kafka_stream",
    # A check compares the mix of events with that of the 90 days before.
    120,
    "true",
    "all that a rebuild needs: messages are packed, and those that a run is still to build are not",
)

#: Table → why none of its rows is ever pruned.
NEVER_PRUNED = {
    "ops.build": "says which loads are published; a row a run",
    "ops.digest": "a digest is sent once for each day; a row a day",
    "ops.dirty_date": "days that are not published yet; a publication deletes them",
    "ops.erased_value": "a load would bring the erased customer back",
    "ops.erasure": "the receipt of an erasure",
    "ops.erasure_salt": "without it no load knows an erased customer",
    "ops.holiday": "models read it",
    "ops.incident_note": "what people have said; the last word counts however old it is",
    "ops.kafka_gap": "an offset without a message is noted once, and would be looked for again",
    "ops.kafka_offset": "where the next read of the topic begins",
    "ops.loaded_day": "a check compares raw with it",
    "ops.message_schema": "a row for each schema of a topic's messages",
    "ops.migration": "which changes the warehouse has",
    "ops.pruning": "says where the rows have gone; a row a run and table",
    "ops.publication_delta": "kept by number: each publication deletes what a rollback cannot reach any more "
    "(ECOMMERCE_KEPT_PUBLICATIONS)",
    "ops.published_mart": "the next publication reads it",
    "ops.review": "a mart is built of it",
    "ops.schema_change": "a row for each change of a source",
    "ops.source_column": "a column that was there and is gone fails a load",
    **dict.fromkeys(
        (
            "raw.product",
            "raw.product_category",
            "raw.sales_fact",
            "raw.refund",
            "raw.customer",
            "raw.subscription_data",
            "raw.weather_data",
        ),
        "a full refresh builds all marts from raw: what is gone there is gone from the marts",
    ),
    "raw.kafka_stream_packed": "the packed messages: a full refresh builds their facts from them",
}
