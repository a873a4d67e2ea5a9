"""Brokers of the tests' own, to be stopped, killed and started again: the demo's, and Apache Kafka."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from importlib.resources import files
from pathlib import Path

from confluent_kafka import Producer

from tests.apache_kafka.server import ApacheKafka

#: A topic that no test reads.
_TOPIC_OF_NO_ONE = "of_no_one"


class Broker:
    """The demo stack's broker, as a child of the tests; its messages outlive it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.start()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    Path(str(files("noida_db"))) / "noida-db", "start", "--only", "kafka", "--host", "127.0.0.1",
                    "--kafka-port", str(self._port), "--data-dir", self._folder / "data",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "broker.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the broker does not answer"
            time.sleep(0.05)

    def freeze(self) -> None:
        """Its connections stay open, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)
        # The signal stops one thread after the other; until the last, it may still answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def heal(self) -> bool:
        """It answers again; whether it had been killed: then it needs a moment to read what it held."""
        if was_killed := self._process.poll() is not None:
            self.start()
        else:
            self._process.send_signal(signal.SIGCONT)
        return was_killed

    def wait_until_saved(self, since: float) -> None:
        """
        Wait until what it was given before that time is on its disk.

        It writes once a second, and only if something has changed. What it was given may have been written just before
        that time, and nothing would follow: so it gets messages of no one's until it has written again.
        """
        saved, deadline = self._folder / "data" / "kafka.json", time.monotonic() + 10
        producer, next_message = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0}), time.monotonic()
        while not (saved.exists() and saved.stat().st_mtime >= since):
            assert time.monotonic() < deadline, "the broker does not write down what it was given"
            if time.monotonic() >= next_message:
                producer.produce(_TOPIC_OF_NO_ONE, b"")
                assert producer.flush(10) == 0, "the broker does not take a message"
                next_message = time.monotonic() + 0.5
            time.sleep(0.05)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


class ApacheBroker:
    """Apache Kafka of one node; what it was given is in the system's hands at once, and outlives its process."""

    def __init__(self, kafka: ApacheKafka) -> None:
        self._kafka = kafka
        (self._node,) = kafka.nodes

    @property
    def bootstrap(self) -> str:
        return self._kafka.bootstrap

    def freeze(self) -> None:
        """Its connections stay open, and nothing is answered."""
        self._node.freeze()

    def heal(self) -> bool:
        """It answers again; whether it had been killed."""
        if was_killed := self._node.has_ended:
            self._node.start()
            self._kafka.wait_until_it_answers()
        else:
            self._node.thaw()
        return was_killed

    def wait_until_saved(self, since: float) -> None:
        """Nothing to wait for."""

    def kill(self) -> None:
        self._node.kill()


AnyBroker = Broker | ApacheBroker
