"""The tables of raw are what the registry says; a source whose table was forgotten is found here."""

import pytest

from ecommerce.loading.validate import SQL_TYPES
from ecommerce.sources import SOURCES, Landing
from tests.integration.support import Loader

LOADED = {"_batch_id": ("bigint", True), "_loaded_at": ("timestamp with time zone", True)}
VERSION = {"_valid_from": ("timestamp with time zone", True), "_is_deleted": ("boolean", True)}
SPELLED_OUT = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}


@pytest.mark.parametrize("name", SOURCES)
def test_a_raw_table_is_what_the_registry_says(loader: Loader, name: str) -> None:
    source = SOURCES[name]
    is_log = source.landing is Landing.VERSION_LOG
    expected = {
        column.name: (
            SPELLED_OUT.get(SQL_TYPES[column.kind], SQL_TYPES[column.kind]),
            # A tombstone has nothing but its key.
            column.name in source.key or (column.required and not is_log),
        )
        for column in source.loaded_columns
    }
    columns = loader.rows(
        "select attname::text, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        [f"raw.{name}"],
    )
    assert {column: (kind, fixed) for column, kind, fixed in columns} == expected | LOADED | (VERSION if is_log else {})
    primary = loader.rows(
        "select attname::text from pg_index cross join unnest(indkey) with ordinality as place(attnum, n)"
        " inner join pg_attribute on attrelid = indrelid and pg_attribute.attnum = place.attnum"
        " where indrelid = to_regclass(%s) and indisprimary order by n",
        [f"raw.{name}"],
    )
    assert [column for (column,) in primary] == [*source.key, *(["_batch_id"] if is_log else [])]
