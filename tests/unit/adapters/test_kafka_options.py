"""Settings that cannot be are told by name when the process starts, and never their values."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.kafka_log import KafkaOptions
from broker.errors import ConfigurationError


def test_several_servers_and_no_secret_in_sight() -> None:
    options = KafkaOptions(bootstrap="one:9092, two:9092,", password="very-secret")
    assert options.connection()["bootstrap_servers"] == ["one:9092", "two:9092"]
    assert "very-secret" not in repr(options)


def test_sasl_tells_user_and_password() -> None:
    told = KafkaOptions(
        bootstrap="one:9092", security_protocol="SASL_PLAINTEXT", username="u", password="p"
    ).connection()
    assert (told["sasl_mechanism"], told["sasl_plain_username"], told["sasl_plain_password"]) == (
        "SCRAM-SHA-512",
        "u",
        "p",
    )
    assert "ssl_context" not in told


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        (KafkaOptions(bootstrap=" , "), "CDS_KAFKA_BOOTSTRAP"),
        (KafkaOptions(bootstrap="one", security_protocol="TLS"), "CDS_KAFKA_SECURITY_PROTOCOL"),
        (
            KafkaOptions(bootstrap="one", security_protocol="SASL_SSL", sasl_mechanism="GSSAPI"),
            "CDS_KAFKA_SASL_MECHANISM",
        ),
        (KafkaOptions(bootstrap="one", security_protocol="SASL_SSL", username="u"), "CDS_KAFKA_USERNAME"),
        (
            KafkaOptions(bootstrap="one", security_protocol="SASL_SSL", password="secret"),
            "CDS_KAFKA_USERNAME",
        ),
        (
            KafkaOptions(
                bootstrap="one", security_protocol="SASL_SSL", username="u", password_file=Path("/none")
            ),
            "CDS_KAFKA_PASSWORD_FILE",
        ),
        (
            KafkaOptions(bootstrap="one", security_protocol="SSL", cafile=Path("/none")),
            "CDS_KAFKA_TLS_CA",
        ),
        (
            KafkaOptions(bootstrap="one", security_protocol="SSL", cafile=Path(__file__)),
            "CDS_KAFKA_TLS_CA",
        ),
    ],
)
def test_what_cannot_be_is_named(options: KafkaOptions, setting: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        options.connection()
    assert str(caught.value.params["setting"]).startswith(setting)
    assert "secret" not in str(caught.value)
