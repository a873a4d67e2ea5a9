"""The keys by which a rejected row is found."""

from pathlib import Path

from ecommerce.common.sources import SOURCES, WriteDisposition

OPS = Path(__file__).parents[3] / "include" / "sql" / "ops.sql"


def test_view_of_rejected_rows_has_every_key_of_a_table() -> None:
    view = (
        OPS.read_text().partition("create or replace view ops.quarantine_shown")[2].partition("from ops.quarantine;")[0]
    )
    keys = {
        column.name
        for source in SOURCES.values()
        if source.write_disposition is not WriteDisposition.APPEND
        for column in source.columns
        if column.name.endswith("_id") and not column.is_personal
    }
    assert len(keys) > 5
    assert {key for key in keys if f"payload ->> '{key}'" not in view} == set()
