"""
Histories from a seed: sources change, windows are loaded, and most loads meet a fault.

A twin of the warehouse takes part, in which every load that committed happens without a fault.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from psycopg import Connection, sql

from ecommerce.common import fault_points
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract.readers import reader_of
from ecommerce.load.batches import RunIdentity, reach_back
from ecommerce.load.loader import load
from tests.faults.broker import Broker
from tests.faults.invariants import check, is_committed, no_trace_of_sessions
from tests.faults.place import DAYS, FIRST, LAST, PARTITIONS, Place, event, order
from tests.faults.proxy import Proxy, Towards
from tests.faults.tries import Try
from tests.faults.weather_api import CITIES, Fault
from tests.integration.support import Row

#: Loads of one history, beside those that settle it.
LOADS = 6


@dataclass
class Stage:
    """
    Where a history happens.

    :param twin: an empty warehouse of the same form
    :param warehouse: a proxy in front of the warehouse; ``shop`` likewise
    """

    place: Place
    twin: Connection
    warehouse: Proxy
    shop: Proxy
    broker: Broker


def play(seed: int, stage: Stage) -> Iterator[str]:
    """Let the history of the seed happen, and judge it; what happened, step by step."""
    yield from _History(seed, stage).steps()


def state_of(connection: Connection) -> dict[str, Counter]:
    """What a warehouse holds, without when and by which batch: raw with every version, quarantine, positions, marks."""
    held = {}
    for name, source in SOURCES.items():
        columns = [column.name for column in source.loaded_columns]
        if "_is_deleted" in _columns_of(connection, name):
            columns.append("_is_deleted")
        query = sql.SQL("select {} from {}").format(
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column in columns),
            sql.Identifier("raw", name),
        )
        held[f"raw.{name}"] = Counter(connection.execute(query).fetchall())
    for name, query_text in {
        "quarantine": "select source, reason, payload::text from ops.quarantine",
        "positions": 'select topic, "partition", next_offset from ops.kafka_offset',
        "marks": "select distinct source, dirty_date from ops.dirty_date",
    }.items():
        held[name] = Counter(connection.execute(query_text).fetchall())
    return held


def _columns_of(connection: Connection, table: str) -> set[str]:
    return {
        name
        for (name,) in connection.execute(
            "select column_name from information_schema.columns where table_schema = 'raw' and table_name = %s", [table]
        )
    }


class _History:
    def __init__(self, seed: int, stage: Stage) -> None:
        self.rng = random.Random(seed)
        self.stage = stage
        self.place = stage.place
        self.orders = 400
        self.events = 80
        self.runs = 0
        self.changes: list[Callable[[], str]] = [
            self.order_comes, self.order_comes, self.order_changes, self.order_goes, self.refund, self.customer,
            self.product, self.category, self.messages, self.weather,
        ]  # fmt: skip
        self.faults: list[Callable[[str, dict[str, Any]], Try]] = [
            self.no_fault, self.killed, self.killed, self.raises, self.cut, self.cut, self.commit_lost,
            self.answer_lost, self.answer_lost, self.session_ended, self.api_fails, self.declared_dead,
        ]  # fmt: skip
        self.faults_of = {"kafka_stream": [*self.faults, *[self.broker_freezes, self.broker_killed] * 3]}

    def steps(self) -> Iterator[str]:
        for _ in range(LOADS):
            for _ in range(self.rng.randint(0, 4)):
                yield self.rng.choice(self.changes)()
            yield from self.load()
        yield from self.settle()

    def load(self) -> Iterator[str]:
        """One load, tried until it succeeds or is given up, then the same in the twin if it committed."""
        self.runs += 1
        run_id, source = f"run_{self.runs}", self.rng.choice(list(SOURCES))
        first = self.rng.choice(DAYS)
        last = self.rng.choice([day for day in DAYS if day >= first])
        yield f"{run_id}: {source} {first} to {last}"
        for number in range(1, self.rng.randint(2, 4)):
            fault = self.rng.choice(self.faults_of.get(source, self.faults)) if number < 3 else self.no_fault
            order = {"first": first, "last": last, "run_id": run_id, "try_number": number, "patience": 1.0}
            outcome = fault(source, order).wait()
            self.stage.warehouse.heal()
            self.stage.shop.heal()
            self.place.weather.faults.clear()
            if self.stage.broker.heal():
                self.place.wait_for_messages()
            yield f"  try {number}, {fault.__name__}: exit {outcome.exit_code} {outcome.error or outcome.figures}"
            no_trace_of_sessions(self.place)
            if outcome.is_success:
                break
        times = is_committed(self.place, run_id, source)
        assert times <= 1, f"{run_id} has loaded {source} {times} times"
        assert times == 1 or not outcome.is_success
        if times:
            self.load_twin(source, first, last)
        yield f"  committed: {bool(times)}"
        self.compare()

    def settle(self) -> Iterator[str]:
        """Every window of every source, without a fault, in both; then all must be true, and both the same."""
        for source in SOURCES:
            outcome = self.place.load(source, run_id="settled")
            assert outcome.is_success, outcome.log
            self.load_twin(source, FIRST, LAST)
        yield "all windows, without a fault"
        self.compare()
        check(self.place, *SOURCES)

    def load_twin(self, source: str, first: str, last: str) -> None:
        window = Window.of_days(date.fromisoformat(first), date.fromisoformat(last))
        entry = SOURCES[source]
        window = reach_back(self.stage.twin, entry, window)
        load(self.stage.twin, entry, window, reader_of, run=RunIdentity("twin", str(self.runs)))

    def compare(self) -> None:
        mine, theirs = state_of(self.place.connection), state_of(self.stage.twin)
        for name, rows in mine.items():
            assert rows == theirs[name], (
                f"{name}: only after faults {rows - theirs[name]}, only without {theirs[name] - rows}"
            )

    # What happens to the sources.

    def order_comes(self) -> str:
        day = self.rng.choice(DAYS)
        # Some are recorded days after they were made.
        ordered = self.rng.choice([other for other in DAYS if other <= day])
        rows = []
        for _ in range(self.rng.randint(1, 30)):
            line_number = self.rng.choice((None, None, "2"))
            amount = self.rng.choice(("5", "12.5", "-1"))
            rows.append(order(self.orders, amount, day, order_date=ordered, line_number=line_number))
            self.orders += 1
        self.place.put("sales_fact", *rows)
        return f"{len(rows)} orders of {ordered}, recorded on {day}"

    def order_changes(self) -> str:
        number, day = self.rng.randrange(self.orders), self.rng.choice(DAYS)
        self.place.put("sales_fact", order(number, str(self.rng.randint(1, 9)), day))
        return f"order {number} changes, recorded on {day}"

    def order_goes(self) -> str:
        number = self.rng.randrange(self.orders)
        self.place.remove("sales_fact", order(number, "1")["order_id"], self.rng.choice((None, "2")))
        return f"order {number} goes"

    def refund(self) -> str:
        number, day = self.rng.randrange(60), self.rng.choice(DAYS)
        row: Row = {
            "refund_id": f"R{number}", "order_id": f"O{self.rng.randrange(self.orders):04}",
            "line_number": self.rng.choice((None, "1", "2")), "refund_date": day,
            "refund_amount": self.rng.choice(("1", "2.5", "0")), "created_at": f"{self.rng.choice(DAYS)} 10:00:00",
        }  # fmt: skip
        self.place.put("refund", row)
        return f"refund {number} comes or changes"

    def customer(self) -> str:
        customer = f"C{self.rng.randint(1, 45)}"
        if self.rng.random() < 0.3:
            self.place.remove("customer", customer)
            return f"customer {customer} goes"
        self.place.put("customer", {"customer_id": customer, "customer_name": self.rng.choice("ABC")})
        return f"customer {customer} comes or changes"

    def product(self) -> str:
        product = f"P{self.rng.randint(1, 33)}"
        if self.rng.random() < 0.3:
            self.place.remove("product", product)
            return f"product {product} goes"
        self.place.put("product", {"product_id": product, "product_name": self.rng.choice(("Cup", "Pot", None))})
        return f"product {product} comes or changes"

    def category(self) -> str:
        row: Row = {
            "product_id": f"P{self.rng.randint(1, 33)}", "category_id": self.rng.choice(("K1", "K2")),
            "category_name": "Tea", "cost_price": self.rng.choice(("1.10", "2", "-3")),
            "last_updated": self.rng.choice((None, *DAYS)),
        }  # fmt: skip
        self.place.put("product_category", row)
        return f"the category of {row['product_id']} changes"

    def messages(self) -> str:
        number = self.rng.randint(1, 20)
        # The broker's time never goes back.
        for _ in range(number):
            value = "no JSON" if self.rng.random() < 0.1 else event(self.events)
            self.place.send((self.rng.randrange(PARTITIONS), DAYS[-1], value))
            self.events += 1
        return f"{number} messages"

    def weather(self) -> str:
        city, day = self.rng.choice(list(CITIES)), self.rng.choice(DAYS)
        temperature, precipitation = self.rng.choice(("1.5", "22.5", None)), self.rng.choice(("0.5", "-2.5"))
        self.place.weather.measured[city, day] = (temperature, precipitation)
        return f"the weather of {city} on {day}"

    # What happens to a try.

    def no_fault(self, source: str, order: dict[str, Any]) -> Try:
        return self.place.start(source, **order)

    def killed(self, source: str, order: dict[str, Any]) -> Try:
        return self.place.start(source, **order, fault=f"{self.rng.choice(list(fault_points.POINTS))}:kill")

    def raises(self, source: str, order: dict[str, Any]) -> Try:
        return self.place.start(source, **order, fault=f"{self.rng.choice(list(fault_points.POINTS))}:raise")

    def cut(self, source: str, order: dict[str, Any]) -> Try:
        line = self.rng.choice(("warehouse", "shop"))
        towards: Towards = self.rng.choice(("server", "client"))
        proxy = getattr(self.stage, line)
        proxy.cut_after(int(10 ** self.rng.uniform(0, 4.7)), towards)
        return self.place.start(source, **order, **{line: proxy})

    def commit_lost(self, source: str, order: dict[str, Any]) -> Try:
        return self.at_commit(source, order, self.stage.warehouse.lose_commit)

    def answer_lost(self, source: str, order: dict[str, Any]) -> Try:
        return self.at_commit(source, order, self.stage.warehouse.lose_answer_to_commit)

    def at_commit(self, source: str, order: dict[str, Any], happens: Callable[[], None]) -> Try:
        broken = self.place.start(source, **order, warehouse=self.stage.warehouse, fault="before_commit:stop")
        if broken.stops():
            happens()
            broken.resume()
        return broken

    def session_ended(self, source: str, order: dict[str, Any]) -> Try:
        ended = self.place.start(source, **order, fault=f"{self.rng.choice(list(fault_points.POINTS))}:stop")
        if ended.stops():
            database = self.rng.choice((self.place.warehouse_dsn, self.place.shop_dsn))
            self.place.terminate(ended, database)
            ended.resume()
        return ended

    def declared_dead(self, source: str, order: dict[str, Any]) -> Try:
        """A zombie: it stops, loses its session, a load of another run takes its place, and it goes on."""
        zombie = self.place.start(source, **order, fault=f"{self.rng.choice(list(fault_points.POINTS))}:stop")
        if zombie.stops():
            self.place.terminate(zombie, self.place.warehouse_dsn)
            successor = self.place.load(source, order["first"], order["last"], run_id=f"{order['run_id']} successor")
            assert successor.is_success, successor.log
            self.load_twin(source, order["first"], order["last"])
            zombie.resume()
        return zombie

    def api_fails(self, source: str, order: dict[str, Any]) -> Try:
        kinds: tuple[Fault, ...] = ("429", "500", "half a body", "wrong JSON", "no JSON", "resets")
        self.place.weather.faults.extend([self.rng.choice(kinds)] * self.rng.choice((1, 8)))
        return self.place.start(source, **order)

    def broker_freezes(self, source: str, order: dict[str, Any]) -> Try:
        return self.at_broker(source, order, self.stage.broker.freeze)

    def broker_killed(self, source: str, order: dict[str, Any]) -> Try:
        self.stage.broker.wait_until_saved(self.place.sent_at)
        return self.at_broker(source, order, self.stage.broker.kill)

    def at_broker(self, source: str, order: dict[str, Any], happens: Callable[[], None]) -> Try:
        reading = self.place.start(source, **order, fault=f"{self.rng.choice(list(fault_points.POINTS))}:stop")
        if reading.stops():
            happens()
            reading.resume()
        return reading
