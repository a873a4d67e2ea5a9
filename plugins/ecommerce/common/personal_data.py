"""
Where personal data lies in the warehouse: every column with texts, and what an erasure makes of it.

This is the one list. Of `raw` it is made from the registry of sources; of `ops` each column is named; of the models of
dbt a name means the same in every table. A test fails if a table has a column that is not here. In a warehouse with
further tables an erasure searches the columns that it does not know.
"""

from __future__ import annotations

from enum import Enum

from ecommerce.common.sources import SOURCES, Erased

#: The DAG that erases a customer.
ERASE_DAG = "erase_customer"


class Treatment(Enum):
    """What an erasure makes of a column."""

    KEY = "key"  # of the customer: a random one takes its place
    EMPTIED = "emptied"  # in the customer's rows
    FREE_TEXT = "free_text"  # emptied in the customer's rows, and searched in all others
    SEARCHED = "searched"  # whatever names the customer in it is replaced
    PAYLOAD = "payload"  # of a rejected row: `ecommerce/erase/quarantine_payloads.py`
    REPLACED_ROW = "replaced_row"  # of a mart: `ecommerce/erase/replaced_rows.py`
    NEVER = "never"  # says nothing of a person


_OF_SOURCES = {
    Erased.KEY: Treatment.KEY,
    Erased.EMPTIED: Treatment.EMPTIED,
    Erased.E_MAIL: Treatment.EMPTIED,
    Erased.FREE_TEXT: Treatment.FREE_TEXT,
    None: Treatment.NEVER,
}

_SOURCES_BY_PACKED_TABLE = {source.packed_table: source for source in SOURCES.values() if source.packed_table}

#: Table of ops → its columns in which a person may be named, and how they are erased.
_OPS: dict[str, dict[str, Treatment]] = {
    "alert": {"incident": Treatment.SEARCHED, "subject": Treatment.SEARCHED, "message": Treatment.SEARCHED,
              "send_error": Treatment.SEARCHED},
    "check_failure": {"bad_row": Treatment.SEARCHED},
    "check_result": {"subject": Treatment.SEARCHED, "message": Treatment.SEARCHED},
    "decision": {"subjects": Treatment.SEARCHED, "message": Treatment.SEARCHED, "difference": Treatment.SEARCHED,
                 "reason": Treatment.SEARCHED, "figures": Treatment.SEARCHED},
    "digest": {"send_error": Treatment.SEARCHED},
    "incident_note": {"incident": Treatment.SEARCHED, "note": Treatment.SEARCHED},
    "load_batch": {"error": Treatment.SEARCHED},
    "publication_delta": {"key": Treatment.REPLACED_ROW, "old_row": Treatment.REPLACED_ROW},
    "quarantine": {"reason": Treatment.SEARCHED, "payload": Treatment.PAYLOAD, "corrected": Treatment.PAYLOAD},
    "review": {"note": Treatment.SEARCHED},
}  # fmt: skip

#: Table of ops → its texts that never say anything of a customer: names of runs, tables, roles and users of Airflow.
_OPS_NEVER: dict[str, frozenset[str]] = {
    table: frozenset(columns.split())
    for table, columns in {
        "alert": "dag_id task_id check_name severity first_run_id last_run_id closed_by sent_to",
        "build": "run_id dag_id project_digest failed_sources left_out unsettled_sources requested_sources time_zone "
                 "country model_digests refreshed_models",
        "check_result": "run_id check_name status recorded_by",
        "claimed_date": "run_id source",
        "decision": "run_id check_name decision decided_by digest revoked_by",
        "digest": "run_id sent_to",
        "dirty_date": "source claimed_by",
        "erased_value": "kind replacement",
        "erasure": "run_id requested_by places",
        "holiday": "holiday_name",
        "incident_note": "owner noted_by",
        "kafka_gap": "topic cause",
        "kafka_offset": "topic topic_id",
        "load_batch": "source status dag_id run_id built_by",
        "loaded_day": "source",
        "message_schema": "source name fields",
        "migration": "name digest applied_by",
        "pruning": "run_id place",
        "publication": "run_id mart undo_by columns",
        "publication_delta": "mart",
        "published_mart": "mart columns",
        "quarantine": "source",
        "rebuild": "run_id model period sources",
        "review": "order_id status rules reviewed_by",
        "schema_change": "source column_name change expected found policy",
        "source_column": "source column_name",
    }.items()
}  # fmt: skip

#: Column of a model of dbt → how it is erased, in whatever table.
_MODELS: dict[str, Treatment] = {
    "customer_id": Treatment.KEY,
    "customer_name": Treatment.EMPTIED,
    "customer_email": Treatment.EMPTIED,
    "reason": Treatment.FREE_TEXT,  # of a refund
    "review_note": Treatment.SEARCHED,
}
_MODELS_NEVER_TEXT = """
    abc_class brand broken_rules category_id category_key category_name city customer_status customer_tier day_name
    description discount_band event_category event_id factor grain grouped_by holiday_name interaction_type
    inventory_status month_name order_id other_product_id owner payment_method performance_category plan_type
    precipitation_category product_id product_name product_status reasons refund_id review_priority review_status
    reviewed_by rfm_segment rule season shipping_band subcategory subscription_id subscription_status supplier_id
    temperature_category year_month year_quarter
"""
_MODELS_NEVER = frozenset(_MODELS_NEVER_TEXT.split())


def treatment_of(schema: str, table: str, column: str) -> Treatment | None:
    """What an erasure makes of a column with texts; None: nobody has said what is in it."""
    if schema == "raw":
        return _of_raw(table, column)
    if schema == "ops":
        if column in _OPS_NEVER.get(table, ()):
            return Treatment.NEVER
        return _OPS.get(table, {}).get(column)
    return Treatment.NEVER if column in _MODELS_NEVER else _MODELS.get(column)


def _of_raw(table: str, column: str) -> Treatment | None:
    # A packed row has the values of many rows, each column as an array.
    source = SOURCES.get(table) or _SOURCES_BY_PACKED_TABLE.get(table)
    if source is None:
        return None
    for known in source.loaded_columns:
        if known.name == column:
            return _OF_SOURCES[known.erased]
    if column.startswith("_"):
        # Of the loader itself.
        return Treatment.NEVER
    if source.customer_column in source.key:
        # A column that raw got with a change of the source: whatever a list of customers says of one is personal.
        return Treatment.EMPTIED
    return None
