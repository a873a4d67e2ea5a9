"""Old messages are packed: all readers find each message as it was, and no load brings one a second time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.errors import LockNotAvailable

from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.sources import SOURCES
from ecommerce.extract.reader_protocol import RETENTION, Gap
from ecommerce.load.batches import one_loader
from ecommerce.load.offsets import StoredOffsets, _missing
from ecommerce.prune import packing
from ecommerce.prune.packing import pack_messages, survey_messages
from ecommerce.prune.pruning import Pruned
from ecommerce.verify.comparison import Sample, _draw
from tests.integration.support import Loader, Row

SOURCE = SOURCES["kafka_stream"]
TOPIC = "customer_interactions"
OLD, OLDER, YOUNG = "2024-03-02", "2024-03-01", "2024-03-03"
BEFORE = datetime(2024, 3, 3, 12, tzinfo=UTC)
#: Everything that a message has.
COLUMNS = (
    'customer_id, product_id, interaction_type, "timestamp", _topic, _partition, _offset, _published_at, _batch_id,'
    " _loaded_at, _below_microsecond"
)
ALL = f"select {COLUMNS}, _day from raw.kafka_stream_all order by _partition, _offset"
PACKED_ROWS = "select count(*) from raw.kafka_stream_packed"


def message(day: str, partition: int, offset: int) -> Row:
    """One of many values; every seventh repeats the one before it."""
    n = offset - offset % 7 // 6
    return {
        "customer_id": f' C{n % 5}, "{{é}}"' if n % 5 else "NULL",
        "product_id": f"P{n % 3}",
        "interaction_type": ("view", "add_to_cart", "purchase")[n % 3],
        "timestamp": f"{day}T{n % 24:02d}:00:00.{n:06d}{'' if n % 4 else n}Z",
        "_topic": TOPIC,
        "_partition": str(partition),
        "_offset": str(offset),
        "_published_at": f"{day}T23:00:00Z" if n % 2 else None,
    }


def messages() -> list[Row]:
    """Of three days in two partitions; offset 20 of partition 0 has none, and days take turns."""
    days = (OLDER, OLD, OLDER, OLD, YOUNG)
    of_0 = [message(days[offset % 5], 0, offset) for offset in range(60) if offset != 20]
    return [*of_0, *(message(OLD, 1, offset) for offset in range(30))]


def load(loader: Loader, rows: list[Row]) -> int:
    return loader.load("kafka_stream", OLDER, YOUNG, rows=rows, columns=SOURCE.loaded_columns, lineage=()).rows_loaded


def publish(loader: Loader, run_id: str = "a_run") -> None:
    """What was loaded counts as published."""
    loader.connection.execute(
        """
        insert into ops.build
            (run_id, dag_id, is_full_refresh, project_digest, claimed_at, finished_at, is_published)
        values (%s, 'd', false, 'p', now(), now(), true)
        """,
        [run_id],
    )
    loader.connection.execute("update ops.load_batch set built_by = %s where built_by is null", [run_id])


def pack(before: datetime = BEFORE, run_id: str = "a_run") -> list[Pruned]:
    with warehouse(LOADER) as connection:
        return [*pack_messages(connection, before, run_id)]


@pytest.fixture
def loaded(loader: Loader) -> Loader:
    """Messages that are published, and one of an old day that is not."""
    assert load(loader, messages()) == 89
    publish(loader)
    assert load(loader, [message(OLD, 1, 30)]) == 1
    loader.pop_dirty_dates()
    return loader


def test_packed_messages_are_as_they_were(loaded: Loader) -> None:
    before = loaded.rows(ALL)
    survey = survey_messages(loaded.connection, BEFORE)
    assert (survey.deleted, loaded.rows(ALL)) == (77, before)
    steps = pack()
    assert loaded.rows(ALL) == before
    assert sum(step.deleted for step in steps) == 77
    # Young ones, and one that a run is still to build, are as they were.
    assert loaded.rows('select "timestamp"::date::text, count(*) from raw.kafka_stream group by 1 order by 1') == [
        (OLD, 1), (YOUNG, 12),
    ]  # fmt: skip
    won = sum(step.size for step in steps)
    assert 0 < won < survey.size
    assert loaded.rows("select place, deleted, bytes from ops.pruning") == [("raw.kafka_stream", 77, won)]
    assert loaded.value(PACKED_ROWS) == 3
    assert pack() == []
    publish(loaded, "b_run")
    assert [step.deleted for step in pack(run_id="b_run")] == [1]
    assert loaded.rows(ALL) == before


def test_steps_are_small_and_go_on_after_an_interruption(loaded: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MESSAGES_OF_A_STEP", 10)
    monkeypatch.setattr(packing, "MESSAGES_OF_A_ROW", 4)
    before = loaded.rows(ALL)
    with warehouse(LOADER) as connection:
        assert next(pack_messages(connection, BEFORE, "a_run")).deleted == 10
        # The session ends in the middle.
    assert loaded.rows(ALL) == before
    assert max(step.deleted for step in pack()) == 10
    assert loaded.rows(ALL) == before
    assert loaded.value("select deleted from ops.pruning") == 77
    assert loaded.value("select max(cardinality(customer_id)) from raw.kafka_stream_packed") == 4


def test_messages_that_are_read_again_are_not_loaded_again(loaded: Loader) -> None:
    pack()
    before = loaded.rows(ALL)
    assert load(loaded, messages()) == 0
    assert loaded.rows(ALL) == before
    # Of a message that was corrected, raw has the corrected one: what the topic has is not rejected a second time.
    assert load(loaded, [*messages()[:1], {**message(OLD, 1, 3), "timestamp": "never"}]) == 0
    assert loaded.value("select count(*) from ops.quarantine") == 0
    # The one that was missing comes late.
    assert load(loaded, [*messages(), message(OLDER, 0, 20)]) == 1
    assert loaded.value("select count(*) from raw.kafka_stream_all") == 91


def test_offsets_of_packed_messages_are_not_missing(loaded: Loader) -> None:
    stored = StoredOffsets(loaded.connection, SOURCE)

    def seen() -> list[object]:
        asked = [Gap(0, 0, 70, RETENTION), Gap(1, 5, 12, RETENTION)]
        return [
            stored._has_all(TOPIC, 0, 0, 20),
            stored._has_all(TOPIC, 0, 3, 60),
            stored._has_all(TOPIC, 1, 4, 12),
            *(stored.holds_any(TOPIC, 0, offset) for offset in (0, 58, 59, 60)),
            [(gap.partition, gap.first, gap.last) for gap in _missing(loaded.connection, SOURCE, TOPIC, asked)],
        ]

    expected = [True, False, True, True, True, True, False, [(0, 20, 20), (0, 60, 70)]]
    assert seen() == expected
    pack(BEFORE + timedelta(days=1))
    assert loaded.value("select count(*) from raw.kafka_stream") == 1
    assert seen() == expected


def test_late_version_makes_packed_days_dirty(loaded: Loader) -> None:
    loaded.load("product", YOUNG, rows=[{"product_id": f"P{n}", "product_name": "p"} for n in range(3)])
    expected = loaded.pop_dirty_dates()
    assert {(OLDER, "product"), (OLD, "product")} <= {(day, source) for source, day in expected}
    pack()
    # First versions of other products, which facts without a version take for their own.
    loaded.connection.execute("delete from raw.product")
    loaded.load("product", YOUNG, rows=[{"product_id": f"P{n}", "product_name": "p"} for n in range(3)])
    assert loaded.pop_dirty_dates() == expected


def test_verification_draws_packed_days(loaded: Loader) -> None:
    expected = _draw(loaded.connection, [], Sample(None, 1))
    pack()
    assert [str(day) for day in _draw(loaded.connection, [], Sample(None, 1))] == [OLDER, OLD, YOUNG]
    assert _draw(loaded.connection, [], Sample(None, 1)) == expected


def test_query_of_a_day_or_load_unpacks_no_other(loaded: Loader) -> None:
    pack()
    for condition in (f"_day = '{OLDER}'", "_batch_id = 0", "_topic = 'another'"):
        (plan,) = loaded.connection.execute(
            f"explain (analyze, format json) select * from raw.kafka_stream_all where {condition}".encode()
        ).fetchone()  # type: ignore[misc]
        assert _unpacked_rows(plan[0]["Plan"]) == (1 if "_day" in condition else 0)


def _unpacked_rows(plan: dict) -> int:
    """How many packed rows a plan has read the arrays of."""
    if plan["Node Type"] == "Function Scan":
        return plan["Actual Loops"]
    return sum(_unpacked_rows(part) for part in plan.get("Plans", ()))


def test_after_a_change_of_the_time_zone_days_are_others(loaded: Loader, set_time_zone: Callable[..., None]) -> None:
    pack()
    columns = COLUMNS.replace('"timestamp"', "\"timestamp\" at time zone 'UTC'")
    same = f"select {columns} from raw.kafka_stream_all order by _partition, _offset"
    before = loaded.rows(same)
    set_time_zone("Asia/Tokyo")
    assert loaded.rows(same) == before
    wrong = "select count(*) from raw.kafka_stream_all where _day <> (\"timestamp\" at time zone 'Asia/Tokyo')::date"
    assert loaded.value(wrong) == 0
    # With the days of now they are packed again.
    pack()
    assert loaded.value(PACKED_ROWS) > 0
    assert (loaded.value(wrong), loaded.rows(same)) == (0, before)


def test_load_and_packing_wait_for_each_other(loaded: Loader, other_connection: psycopg.Connection) -> None:
    before = loaded.rows(ALL)
    with one_loader(other_connection, SOURCE), warehouse(LOADER) as connection:
        connection.execute("set lock_timeout = '100ms'")
        with pytest.raises(LockNotAvailable):
            next(pack_messages(connection, BEFORE, "a_run"))
    assert loaded.rows(ALL) == before
    assert loaded.value(PACKED_ROWS) == 0
