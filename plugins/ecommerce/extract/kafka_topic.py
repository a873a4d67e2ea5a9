"""Asks the broker about a topic: its partitions, the offsets of a time, its id, and how it is cleaned up."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow.providers.apache.kafka.hooks.base import KafkaBaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from ecommerce.common.errors import SourceError
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import Source
from ecommerce.extract.reader_protocol import COMPACTION, TRANSACTION

log = logging.getLogger(__name__)

#: Seconds to wait for the broker's answer to one request.
REQUEST_TIMEOUT = 30.0

#: Errors of a request that no broker answered.
_NO_ANSWER = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)

#: The id in the answer of a broker that gives its topics no ids.
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"


class ConsumerHook(KafkaBaseHook):
    """A consumer by the Airflow connection. The warehouse stores the offsets, Kafka stores none."""

    #: The last error of a broker; the exception that follows only has that no broker could be reached.
    _last_error = ""

    def _get_client(self, config: dict[str, Any]) -> Consumer:
        return Consumer(
            {
                "group.id": "ecommerce-warehouse",
                "error_cb": self._keep_error,
                **config,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
            }
        )

    def _keep_error(self, error: KafkaError) -> None:
        # That all brokers are down follows from the errors of each.
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_error = f" ({error.str()})"

    def cause_of(self, error: KafkaError) -> str:
        """The last error of a broker, if it may be why a request was not answered."""
        return self._last_error if error.code() in _NO_ANSWER else ""


class AdminHook(KafkaBaseHook):
    """An admin client by the same connection."""

    def _get_client(self, config: dict[str, Any]) -> AdminClient:
        # Errors only: it would warn of every setting that is for consumers.
        return AdminClient({"log_level": 3, **config})


def client_of(hook: KafkaBaseHook, source: Source, location: SourceLocation) -> Any:
    """
    The hook's client.

    :raises SourceError: there is no such connection, or its settings are invalid
    """
    try:
        return hook.get_conn
    except AirflowNotFoundException as error:
        raise SourceError(
            f"{source.name}: there is no connection {location.connection!r}; add it under Admin → Connections"
        ) from error
    except (ValueError, KafkaException) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else error
        raise SourceError(f"{source.name}: the connection {location.connection!r} cannot be used: {reason}") from error


def absent_right(error: KafkaError, *, has_begun: bool) -> str:
    """
    The right on the topic that the connection's user lacks, as the end of a sentence; empty for any other error.

    :param has_begun: whether messages were asked for; what comes before that needs another right
    """
    if error.code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return ""
    return (
        "; its user needs the rights Describe and Read on the topic, and lacks "
        f"{'Read' if has_begun else 'Describe'} (docs/kafka.md, 'The connection')"
    )


def partition_bounds(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """Each partition → its first offset, and the one after its last."""
    topics = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT).topics
    if topics[topic].error:
        raise KafkaException(topics[topic].error)
    return {
        partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), REQUEST_TIMEOUT)
        for partition in sorted(topics[topic].partitions)
    }


def offsets_at(consumer: Consumer, topic: str, partitions: Sequence[int], moment: datetime) -> dict[int, int]:
    """Each partition → the offset of its first message at ``moment`` or later; OFFSET_END if there is none."""
    instant = int(moment.timestamp() * 1000)
    requests = [TopicPartition(topic, partition, instant) for partition in partitions]
    answers = consumer.offsets_for_times(requests, REQUEST_TIMEOUT)
    for answer in answers:
        if answer.error:
            raise KafkaException(answer.error)
    return {answer.partition: answer.offset for answer in answers}


def first_offsets(
    consumer: Consumer, admin: AdminClient, topic: str, bounds: Mapping[int, tuple[int, int]], moment: datetime
) -> dict[int, int]:
    """
    Each partition → an offset that no message at ``moment`` or later lies before; OFFSET_END if there is none so late.

    Apache Kafka looks for a time in the first segment alone that once had a message so late. If compaction has removed
    that message, it answers that there is none, whatever the segments behind it have. So that answer counts only
    where the latest of all times is earlier, too; else the partition's first offset is the answer.
    """
    offsets = offsets_at(consumer, topic, list(bounds), moment)
    doubtful = [p for p, offset in offsets.items() if offset == OFFSET_END and bounds[p][0] < bounds[p][1]]
    latest = _latest_times(admin, topic, doubtful) if doubtful else {}
    wrong = [partition for partition, time in latest.items() if time >= moment.timestamp() * 1000]
    return offsets | {partition: bounds[partition][0] for partition in wrong}


def _latest_times(admin: AdminClient, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """Each partition → the latest time of its messages, in milliseconds; -1 if the broker does not tell."""
    requests = {TopicPartition(topic, partition): OffsetSpec.max_timestamp() for partition in partitions}
    times = {}
    for place, answer in admin.list_offsets(requests, request_timeout=REQUEST_TIMEOUT).items():
        try:
            times[place.partition] = answer.result().timestamp
        except KafkaException as error:
            if error.args[0].code() in _NO_ANSWER:
                raise
            log.info("%s: the broker does not give the latest time: %s", topic, error.args[0].str())
            times[place.partition] = -1
    return times


def topic_id(admin: AdminClient, topic: str) -> str | None:
    """The topic's id, if the broker gives its topics ids and the user may see them."""
    descriptions = admin.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT)
    try:
        identity = str(descriptions[topic].result().topic_id)
    except KafkaException as error:
        if error.args[0].code() in _NO_ANSWER:
            raise
        log.info("%s: the broker does not give the topic's id: %s", topic, error.args[0].str())
        return None
    return None if identity == _NO_ID else identity


def gap_cause(admin: AdminClient, topic: str) -> str:
    """Why offsets between messages have none: transactions, or perhaps compaction."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        policy = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT)[resource].result()
    except KafkaException as error:
        log.info("%s: the broker does not give the topic's cleanup.policy: %s", topic, error.args[0].str())
        return COMPACTION
    return COMPACTION if "compact" in policy["cleanup.policy"].value else TRANSACTION
