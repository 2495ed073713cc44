"""The settings of the log reach the log: Kafka with TLS and a password, and the embedded store without any."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.kafka_log import KafkaLog
from adapters.redis_streams_log import RedisStreamsLog
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.sync.change_log import Outgoing, Topic
from broker.wiring_sync import open_log
from tests.support.kafka_server import PASSWORD, USER, KafkaServer


@pytest.mark.kafka
@pytest.mark.parametrize("by_file", [True, False], ids=["password-file", "password"])
async def test_kafka_with_tls_and_a_password(
    kafka_server: KafkaServer, tmp_path: Path, by_file: bool
) -> None:
    if kafka_server.existing is not None:
        pytest.skip("CDS_TEST_KAFKA has listeners of its own")
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    settings = Settings(
        kafka_bootstrap=kafka_server.secure,
        kafka_security_protocol="sasl_ssl",
        kafka_sasl_mechanism="scram-sha-512",
        kafka_username=USER,
        kafka_password=None if by_file else SecretStr(PASSWORD),
        kafka_password_file=file if by_file else None,
        kafka_tls_ca=kafka_server.cafile,
        data_dir=tmp_path / "untouched",
    )
    async with open_log(settings) as log:
        assert isinstance(log, KafkaLog)
        topic = Topic(f"wiring-{tmp_path.name}", partitions=1)
        await log.ensure_topic(topic)
        await log.publish(Outgoing(topic.name, b"k", b"v"))
        assert topic.name in await log.topics()
        await log.drop_topic(topic.name)
    assert not (tmp_path / "untouched").exists()


async def test_without_kafka_and_redis_the_embedded_store(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    async with open_log(settings) as log, open_log(settings) as another:
        assert isinstance(log, RedisStreamsLog)
        await log.ensure_topic(Topic("t", partitions=1))
        assert await another.topics() == ["t"]


async def test_what_cannot_be_is_told_by_the_name_of_the_setting() -> None:
    with pytest.raises(ConfigurationError) as refused:
        async with open_log(Settings(kafka_bootstrap="h:1", kafka_security_protocol="TLS")):
            pass
    assert refused.value.params["setting"] == "CDS_KAFKA_SECURITY_PROTOCOL"
    with pytest.raises(ConfigurationError):
        Settings.load(kafka_password="a", kafka_password_file="b")
    with pytest.raises(ConfigurationError):
        Settings.load(topic_prefix="é")
