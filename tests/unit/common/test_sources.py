"""The registry holds together: whatever an entry names is there."""

from datetime import date

import pytest

from ecommerce.common.errors import SourceError
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import SOURCES, Column, Kind, Source, WriteDisposition
from ecommerce.common.value_rules import SQL_TYPES, TEXT_TESTS
from ecommerce.common.windows import Window
from ecommerce.extract.readers import reader_of

DAY = Window.of_days(date(2024, 3, 1), date(2024, 3, 1))


@pytest.fixture(params=SOURCES.values(), ids=list(SOURCES))
def source(request: pytest.FixtureRequest) -> Source:
    return request.param


def test_sources_are_in_the_order_of_the_dag() -> None:
    assert list(SOURCES) == [
        "kafka_stream",
        "product",
        "product_category",
        "sales_fact",
        "refund",
        "customer",
        "subscription_data",
        "weather_data",
    ]


def test_every_column_that_an_entry_names_is_there(source: Source) -> None:
    names = [column.name for column in source.loaded_columns]
    assert len(names) == len(set(names))
    named = {*source.key, source.window_column, source.latest_by, source.change_time} - {None}
    assert named <= set(names)


def test_a_key_is_never_null(source: Source) -> None:
    never_null = {column.name for column in source.columns if column.required or column.default is not None}
    assert set(source.key) <= never_null | {column.name for column in source.lineage}


def test_a_default_is_of_an_optional_column_and_passes_its_rules(source: Source) -> None:
    for column in source.loaded_columns:
        if column.default is not None:
            assert not column.required
            assert column.kind is Kind.COUNT
            assert int(column.default) >= 0


def test_an_entry_says_what_its_landing_needs(source: Source) -> None:
    if source.write_disposition is WriteDisposition.REPLACE_WINDOW:
        assert source.window_column is not None
        assert next(column for column in source.columns if column.name == source.window_column).required
    else:
        assert source.window_column is None
    if source.write_disposition is not WriteDisposition.REPLACE_WINDOW:
        assert source.dependents == ()
    if source.write_disposition is not WriteDisposition.VERSION_LOG:
        assert source.change_time is None
        assert source.touches == ()
    else:
        assert source.day is None
        assert len(source.key) == 1


def test_what_a_version_touches_is_a_table_of_raw_with_that_column(source: Source) -> None:
    for touch in source.touches:
        touched = SOURCES[touch.table]
        assert {touch.key, *(name for each in touch.references for name in each.columns)} <= {
            column.name for column in touched.columns
        }
        assert touch.day == touched.day
        for reference in touch.references:
            named = SOURCES[reference.table]
            assert {touch.key, *reference.columns} <= {column.name for column in named.columns}
            assert reference.day in (None, named.day)


def test_a_version_touches_every_fact_with_its_key() -> None:
    facts = {name for name, source in SOURCES.items() if source.day and name != "weather_data"}
    for name in ("product", "product_category", "customer"):
        assert {touch.table for touch in SOURCES[name].touches} == facts


def test_dependents_are_found_by_a_part_of_the_key(source: Source) -> None:
    for dependents in source.dependents:
        table = SOURCES[dependents.table]
        assert dependents.key in source.key
        assert dependents.key in {column.name for column in table.columns}
        assert dependents.day == table.day


def test_every_source_has_its_reader(source: Source) -> None:
    reader = reader_of(source, DAY)
    assert list(reader.columns)[: len(source.columns)] == [column.name for column in source.columns]


def source_of(reader: str) -> Source:
    return Source(
        name="x",
        reader=reader,
        write_disposition=WriteDisposition.APPEND,
        key=("a",),
        columns=(Column("a"),),
    )


NOWHERE = SourceLocation.model_construct(source="x", connection="c")


def test_topic_without_name_is_rejected() -> None:
    with pytest.raises(ValueError, match="source x is read from Kafka, and its location names no topic"):
        reader_of(source_of("kafka"), DAY, NOWHERE)


def test_unknown_reader_is_rejected() -> None:
    source = source_of("ftp")
    with pytest.raises(ValueError, match="source x names the reader 'ftp'; there are database, kafka, weather"):
        reader_of(source, DAY, NOWHERE)


def test_database_of_unknown_kind_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", '{"conn_type": "oracle"}')
    with pytest.raises(SourceError, match="sales_fact: the connection 'shop_postgres' is of the type 'oracle', and a "):
        reader_of(SOURCES["sales_fact"], DAY)


def test_every_kind_has_a_type_and_tests() -> None:
    assert set(SQL_TYPES) == set(TEXT_TESTS) == set(Kind)
