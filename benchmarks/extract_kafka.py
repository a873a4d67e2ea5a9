"""
Load a topic from Kafka into raw, beside a consumer that throws the messages away: on a stack of its own.

Both read the same topic from the same broker, in turns: the demo's, or with `--broker apache-kafka` Apache Kafka, which
needs Java and Maven. Run it while the machine does nothing else. Prints medians of seconds, rows a second and their
ratio, and the most memory that the process had in the first and in the second half of the loads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import psutil
import psycopg
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

from benchmarks.own_stack import own_stack
from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract.readers import reader_of
from ecommerce.load.batches import RunIdentity
from ecommerce.load.loader import load
from include.demo import database, stack
from include.demo.state import State
from tests.apache_kafka.server import VERSION, apache_kafka, why_not_here

PARTITIONS = 3
FIRST, DAYS = date(2024, 1, 1), 28
#: Options of Java: a broker as in production, with less memory.
JAVA = ("-Xms512m", "-Xmx512m", "-XX:+UseG1GC")
KINDS = ("view", "view", "view", "add_to_cart", "purchase")


def fill(bootstrap: str, topic: str, messages: int) -> None:
    """Events of four weeks in three partitions, zstd."""
    wanted = NewTopic(topic, PARTITIONS, replication_factor=1, config={"retention.ms": "-1"})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([wanted])[topic].result(timeout=20)
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "zstd", "linger.ms": 50})
    chance = random.Random(1)
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    for number in range(messages):
        at = start + timedelta(days=DAYS) * number / messages
        customer = f"CUST{chance.randrange(5000):04}"
        event = {
            "customer_id": customer,
            "product_id": f"PROD{chance.randrange(300):04}",
            "interaction_type": chance.choice(KINDS),
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        }
        while True:
            try:
                producer.produce(
                    topic, json.dumps(event), customer, number % PARTITIONS, timestamp=int(at.timestamp() * 1000)
                )
                break
            except BufferError:
                producer.poll(1)
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("not all messages were delivered")


@contextlib.contextmanager
def running_broker(name: str, state: State) -> Iterator[str]:
    """The address of the broker that was chosen."""
    if name == "noida-db":
        stack.start_kafka(state)
        yield state.bootstrap
        return
    if reason := why_not_here():
        sys.exit(reason)
    with apache_kafka(java=JAVA) as kafka:
        yield kafka.bootstrap


def consume_only(bootstrap: str, topic: str) -> int:
    """Read all messages by a bare consumer; how many."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bare",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    seen, at_end = 0, 0
    while at_end < PARTITIONS:
        for message in consumer.consume(10_000, timeout=0.05):
            error = message.error()
            if error is None:
                seen += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                at_end += 1
    consumer.close()
    return seen


def extract(location: SourceLocation) -> int:
    """Load the topic, connections included; the loaded rows."""
    source = SOURCES["kafka_stream"]
    window = Window(FIRST, FIRST + timedelta(days=DAYS))
    with warehouse(LOADER) as connection:
        result = load(
            connection,
            source,
            window,
            lambda source, window: reader_of(source, window, location),
            run=RunIdentity("benchmark", "benchmark"),
        )
    return result.rows_loaded


def empty(dsn: str) -> None:
    """Delete what the load has written, as the tables' owner; not measured."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            """
            truncate
                raw.kafka_stream,
                ops.kafka_offset,
                ops.kafka_gap,
                ops.quarantine,
                ops.dirty_date,
                ops.load_batch
            cascade
            """
        )


class Memory:
    """While it is open as a context: the most bytes that this process has, in the first and in the second half."""

    def __init__(self) -> None:
        self._samples: list[int] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def halves(self) -> tuple[int, int]:
        """The most of the first half, and of the second."""
        middle = len(self._samples) // 2
        return max(self._samples[: middle + 1]), max(self._samples[middle:])

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self._samples.append(process.memory_info().rss)
            if self._is_over.wait(0.1):
                return


def timed(work: Callable[[], int], messages: int) -> float:
    """Seconds; fails if a message is missing."""
    started = time.monotonic()
    came = work()
    took = time.monotonic() - started
    if came != messages:
        raise RuntimeError(f"{came} messages came, {messages} were sent")
    return took


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000, help="messages in the topic (default 200,000)")
    parser.add_argument("--runs", type=int, default=5, help="measured runs (default 5)")
    parser.add_argument(
        "--broker", choices=["noida-db", "apache-kafka"], default="noida-db", help="the broker (default noida-db)"
    )
    arguments = parser.parse_args()
    topic = "benchmark"
    location = SourceLocation(source="kafka_stream", connection="shop_kafka", topic=topic)
    with own_stack() as state, running_broker(arguments.broker, state) as bootstrap:
        os.environ["AIRFLOW_CONN_WAREHOUSE_LOADER"] = state.dsn(role="loader")
        os.environ["AIRFLOW_CONN_SHOP_KAFKA"] = json.dumps(
            {"conn_type": "kafka", "extra": {"bootstrap.servers": bootstrap}}
        )
        database.make_tables(state.dsn("warehouse", "postgres"))
        fill(bootstrap, topic, arguments.messages)
        bare, loads, halves = [], [], []
        for number in range(arguments.runs + 1):
            empty(state.dsn("warehouse", "postgres"))
            alone = timed(lambda: consume_only(bootstrap, topic), arguments.messages)
            with Memory() as memory:
                load_took = timed(lambda: extract(location), arguments.messages)
            print(f"bare {alone:.2f} s, load {load_took:.2f} s{'' if number else ' (warm-up)'}", file=sys.stderr)
            if number:
                bare.append(alone)
                loads.append(load_took)
                halves.append(memory.halves)
        middle, loaded = statistics.median(bare), statistics.median(loads)
        first, second = (max(of_run) / 1e6 for of_run in zip(*halves, strict=True))
        name = "noida-db" if arguments.broker == "noida-db" else f"Apache Kafka {VERSION}"
        print(
            f"{arguments.messages:,} messages on {name}, medians of {arguments.runs}\n"
            f"bare consumer, discarded    {middle:6.2f} s  {arguments.messages / middle:10,.0f} rows/s\n"
            f"Kafka → raw                 {loaded:6.2f} s  {arguments.messages / loaded:10,.0f} rows/s"
            f"  {middle / loaded:.2f} of the bare consumer\n"
            f"memory of the process, at most {first:6.0f} MB in the first half of a load, {second:.0f} in the second"
        )


if __name__ == "__main__":
    main()
