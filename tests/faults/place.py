"""All sources of the registry, a warehouse, and tries to load from the ones into the other."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from psycopg import sql

from ecommerce.common.fault_points import VARIABLE
from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES, WriteDisposition
from ecommerce.common.windows import Window
from ecommerce.extract.postgres_relation import relation_of
from tests.faults.proxy import Proxy
from tests.faults.task import Order
from tests.faults.tries import Outcome, Try, session_name
from tests.faults.weather_api import CITIES, WeatherApi
from tests.integration.support import Loader, Row

FIRST, LAST = "2024-03-01", "2024-03-04"
DAYS = ["2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04"]
PARTITIONS = 3
TABLES = [name for name, source in SOURCES.items() if source.reader == "database"]

#: A row of a source or of raw, as texts.
Values = tuple[str | None, ...]


@dataclass
class Place:
    """
    The sources and the warehouse, reached by the tests directly and by the tries through what the test puts between.

    :param admin: a session of the server's superuser: it sees and ends the tries' sessions
    """

    warehouse_dsn: str
    shop_dsn: str
    bootstrap: str
    weather: WeatherApi
    folder: Path
    connection: psycopg.Connection
    shop: psycopg.Connection
    admin: psycopg.Connection
    topic: str = ""
    #: partition → the messages' values, by offset
    sent: dict[int, list[str]] = field(default_factory=dict)
    #: when the last of them was
    sent_at: float = 0.0
    _numbers: itertools.count = field(default_factory=lambda: itertools.count(1))

    def empty(self) -> None:
        """An empty warehouse, empty tables, a new topic, an API that measured nothing and does no wrong."""
        Loader(self.connection).empty()
        for table in TABLES:
            self.shop.execute(sql.SQL("delete from {}").format(sql.Identifier(table)))
        self.topic = f"t{os.urandom(6).hex()}"
        wanted = NewTopic(self.topic, PARTITIONS, replication_factor=1, config={"retention.ms": "-1"})
        admin = AdminClient(self._kafka)
        admin.create_topics([wanted])[self.topic].result(timeout=20)
        self.sent = {partition: [] for partition in range(PARTITIONS)}
        self.weather.measured.clear()
        self.weather.faults.clear()

    def wait_for_messages(self, seconds: float = 20) -> None:
        """Wait until a broker that was started again has read what it held."""
        consumer, deadline = Consumer({**self._kafka, "group.id": "tests"}), time.monotonic() + seconds
        for partition, values in self.sent.items():
            while True:
                with contextlib.suppress(KafkaException):
                    if consumer.get_watermark_offsets(TopicPartition(self.topic, partition), 1.0) == (0, len(values)):
                        break
                assert time.monotonic() < deadline, "the broker has lost messages"
                time.sleep(0.05)
        consumer.close()

    @property
    def kafka_connection(self) -> str:
        """The Airflow connection of the broker."""
        return json.dumps({"conn_type": "kafka", "extra": {"bootstrap.servers": self.bootstrap, "group.id": "tests"}})

    @property
    def _kafka(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap, "log_level": 0}

    def put(self, table: str, *rows: Row) -> None:
        """Rows of a table of the shop; each takes the place of the one with its key."""
        key = SOURCES[table].key
        with self.shop.transaction(), self.shop.cursor() as cursor:
            for row in rows:
                self.remove(table, *(row.get(name) for name in key))
            names = list(dict.fromkeys(name for row in rows for name in row))
            cursor.executemany(
                sql.SQL("insert into {} ({}) values ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, names)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(names)),
                ),
                [[row.get(name) for name in names] for row in rows],
            )

    def remove(self, table: str, *key: str | None) -> None:
        condition = sql.SQL(" and ").join(
            sql.SQL("{} is not distinct from {}").format(sql.Identifier(name), sql.Placeholder())
            for name in SOURCES[table].key
        )
        self.shop.execute(sql.SQL("delete from {} where {}").format(sql.Identifier(table), condition), key)

    def send(self, *messages: tuple[int, str, str]) -> None:
        """Messages: partition, the day the broker has it, value."""
        producer = Producer({**self._kafka, "compression.type": "zstd", "linger.ms": 0})
        for partition, day, value in messages:
            at = datetime.fromisoformat(day).replace(tzinfo=UTC)
            producer.produce(self.topic, value, None, partition, timestamp=int(at.timestamp() * 1000))
            self.sent[partition].append(value)
        assert producer.flush(20) == 0
        self.sent_at = time.time()

    def fill(self) -> None:
        """A shop of some days, with a few rows that must be refused in each kind of source."""
        self.put("customer", *({"customer_id": f"C{n}", "customer_name": f"Name {n}"} for n in range(40)))
        self.put("product", *({"product_id": f"P{n}", "product_name": "Cup" if n else None} for n in range(30)))
        self.put("product_category", *(_category(n) for n in range(30)))
        self.put("subscription_data", *(_subscription(n) for n in range(20)))
        self.put("sales_fact", *(order(n, "-1" if n % 100 == 7 else str(n)) for n in range(400)))
        self.put("sales_fact", *(order(n, str(n), line_number="2", product_id="P3") for n in range(0, 400, 20)))
        self.put("refund", *(_refund(n) for n in range(30)))
        self.send(*((n % PARTITIONS, DAYS[n // 20], "no JSON" if n % 30 == 7 else event(n)) for n in range(80)))
        for city, day in itertools.product(CITIES, DAYS):
            self.weather.measured[city, day] = ("12.5", "-1.5" if (city, day) == ("Oslo", DAYS[1]) else "0.5")

    def grow(self) -> None:
        """So many customers that they fill the buffers between any two processes."""
        self.shop.execute(
            "insert into customer (customer_id, customer_name)"
            " select 'L' || n, repeat('x', 900) from generate_series(1, 20000) as n"
        )

    def start(
        self,
        source: str,
        first: str = FIRST,
        last: str = LAST,
        *,
        run_id: str = "a_run",
        try_number: int = 1,
        fault: str | None = None,
        warehouse: Proxy | None = None,
        shop: Proxy | None = None,
        options: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Try:
        """
        Start a try.

        :param fault: the point to arm, see `ecommerce.common.fault_points`
        :param warehouse: the proxy by which it reaches the warehouse; ``shop`` likewise
        :param options: what its two Postgres connections say in their extra
        :param environment: variables of its process beside its connections
        """
        number = next(self._numbers)
        extra = {"application_name": session_name(number), **(options or {})}
        variables = {
            "AIRFLOW_CONN_WAREHOUSE_LOADER": _uri(self.warehouse_dsn, warehouse, extra),
            "AIRFLOW_CONN_SHOP_POSTGRES": _uri(self.shop_dsn, shop, extra),
            "AIRFLOW_CONN_SHOP_KAFKA": self.kafka_connection,
            "AIRFLOW_CONN_WEATHER_API": self.weather.url,
            "AIRFLOW_VAR_WEATHER_CITIES": json.dumps(CITIES),
            VARIABLE: fault or "",
            **(environment or {}),
        }
        return Try(
            Order(
                number=number, source=source, first=first, last=last, run_id=run_id, try_number=try_number,
                environment=variables, topic=self.topic, folder=self.folder, **settings,
            )
        )  # fmt: skip

    def load(self, source: str, first: str = FIRST, last: str = LAST, **settings: Any) -> Outcome:
        """A try, and its end."""
        return self.start(source, first, last, **settings).wait()

    def retry(self, source: str, first: str = FIRST, last: str = LAST, **settings: Any) -> dict[str, Any]:
        """The second try of the same task, without a fault; what it reports."""
        outcome = self.load(source, first, last, try_number=2, **settings)
        assert outcome.is_success, f"{outcome.error}\n{outcome.log}"
        assert outcome.figures is not None
        return outcome.figures

    def terminate(self, of: Try, database: str) -> int:
        """End a try's sessions in one of the databases, as an administrator would; how many there were."""
        ended = self.admin.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = %s and datname = %s",
            [of.session_name, urlsplit(database).path.lstrip("/")],
        ).fetchall()
        assert all(is_ended for (is_ended,) in ended)
        return len(ended)

    def rows(self, query: str, parameters: Any = ()) -> list[tuple]:
        return self.connection.execute(query.encode(), parameters or None).fetchall()

    def batches(self) -> list[tuple]:
        return self.rows("select status, rows_read, rows_loaded, rows_unchanged, rows_quarantined, rows_removed"
                         " from ops.load_batch order by batch_id")  # fmt: skip

    def raw(self, source: str) -> Counter[Values]:
        """What raw holds of a source: business columns as texts, of a version log the latest versions."""
        entry = SOURCES[source]
        names = [column.name for column in entry.columns]
        if entry.write_disposition is WriteDisposition.APPEND:
            names += ["_partition", "_offset"]
        texts = sql.SQL(", ").join(sql.SQL("held.{}::text").format(sql.Identifier(name)) for name in names)
        table: sql.Composable = sql.Identifier("raw", source)
        if entry.write_disposition is WriteDisposition.VERSION_LOG:
            key = sql.SQL(", ").join(map(sql.Identifier, entry.key))
            table = sql.SQL(
                "(select * from (select distinct on ({key}) * from {table} order by {key}, _batch_id desc) as latest"
                " where not _is_deleted)"
            ).format(key=key, table=table)
        return Counter(self.connection.execute(sql.SQL("select {} from {} as held").format(texts, table)).fetchall())

    def source(self, source: str) -> Counter[Values]:
        """The same of the source itself."""
        names = [column.name for column in SOURCES[source].columns]
        if source == "kafka_stream":
            return Counter(
                (*(json.loads(value).get(name) if value.startswith("{") else value for name in names), str(p), str(o))
                for p, values in self.sent.items()
                for o, value in enumerate(values)
            )
        if source == "weather_data":
            return Counter(self._weather())
        texts = sql.SQL(", ").join(
            sql.SQL("coalesce({}::text, {})").format(sql.Identifier(column.name), sql.Literal(column.default))
            for column in SOURCES[source].columns
        )
        # As the profile says where the source lies.
        relation = relation_of(
            SOURCES[source], shop().location_of(source), Window.of_days(*map(date.fromisoformat, (FIRST, LAST)))
        ).rows(None)
        return Counter(self.shop.execute(sql.SQL("select {} from {}").format(texts, relation)).fetchall())

    def _weather(self) -> Iterator[Values]:
        """What the API has measured; where raw has a value that it has no more, with that value."""
        held = {(day, city): (t, p) for day, t, p, city in self.raw("weather_data")}
        for (city, day), measured in self.weather.measured.items():
            before = held.get((day, city), (None, None))
            kept = tuple(value or old for value, old in zip(measured, before, strict=True))
            t, p = kept if kept == before else measured
            if t or p:
                yield (day, t, p, city)

    def quarantined(self, source: str) -> Counter[Values]:
        """What is in quarantine of a source, in the same form."""
        names = [column.name for column in SOURCES[source].columns]
        defaults = {column.name: column.default for column in SOURCES[source].columns}
        found: Counter[Values] = Counter()
        # What was refused since raw held a later row of its key may be taken when that one is gone.
        query = "select payload from ops.quarantine where source = %s and reason not like '%%is held already%%'"
        for (payload,) in self.rows(query, [source]):
            if source == "kafka_stream":
                value = payload["value"]
                fields = json.loads(value) if value.startswith("{") else dict.fromkeys(names, value)
                found[*(fields.get(name) for name in names), str(payload["partition"]), str(payload["offset"])] += 1
            else:
                found[*(payload[name] or defaults.get(name) for name in names),] += 1
        return found


