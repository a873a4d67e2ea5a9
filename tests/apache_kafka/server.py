"""
Apache Kafka in a temporary folder, for the tests and the benchmark of the topic: one node, or a cluster of several.

Maven fetches the version that `pom.xml` names from Maven Central into its own cache; a Java of version 17 or later runs
it. Each node is broker and controller (KRaft). It listens four times on 127.0.0.1: for nodes among themselves, for
everybody without a password (`bootstrap`; such a client may do everything), for users with one (`users`: SASL over
TLS), and for clients with a certificate (`certificates`). What users may do, access control lists say.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import trustme
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from include.demo.ports import draw_free_port
from tests.apache_kafka.token_issuer import AUDIENCE, ISSUER, TokenIssuer

POM = Path(__file__).with_name("pom.xml")
VERSION = re.findall(r"<artifactId>kafka_2\.13</artifactId>\s*<version>(.+?)</version>", POM.read_text())[0]
OLDEST_JAVA = 17

#: The users with a password, for SASL's PLAIN and for nothing else: those of SCRAM are made by an admin client.
PASSWORDS = {"reader": "a secret, with: signs", "describer": "a secret", "nobody": "a secret"}

_CLUSTER_ID = "ecommerce-tests-000000"
#: Seconds for a node to answer, and for Maven to fetch everything.
_START, _DOWNLOAD = 90, 600
#: Bytes of the largest message.
LARGEST = 20_000_000

# The compiler's quick form: a broker of the tests lives for a minute or two.
_JAVA_OF_TESTS = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

_SETTINGS: dict[str, object] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "EVERYBODY",
    "listener.security.protocol.map": ("CONTROLLER:PLAINTEXT,EVERYBODY:PLAINTEXT,USERS:SASL_SSL,CERTIFICATES:SSL"),
    # Clients without a password are ANONYMOUS; users may do what access control lists say, and nothing else.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "message.max.bytes": LARGEST,
    # What it does in the background it does at once, and not every five minutes.
    "log.initial.task.delay.ms": 0,
    "log.retention.check.interval.ms": 200,
    "log.segment.delete.delay.ms": 0,
    "log.cleaner.backoff.ms": 100,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
    "group.initial.rebalance.delay.ms": 0,
    # Small.
    "log.cleaner.dedupe.buffer.size": 4_194_304,
    "num.network.threads": 2,
    "num.io.threads": 2,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "ssl.principal.mapping.rules": "RULE:^(?:.*,)?CN=([^,]+).*$/$1/",
    "listener.name.certificates.ssl.client.auth": "required",
    "listener.name.users.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
    **{
        f"listener.name.users.scram-sha-{bits}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        )
        for bits in (256, 512)
    },
    "listener.name.users.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        + " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
        + ";"
    ),
    "listener.name.users.oauthbearer.sasl.jaas.config": (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
    ),
    "listener.name.users.oauthbearer.sasl.server.callback.handler.class": (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
    ),
    "listener.name.users.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
    "listener.name.users.oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
}


def why_not_here() -> str | None:
    """Why Apache Kafka cannot run on this machine; None if it can."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if not java or not maven:
        absent = [name for name, path in (("java", java), ("mvn", maven)) if not path]
        return f"no {', '.join(absent)} found (Debian: apt-get install default-jre-headless maven)"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if not version or int(version[1]) < OLDEST_JAVA:
        return f"Apache Kafka {VERSION} needs Java {OLDEST_JAVA} or later, and this is {said.splitlines()[:1]}"
    try:
        classpath()
    except RuntimeError as error:
        return str(error)
    return None


