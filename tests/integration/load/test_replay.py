"""Replay of the quarantine by the real operator: rows that are good now are loaded once, others stay."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from ecommerce.common import sources
from ecommerce.common.sources import SOURCES, Column, Kind
from ecommerce.load.quarantine import GONE
from ecommerce.load.quarantine_reader import QuarantineReader
from ecommerce.load.replay_quarantine import REPLAY_ASSETS, ReplayQuarantine
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.support import Loader

DAY = "2024-03-01"
ORDER = {
    "product_id": "P1", "customer_id": "C1", "order_date": DAY, "order_amount": 10, "created_at": f"{DAY} 12:00",
}  # fmt: skip


@dataclass
class Replay:
    """Runs of the operator, each as one of its own."""

    runs: int = 0
    #: Events that the last run has given to the raw assets.
    events: Any = None

    def __call__(self, source: str, **form: Any) -> list[dict[str, Any]]:
        self.runs += 1
        self.events = OutletEventAccessors()
        context = {
            "params": {"source": source, "batch": None, "reason": None, "dry_run": False} | form,
            "dag_run": SimpleNamespace(dag_id="replay_quarantine", run_id=f"manual__{self.runs}"),
            "ti": SimpleNamespace(try_number=1, xcom_push=lambda **_: None),
            "outlet_events": self.events,
        }
        return ReplayQuarantine(task_id="replay").execute(cast(Context, context))


@pytest.fixture
def replay() -> Replay:
    return Replay()


def waiting(loader: Loader) -> list[tuple]:
    """Reason of what has not been replayed."""
    return loader.rows("select reason from ops.quarantine where replayed_at is null order by 1")


def orders(loader: Loader) -> list[tuple]:
    return loader.rows("select order_id, order_amount::text from raw.sales_fact order by 1")


def bad(value: str, at: str = f"{DAY}T10:00:00") -> tuple[str, str]:
    return at, value


# Messages


def test_replay_loads_message_after_rule_is_relaxed(
    loader: Loader, topic: str, produce: Produce, replay: Replay
) -> None:
    produce(event("C1", f"{DAY}T10:00:00", interaction_type="7"), event("C2", f"{DAY}T11:00:00"), bad("{"))
    numbers = tuple(
        Column(c.name, Kind.INTEGER, True) if c.name == "interaction_type" else c
        for c in SOURCES["kafka_stream"].columns
    )
    first = loader.load("kafka_stream", DAY, columns=numbers)
    assert waiting(loader) == [
        ("interaction_type is not a whole number: view",), ("the value is not JSON: JSONDecodeError",),
    ]  # fmt: skip
    loader.pop_dirty_dates()
    (figures,) = replay("kafka_stream")
    assert (figures["rows_read"], figures["rows_loaded"], figures["rows_unchanged"]) == (2, 1, 1)
    assert figures["rows_replayed"] == 1
    assert (figures["window_start"], figures["window_end"]) == (DAY, "2024-03-02")
    # With the place it had in its topic, and the batch that landed it.
    assert loader.rows(
        "select customer_id, _topic, _partition, _offset, _published_at::text, _batch_id from raw.kafka_stream"
        " where _batch_id > %s",
        [first.batch_id],
    ) == [("C2", topic, 0, 1, "2024-03-01 11:00:00+00", figures["batch_id"])]
    assert loader.rows(
        "select replayed_batch_id, replayed_at is not null from ops.quarantine where batch_id = %s order by 1",
        [first.batch_id],
    ) == [(figures["batch_id"], True), (None, False)]
    assert loader.pop_dirty_dates() == {("kafka_stream", DAY)}
    assert next_offsets(loader)[0] == 3
    (added,) = replay.events[REPLAY_ASSETS].asset_alias_events
    assert (added.dest_asset_key.name, added.extra["rows_replayed"]) == ("raw.kafka_stream", 1)
    # Once: it waits no more, and nothing is read from the topic again.
    assert replay("kafka_stream")[0]["rows_replayed"] == 0
    assert loader.load("kafka_stream", DAY).rows_read == 0
    assert customer_counts(loader) == once("C1", "C2")


def test_replay_loads_corrected_message(loader: Loader, topic: str, produce: Produce, replay: Replay) -> None:
    produce(("2024-03-01T10:00:00", b"\xff"), key=b"C9")
    produce(bad("{"))
    loader.load("kafka_stream", DAY)
    as_it_came = loader.rows("select payload from ops.quarantine order by quarantine_id")
    _, value = event("C9", "2024-02-01T10:00:00")
    loader.connection.execute(
        "update ops.quarantine set corrected = %s where payload ->> 'offset' = '0'", [value.encode().decode()]
    )
    replay("kafka_stream")
    assert customer_counts(loader) == once("C9")
    assert loader.pop_dirty_dates() == {("kafka_stream", DAY), ("kafka_stream", "2024-02-01")} - {("kafka_stream", DAY)}
    assert waiting(loader) == [("the value is not JSON: JSONDecodeError",)]
    assert loader.rows("select payload from ops.quarantine order by quarantine_id") == as_it_came
    # The topic still has it as it was; read again, it is neither refused nor landed a second time.
    loader.connection.execute("delete from ops.kafka_offset")
    again = loader.load("kafka_stream", DAY)
    assert (again.rows_read, again.rows_unchanged, again.rows_quarantined) == (2, 2, 0)
    assert loader.value("select count(*) from ops.quarantine") == 2
    assert customer_counts(loader) == once("C9")


def test_message_that_is_too_long_to_be_kept_can_be_replayed_corrected(
    loader: Loader, produce: Produce, replay: Replay
) -> None:
    value = "{" + "x" * 3_000_000
    produce(bad(value), key=b"k" * 100_000, headers=[("h", b"v" * 100_000)] * 30)
    loader.load("kafka_stream", DAY)
    ((payload, size),) = loader.rows("select payload, length(payload::text) from ops.quarantine")
    assert size < 50_000
    assert payload["value"] == {
        "cut": value[:1_000],
        "bytes": len(value),
        "sha256": hashlib.sha256(value.encode()).hexdigest(),
    }
    assert (payload["key"]["bytes"], len(payload["headers"])) == (100_000, 20)
    replay("kafka_stream")
    assert waiting(loader) == [("the message was too long to be kept whole: fill in `corrected`",)]
    _, right = event("C9", f"{DAY}T10:00:00")
    loader.connection.execute("update ops.quarantine set corrected = %s", [right.encode().decode()])
    assert replay("kafka_stream")[0]["rows_replayed"] == 1
    assert customer_counts(loader) == once("C9")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("corrected = '{\"customer_id\": 1}'", "customer_id is not a text but int"),
        ("corrected = '[]'", "the value is not a JSON object but list"),
        ("corrected = '\"{}\"'", "the value is not a JSON object but str"),
        ("payload = '[]'", "the payload does not say where in the topic the message was"),
        ('payload = payload || \'{"offset": "x"}\'', "the payload does not say where in the topic the message was"),
        ("payload = payload || '{\"published_at\": 1}'", "the payload does not say where in the topic the message was"),
    ],
)
def test_replay_keeps_bad_message_with_newer_reason(
    loader: Loader, produce: Produce, replay: Replay, change: str, reason: str
) -> None:
    produce(bad("{"), event("C1", f"{DAY}T10:00:00"))
    batch = loader.load("kafka_stream", DAY).batch_id
    loader.connection.execute(f"update ops.quarantine set {change}".encode())
    (figures,) = replay("kafka_stream")
    assert (figures["rows_read"], figures["rows_unchanged"], figures["rows_replayed"]) == (1, 1, 0)
    assert loader.rows("select reason, batch_id, replayed_at from ops.quarantine") == [(reason, batch, None)]
    assert customer_counts(loader) == once("C1")


def test_replay_of_many_bad_messages_does_not_fail(loader: Loader, produce: Produce, replay: Replay) -> None:
    produce(*(bad("{") for _ in range(30)))
    loader.load("kafka_stream", DAY, max_rejected_share=1.0)
    assert replay("kafka_stream")[0]["rows_unchanged"] == 30
    assert len(waiting(loader)) == 30


def test_replay_loads_each_window_separately(loader: Loader, produce: Produce, replay: Replay) -> None:
    for day in ("2024-03-01", "2024-03-03"):
        produce(bad("{", f"{day}T10:00:00"))
        loader.load("kafka_stream", day)
    figures = replay("kafka_stream")
    assert [(f["window_start"], f["rows_read"]) for f in figures] == [("2024-03-01", 1), ("2024-03-03", 1)]
    # The day between was never loaded, and no replay says so.
    assert loader.value("select count(*) from ops.load_batch where window_end - window_start > 1") == 0


def test_replay_can_select_batch_or_reason(loader: Loader, produce: Produce, replay: Replay) -> None:
    produce(bad("{"), bad("[]"))
    first = loader.load("kafka_stream", DAY).batch_id
    produce(bad("{", "2024-03-02T10:00:00"))
    loader.load("kafka_stream", "2024-03-02")
    assert [f["rows_read"] for f in replay("kafka_stream", batch=first)] == [2]
    assert [f["rows_read"] for f in replay("kafka_stream", reason="not JSON")] == [1, 1]
    assert [f["rows_read"] for f in replay("kafka_stream", batch=first, reason="not JSON")] == [1]
    for form in ({"reason": "no such reason"}, {"reason": "%"}, {"batch": 0}):
        with pytest.raises(AirflowSkipException, match="the quarantine has no row of kafka_stream that was chosen"):
            replay("kafka_stream", **form)
    with pytest.raises(AirflowFailException, match="unknown source nothing; there are kafka_stream"):
        replay("nothing")


def test_concurrent_replays_load_message_once(loader: Loader, produce: Produce, replay: Replay) -> None:
    produce(*(bad(f"{{{n}") for n in range(20)))
    loader.load("kafka_stream", DAY, max_rejected_share=1.0)
    _, value = event("C1", f"{DAY}T10:00:00")
    loader.connection.execute("update ops.quarantine set corrected = %s", [value])
    outcomes: list[Any] = []
    threads = [
        threading.Thread(target=lambda of: outcomes.append(of("kafka_stream")), args=[Replay(n)]) for n in (10, 20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(f["rows_replayed"] for figures in outcomes for f in figures) in ([20], [0, 20])
    assert customer_counts(loader) == {"C1": 20}


def test_interrupted_replay_changes_nothing(
    loader: Loader, produce: Produce, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(bad("{"), bad("{1"))
    loader.load("kafka_stream", DAY)
    _, value = event("C1", f"{DAY}T10:00:00")
    loader.connection.execute("update ops.quarantine set corrected = %s", [value])
    before = {name: rows for name, rows in loader.everything().items() if name != "ops.load_batch"}

    def breaks_off(self: QuarantineReader, resume: Any) -> Iterator[Any]:
        yield from list(whole(self, resume))[:1]
        raise ConnectionAbortedError("the worker is gone")

    whole = QuarantineReader.read
    with monkeypatch.context() as patch:
        patch.setattr(QuarantineReader, "read", breaks_off)
        with pytest.raises(ConnectionAbortedError):
            replay("kafka_stream")
    assert {name: rows for name, rows in loader.everything().items() if name != "ops.load_batch"} == before
    assert replay("kafka_stream")[0]["rows_replayed"] == 2


def test_dry_replay_changes_nothing(loader: Loader, produce: Produce, replay: Replay) -> None:
    produce(bad("{"))
    loader.load("kafka_stream", DAY)
    _, value = event("C1", f"{DAY}T10:00:00")
    loader.connection.execute("update ops.quarantine set corrected = %s", [value])
    before = loader.everything()
    with pytest.raises(AirflowSkipException, match="dry run, nothing was changed: 1 rows of kafka_stream would be"):
        replay("kafka_stream", dry_run=True)
    assert loader.everything() == before


# Rows of a table


@pytest.fixture
def order(insert: Callable[..., None]) -> Callable[..., None]:
    return lambda order_id, **values: insert("sales_fact", order_id=order_id, **(ORDER | values))


def test_replay_loads_row_corrected_at_source(
    loader: Loader, shop: psycopg.Connection, order: Callable[..., None], replay: Replay
) -> None:
    order("O1")
    order("O2", order_amount=-1)
    order("O3", order_amount=-2)
    order("O4", created_at="2024-03-05 12:00")
    loader.load("sales_fact", DAY)
    loader.pop_dirty_dates()
    shop.execute("update sales_fact set order_amount = 5 where order_id = 'O2'")
    shop.execute("update sales_fact set discount_applied = 7 where order_id = 'O3'")
    (figures,) = replay("sales_fact")
    assert (figures["window_start"], figures["window_end"], figures["rows_replayed"]) == (DAY, "2024-03-02", 1)
    assert [order_id for order_id, _ in orders(loader)] == ["O1", "O2"]
    assert loader.pop_dirty_dates() == {("sales_fact", DAY)}
    # O3 is another row than it was, and refused: the one that was put aside is gone, and says so.
    assert waiting(loader) == [
        ("order_amount is negative: -2; discount_applied is outside 0 to 1: 7",),
        (f"{GONE}order_amount is negative: -2",),
    ]
    assert loader.rows("select payload ->> 'order_id', replayed_batch_id from ops.quarantine where replayed_at is not null") == [  # noqa: E501
        ("O2", figures["batch_id"])
    ]  # fmt: skip
    # Nothing lands or is marked twice.
    before = (
        loader.rows("select * from raw.sales_fact order by 1"),
        loader.rows("select * from ops.quarantine order by 1"),
    )
    replay("sales_fact")
    assert before == (
        loader.rows("select * from raw.sales_fact order by 1"), loader.rows("select * from ops.quarantine order by 1"),
    )  # fmt: skip
    assert loader.pop_dirty_dates() == set()


def test_replay_loads_table_rows_after_rule_is_relaxed(
    loader: Loader,
    shop: psycopg.Connection,
    order: Callable[..., None],
    replay: Replay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order("O1", discount_applied=2)
    order("O2", discount_applied=-3)
    loader.load("sales_fact", DAY)
    relaxed = tuple(
        Column(c.name, Kind.AMOUNT) if c.name == "discount_applied" else c for c in SOURCES["sales_fact"].columns
    )
    monkeypatch.setitem(sources.SOURCES, "sales_fact", replace(SOURCES["sales_fact"], columns=relaxed))
    assert replay("sales_fact")[0]["rows_replayed"] == 1
    assert [order_id for order_id, _ in orders(loader)] == ["O1"]
    # The same row, judged by the newer rule: one refusal, with the newer reason.
    assert waiting(loader) == [("discount_applied is negative: -3",)]


def test_reason_says_that_row_is_gone_from_source(
    loader: Loader, shop: psycopg.Connection, order: Callable[..., None], replay: Replay
) -> None:
    order("O1", order_amount=-1)
    loader.load("sales_fact", DAY)
    shop.execute("delete from sales_fact")
    for _ in range(2):
        assert replay("sales_fact")[0]["rows_replayed"] == 0
        assert waiting(loader) == [(f"{GONE}order_amount is negative: -1",)]
    # It comes back as it was: the same refusal, refused for what it is.
    order("O1", order_amount=-1)
    replay("sales_fact")
    assert waiting(loader) == [("order_amount is negative: -1",)]


def test_replay_reads_nested_window_once(
    loader: Loader, order: Callable[..., None], shop: psycopg.Connection, replay: Replay
) -> None:
    order("O1", order_amount=-1)
    loader.load("sales_fact", DAY)
    order("O2", order_amount=-1, created_at="2024-03-02 12:00")
    loader.load("sales_fact", DAY, "2024-03-03")
    shop.execute("update sales_fact set order_amount = 1")
    (figures,) = replay("sales_fact")
    assert (figures["window_start"], figures["window_end"], figures["rows_replayed"]) == (DAY, "2024-03-04", 2)


def test_normal_load_replays_corrected_row(
    loader: Loader, shop: psycopg.Connection, order: Callable[..., None]
) -> None:
    order("O1", order_amount=-1)
    loader.load("sales_fact", DAY, "2024-03-09")
    shop.execute("update sales_fact set order_amount = 1")
    # Another window says nothing of the row, its day does.
    loader.load("sales_fact", "2024-03-02")
    assert waiting(loader) == [("order_amount is negative: -1",)]
    assert loader.load("sales_fact", DAY).rows_replayed == 1
    assert waiting(loader) == []


def test_superseded_order_is_not_marked_replayed(
    loader: Loader, shop: psycopg.Connection, order: Callable[..., None]
) -> None:
    order("O1", created_at="2024-03-05 12:00")
    loader.load("sales_fact", "2024-03-05")
    shop.execute("alter table sales_fact drop constraint if exists sales_fact_pkey")
    order("O1")
    for _ in range(2):
        loader.load("sales_fact", DAY)
        loader.load("sales_fact", "2024-03-05")
    assert loader.value("select count(*) from ops.quarantine") == 1
    assert len(waiting(loader)) == 1


def test_replay_loads_row_of_version_log(
    loader: Loader, shop: psycopg.Connection, insert: Callable[..., None], replay: Replay
) -> None:
    category = {"category_id": "K", "category_name": "Toys"}
    insert("product_category", product_id="P1", **category)
    insert("product_category", product_id="P2", cost_price=-1, **category)
    loader.load("product_category", DAY)
    insert("product_category", product_id="P3", cost_price=-1, **category)
    loader.load("product_category", "2024-03-02")
    assert replay("product_category")[0]["rows_replayed"] == 0
    shop.execute("update product_category set cost_price = 1 where product_id = 'P2'")
    figures = replay("product_category")
    assert [(f["window_start"], f["rows_replayed"]) for f in figures] == [("2024-03-02", 1)]
    assert loader.rows("select product_id, _is_deleted from raw.product_category order by 1") == [
        ("P1", False), ("P2", False),
    ]  # fmt: skip
    assert waiting(loader) == [("cost_price is negative: -1",)]