def order(number: int, amount: str, day: str | None = None, **values: str | None) -> Row:
    day = day or DAYS[number % len(DAYS)]
    return {
        "order_id": f"O{number:04}", "product_id": f"P{number % 25}", "customer_id": f"C{number % 35}",
        "order_date": day, "order_amount": amount, "order_quantity": "1", "payment_method": "card",
        "discount_applied": "0.1", "shipping_cost": "2.50", "created_at": f"{day} 10:00:00", **values,
    }  # fmt: skip


def _refund(number: int) -> Row:
    day = DAYS[number % len(DAYS)]
    return {
        "refund_id": f"R{number}", "order_id": f"O{number * 10:04}", "line_number": "2" if number % 2 else None,
        "refund_date": day, "refund_amount": "-1" if number == 3 else "1.50", "created_at": f"{day} 11:00:00",
    }  # fmt: skip


def event(number: int) -> str:
    return json.dumps(
        {
            "customer_id": f"C{number % 35}", "product_id": f"P{number % 25}", "interaction_type": "view",
            "timestamp": f"{DAYS[number % len(DAYS)]} 10:00:{number % 60:02}+00",
        }
    )  # fmt: skip


def _category(number: int) -> Row:
    return {
        "product_id": f"P{number}", "category_id": "K1", "category_name": "Tea", "cost_price": "1.10",
        "stock_level": str(number), "discontinued": "f", "last_updated": DAYS[number % 4] if number % 3 else None,
        "retail_price": "-1" if number == 3 else "9.99",
    }  # fmt: skip


def _subscription(number: int) -> Row:
    return {
        "customer_id": str(number), "subscription_id": f"S{number}", "plan_type": "plus",
        "subscription_start_date": DAYS[0], "monthly_fee": "-1" if number == 3 else "9.99",
    }  # fmt: skip


def _uri(dsn: str, proxy: Proxy | None, extra: Mapping[str, str]) -> str:
    parts = urlsplit(dsn)
    netloc = f"{parts.username}:{parts.password}@{parts.hostname}:{proxy.port if proxy else parts.port}"
    return parts._replace(netloc=netloc, query=urlencode(extra)).geturl()