def classpath() -> str:
    """
    The paths of the jars, for Java. They stay in Maven's cache; the list of them is kept beside other caches.

    :raises RuntimeError: Maven could not fetch them
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecommerce-warehouse"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"apache-kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}.classpath"
    # Two test processes may come at once, and Maven's cache takes one at a time.
    with (folder / "apache-kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept.exists() and all(Path(jar).exists() for jar in kept.read_text().split(os.pathsep))):
            fetched = subprocess.run(
                [
                    "mvn", "--quiet", "--batch-mode", "--file", str(POM), "dependency:build-classpath",
                    "-Dmdep.includeScope=runtime", f"-Dmdep.outputFile={kept}",
                ],
                capture_output=True, text=True, check=False, timeout=_DOWNLOAD,
            )  # fmt: skip
            if fetched.returncode:
                raise RuntimeError(f"Maven cannot fetch Apache Kafka {VERSION}:\n{fetched.stdout[-3000:]}")
        return kept.read_text()


@dataclass
class Node:
    """One node; it can be frozen, killed and started again, and its messages outlive it."""

    number: int
    folder: Path
    #: Listener → port.
    ports: Mapping[str, int]
    settings: Mapping[str, object]
    java: Sequence[str]
    _process: subprocess.Popen[bytes] | None = None

    def format(self) -> None:
        """Write the settings, and prepare the empty folder of the messages as KRaft wants it."""
        self.folder.mkdir()
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        own = {"node.id": self.number, "listeners": listeners, "log.dirs": self.folder / "data"}
        lines = "\n".join(f"{name}={value}" for name, value in {**self.settings, **own}.items())
        self._properties.write_text(lines.replace("\\", "\\\\") + "\n")
        formatted = subprocess.run(
            [*self._command("kafka.tools.StorageTool"), "format", "-t", _CLUSTER_ID, "-c", str(self._properties)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if formatted.returncode:
            raise RuntimeError(f"Kafka's folder cannot be made:\n{formatted.stdout}{formatted.stderr}")

    @property
    def bootstrap(self) -> str:
        """The address for everybody."""
        return f"127.0.0.1:{self.ports['EVERYBODY']}"

    def start(self) -> None:
        """Start it, without waiting for it to answer."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command("kafka.Kafka"), str(self._properties)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip

    def freeze(self) -> None:
        """Its connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """It answers again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a power cut does; nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    @property
    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    @property
    def log(self) -> str:
        """The end of what it logged."""
        return self._log.read_text()[-4000:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder / "node.log"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _command(self, main: str) -> list[str]:
        return ["java", *self.java, "-Dlog4j2.level=WARN", "-cp", classpath(), main]


@dataclass
class ApacheKafka:
    """A running cluster."""

    folder: Path
    nodes: Sequence[Node]
    #: Who signs the certificates of nodes and clients.
    authority: trustme.CA
    #: Who signs the tokens of OAUTHBEARER.
    issuer: TokenIssuer
    _certificates: dict[str, Path] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        """For everybody: such a client may do everything."""
        return self._addresses("EVERYBODY")

    @property
    def users(self) -> dict[str, str]:
        """For users, by SASL over TLS: the settings of a client, without its user."""
        return {
            "bootstrap.servers": self._addresses("USERS"),
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.folder / "authority.pem"),
        }

    def certificates(self, user: str) -> dict[str, str]:
        """For clients with a certificate: the settings of a client with the one of a user."""
        return {
            "bootstrap.servers": self._addresses("CERTIFICATES"),
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.folder / "authority.pem"),
            "ssl.certificate.location": str(certificate(self.authority, user, self.folder)),
            "ssl.key.location": str(certificate(self.authority, user, self.folder)),
        }

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def wait_until_it_answers(self) -> None:
        """Wait until all nodes are known as brokers that take requests."""
        deadline = time.monotonic() + _START
        while True:
            try:
                if len(self.admin.list_topics(timeout=1).brokers) == len(self.nodes):
                    return
            except KafkaException:
                pass
            ended = [node for node in self.nodes if node.has_ended]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"Apache Kafka {VERSION} did not start:\n{(ended or self.nodes)[0].log}")
            time.sleep(0.05)

    def _addresses(self, listener: str) -> str:
        return ",".join(f"127.0.0.1:{node.ports[listener]}" for node in self.nodes)


def certificate(authority: trustme.CA, name: str, folder: Path) -> Path:
    """A file with a key in the form that Kafka takes, and a certificate of that name."""
    path = folder / f"{name}.pem"
    if not path.exists():
        issued = authority.issue_cert("127.0.0.1", common_name=name)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        pems = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
        pems += [pem.bytes() for pem in issued.cert_chain_pems]
        path.write_bytes(b"".join(pems))
    return path


@contextmanager
def apache_kafka(
    nodes: int = 1, settings: Mapping[str, object] | None = None, java: Sequence[str] = _JAVA_OF_TESTS
) -> Iterator[ApacheKafka]:
    """
    Start a cluster; at the end stop it and delete its data.

    :param settings: of the nodes, added to those that make them small and quick
    :param java: options of Java
    :raises RuntimeError: Maven cannot fetch it, or it does not start
    """
    folder = Path(tempfile.mkdtemp(prefix="ecommerce-apache-kafka-", dir="/var/tmp"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    names = ("CONTROLLER", "EVERYBODY", "USERS", "CERTIFICATES")
    ports = [{name: draw_free_port(f"{name}_{number}", folder) for name in names} for number in range(nodes)]
    with TokenIssuer() as issuer:
        replicas = min(nodes, 3)
        common = _SETTINGS | {
            "controller.quorum.voters": ",".join(
                f"{number}@127.0.0.1:{its['CONTROLLER']}" for number, its in enumerate(ports, 1)
            ),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": 1,
            "ssl.keystore.location": certificate(authority, "node", folder),
            "ssl.truststore.location": folder / "authority.pem",
            "listener.name.users.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": issuer.keys_url,
            **(settings or {}),
        }
        options = [*java, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.keys_url}"]
        made = [Node(number, folder / f"node_{number}", its, common, options) for number, its in enumerate(ports, 1)]
        cluster = ApacheKafka(folder, made, authority, issuer)
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(Node.format, made))
            for node in made:
                node.start()
            cluster.wait_until_it_answers()
            yield cluster
        finally:
            for node in made:
                node.kill()
            shutil.rmtree(folder, ignore_errors=True)
