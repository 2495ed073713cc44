"""What is Kafka's own: ways in, settings of topics, and a producer that can go on no more."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from adapters.clock import SystemClock
from adapters.kafka_log import KafkaLog, KafkaOptions
from broker.errors import ConfigurationError, StoreError
from broker.sync.change_log import Outgoing, Topic
from tests.support.certificates import write_certificates
from tests.support.kafka_server import PASSWORD, USER, KafkaServer
from tests.support.logs import all_of

pytestmark = pytest.mark.kafka


@pytest.fixture
async def admin(kafka_server: KafkaServer) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await client.start()
    yield client
    await client.close()


def name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def secure(server: KafkaServer, **other: Any) -> KafkaOptions:
    if server.existing is not None:
        pytest.skip("CDS_TEST_KAFKA tells nothing of TLS and SASL")
    told: dict[str, Any] = {
        "sasl_mechanism": "SCRAM-SHA-512",
        "password": PASSWORD,
        "cafile": server.cafile,
    } | other
    return KafkaOptions(
        bootstrap=server.secure, security_protocol="SASL_SSL", username=USER, request=2, publish=3, **told
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_tls_and_sasl(kafka_server: KafkaServer, tmp_path: Path, mechanism: str) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    options = secure(
        kafka_server, sasl_mechanism=mechanism, password=None, password_file=tmp_path / "password"
    )
    log, topic = KafkaLog(options, SystemClock()), name()
    await log.ensure_topic(Topic(topic, 2))
    await log.publish(Outgoing(topic, b"k", b"v"))
    async with log.consumer(topic, "g") as consumer:
        batch = await anext(consumer)
        assert await consumer.commit(batch.ends)
    assert sum(one.events for one in await log.lag(topic, "g")) == 0
    assert [one.value for one in await all_of(log.read(topic))] == [b"v"]
    await log.close()


async def test_a_wrong_password_is_refused(kafka_server: KafkaServer) -> None:
    log = KafkaLog(secure(kafka_server, password="other"), SystemClock())
    with pytest.raises(StoreError):
        await log.topics()
    with pytest.raises(StoreError):
        await log.publish(Outgoing("t", b"k", b"v"))
    await log.close()


async def test_a_server_that_nobody_vouches_for_is_not_spoken_to(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    write_certificates(tmp_path)
    log = KafkaLog(secure(kafka_server, cafile=tmp_path / "ca.pem"), SystemClock())
    with pytest.raises(StoreError):
        await log.topics()
    await log.close()


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (Topic("t", 2, retention_seconds=604_800), {"cleanup.policy": "delete", "retention.ms": "604800000"}),
        (Topic("t", 2), {"cleanup.policy": "delete", "retention.ms": "-1"}),
        (
            Topic("t", 2, compacted=True, retention_seconds=86_400),
            {"cleanup.policy": "compact", "delete.retention.ms": "86400000"},
        ),
    ],
)
async def test_topics_are_made_as_stated(
    kafka_server: KafkaServer, admin: AIOKafkaAdminClient, topic: Topic, expected: dict[str, str]
) -> None:
    named = Topic(name(), topic.partitions, topic.compacted, topic.retention_seconds)
    log = KafkaLog(KafkaOptions(bootstrap=kafka_server.bootstrap), SystemClock())
    await log.ensure_topic(named)
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, named.name)])
    found = {entry[0]: entry[1] for entry in answers[0].resources[0][4]}
    assert {key: found[key] for key in expected} == expected
    assert found["min.insync.replicas"] == "1"  # of one broker
    assert found["message.timestamp.type"] == "LogAppendTime"


async def test_a_topic_of_others_that_takes_no_large_records_is_refused(
    kafka_server: KafkaServer, admin: AIOKafkaAdminClient
) -> None:
    topic = name()
    settings = {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": "1000"}
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings)])
    log = KafkaLog(KafkaOptions(bootstrap=kafka_server.bootstrap, request=2, publish=4), SystemClock())
    with pytest.raises(ConfigurationError) as caught:
        await log.ensure_topic(Topic(topic, 1))
    assert caught.value.params["setting"] == "max.message.bytes"
    await log.publish(Outgoing(topic, b"k", b"zero"))
    # Kafka refuses a record: the numbering of the producer has a hole from then on.
    with pytest.raises(StoreError):
        await log.publish(Outgoing(topic, b"k", bytes(5000)))
    for value in (b"one", b"two"):
        await log.publish(Outgoing(topic, b"k", value))
    assert [one.value for one in await all_of(log.read(topic))] == [b"zero", b"one", b"two"]
    await log.close()


async def test_a_topic_that_may_not_be_made_says_why(kafka_server: KafkaServer) -> None:
    log = KafkaLog(KafkaOptions(bootstrap=kafka_server.bootstrap, replication=3), SystemClock())
    with pytest.raises(ConfigurationError) as caught:
        await log.ensure_topic(Topic(name(), 1))
    assert caught.value.key == "config.log-topic-refused"
    assert caught.value.params["reason"] == "InvalidReplicationFactorError"
