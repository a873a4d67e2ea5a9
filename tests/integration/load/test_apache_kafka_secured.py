"""Reading a topic from Apache Kafka as a user with limited rights: SASL, tokens, certificates, access control lists."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from ecommerce.common.errors import SourceError
from tests.apache_kafka.server import PASSWORDS, ApacheKafka, certificate
from tests.apache_kafka.token_issuer import TokenIssuer
from tests.integration.load.conftest import on_apache_kafka
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.load.test_kafka_gaps import TODAY, expire, gaps, send, transactional, wait_until_stable
from tests.integration.support import Loader

pytestmark = on_apache_kafka

#: User → what it may do with topics.
RIGHTS = {"reader": (AclOperation.READ,), "describer": (AclOperation.DESCRIBE,), "nobody": ()}

Settings = dict[str, str]

#: The callback that a connection may name: `oauth_cb`, as for MSK's IAM and Google's Managed Kafka.
_CALLBACK = f"{__name__}.token_by_callback"
_issuers: list[TokenIssuer] = []


def token_by_callback(_: str) -> tuple[str, float]:
    return _issuers[-1].token("reader"), time.time() + 300


@pytest.fixture(scope="module")
def users(apache_kafka: ApacheKafka) -> ApacheKafka:
    """The broker with the users of `RIGHTS`; none of them has a right on consumer groups."""
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        changes: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), PASSWORDS[user].encode())
            for user in RIGHTS
        ]
        for done in apache_kafka.admin.alter_user_scram_credentials(changes).values():
            done.result(20)
    bindings = [
        AclBinding(
            ResourceType.TOPIC, "t", ResourcePatternType.PREFIXED, f"User:{user}", "*", right, AclPermissionType.ALLOW
        )
        for user, rights in RIGHTS.items()
        for right in rights
    ]
    for done in apache_kafka.admin.create_acls(bindings).values():
        done.result(20)
    return apache_kafka


def with_password(users: ApacheKafka, mechanism: str, user: str = "reader", password: str | None = None) -> Settings:
    return users.users | {
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": PASSWORDS[user] if password is None else password,
    }


def with_token(users: ApacheKafka, client: str = "reader", secret: str | None = None) -> Settings:
    return users.users | {
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": users.issuer.token_url,
        "sasl.oauthbearer.client.id": client,
        "sasl.oauthbearer.client.secret": users.issuer.secret if secret is None else secret,
    }


def with_callback(users: ApacheKafka) -> Settings:
    _issuers.append(users.issuer)
    return users.users | {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": _CALLBACK}


LOGINS: dict[str, Callable[[ApacheKafka], Settings]] = {
    "PLAIN": lambda users: with_password(users, "PLAIN"),
    "SCRAM-SHA-256": lambda users: with_password(users, "SCRAM-SHA-256"),
    "SCRAM-SHA-512": lambda users: with_password(users, "SCRAM-SHA-512"),
    "OAUTHBEARER, OIDC": with_token,
    "OAUTHBEARER, callback": with_callback,
    "mTLS": lambda users: users.certificates("reader"),
}


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], None]:
    """Let the connection `shop_kafka` have these settings."""
    monkeypatch.setenv("AIRFLOW__APACHE_KAFKA__CALLBACK_ALLOWLIST", _CALLBACK)

    def connect(settings: Settings) -> None:
        extra = {**settings, "log_level": "0"}
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_KAFKA", json.dumps({"conn_type": "kafka", "extra": extra}))

    return connect


def refused(loader: Loader) -> str:
    with pytest.raises(SourceError) as error:
        loader.load("kafka_stream", "2024-03-01")
    assert next_offsets(loader) == {}
    return str(error.value)


@pytest.mark.parametrize("login", LOGINS)
def test_topic_is_read_by_user_with_read_alone(
    loader: Loader, users: ApacheKafka, produce: Produce, connect: Callable[[Settings], None], login: str
) -> None:
    """By each way to log in, without a right on the consumer group, and exactly once."""
    for partition in range(3):
        produce(event(f"c{partition}", "2024-03-01T10:00:00"), partition=partition)
    asked = len(users.issuer.asked)
    connect(LOGINS[login](users))
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == 3
    assert customer_counts(loader) == once("c0", "c1", "c2")
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 0
    assert loader.value("select count(*) from ops.kafka_offset where topic_id is not null") == 3
    assert (len(users.issuer.asked) > asked) == (login == "OAUTHBEARER, OIDC")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_wrong_password_is_named_in_error(
    loader: Loader,
    users: ApacheKafka,
    topic: str,
    connect: Callable[[Settings], None],
    impatient: None,
    mechanism: str,
) -> None:
    connect(with_password(users, mechanism, password="another"))
    sentence = refused(loader)
    assert "at the connection 'shop_kafka' cannot be read: " in sentence
    assert "Authentication failed" in sentence
    assert "another" not in sentence


def test_refused_token_is_named_in_error(
    loader: Loader, users: ApacheKafka, topic: str, connect: Callable[[Settings], None], impatient: None
) -> None:
    """By the issuer, since the secret is wrong; by the broker, since the token is too old."""
    connect(with_token(users, secret="another"))
    sentence = refused(loader)
    assert "wrong secret" in sentence
    assert "another" not in sentence
    users.issuer.lifetime = -100
    try:
        connect(with_callback(users))
        assert "invalid_token" in refused(loader)
    finally:
        users.issuer.lifetime = 300


def test_refused_certificate_is_named_in_error(
    loader: Loader,
    users: ApacheKafka,
    topic: str,
    connect: Callable[[Settings], None],
    impatient: None,
    tmp_path: Path,
) -> None:
    """One that another authority has signed, and none at all."""
    other = str(certificate(trustme.CA(), "reader", tmp_path))
    connect(users.certificates("reader") | {"ssl.certificate.location": other, "ssl.key.location": other})
    assert "SSL" in refused(loader)
    without = users.certificates("reader")
    del without["ssl.certificate.location"], without["ssl.key.location"]
    connect(without)
    assert "SSL" in refused(loader)


@pytest.mark.parametrize(("user", "right"), [("nobody", "Describe"), ("describer", "Read")])
def test_absent_right_is_named_in_error(
    loader: Loader,
    users: ApacheKafka,
    topic: str,
    produce: Produce,
    connect: Callable[[Settings], None],
    user: str,
    right: str,
) -> None:
    produce(event("c", "2024-03-01T10:00:00"))
    connect(with_password(users, "SCRAM-SHA-512", user))
    sentence = refused(loader)
    assert sentence.startswith(f"kafka_stream: topic '{topic}' at the connection 'shop_kafka' cannot be read: ")
    assert sentence.endswith(
        "Broker: Topic authorization failed; its user needs the rights Describe and Read on the topic, and lacks "
        f"{right} (docs/kafka.md, 'The connection')"
    )


def test_user_without_describe_configs_gets_no_cause_of_a_gap(
    loader: Loader, users: ApacheKafka, topic: str, produce: Produce, connect: Callable[[Settings], None]
) -> None:
    """Of retention it does: that needs no right."""
    produce(*(event(f"c{number}", "2024-03-01T10:00:00") for number in range(3)))
    producer = transactional(users.bootstrap, topic)
    send(producer, topic, "aborted")
    producer.abort_transaction(20)
    wait_until_stable(users.bootstrap, topic)
    expire(users.admin, topic, 2)
    connect(with_password(users, "SCRAM-SHA-512"))
    loader.load("kafka_stream", "2024-03-01", TODAY)
    assert customer_counts(loader) == once("c2")
    assert gaps(loader) == [(0, 0, 1, "retention"), (0, 3, 4, "compaction or transaction")]
