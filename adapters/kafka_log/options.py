"""How Kafka is reached: what the settings say, and what aiokafka is told."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.helpers import create_ssl_context

from broker.errors import ConfigurationError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_RETRY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """`bootstrap`: `host:port`, several with commas. Seconds are seconds.

    The password comes from `password_file` where that is given. `keyfile` and `certfile` (PEM) identify this client by
    TLS; `cafile` is who vouches for the servers, the system's authorities by default. Host names are always checked.

    `request`: one exchange. `publish`: the bound on publishing, and on any other call. `session`: after which a member
    that fell silent is out of its group. `finish`: how long a rebalance waits for the batch in hand. `replication`: of
    topics created here; None: 3, or as many as there are brokers. An acknowledgement then takes two of three replicas.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    client_id: str = "cds-broker"
    replication: int | None = None
    request: float = 10.0
    publish: float = 15.0
    session: float = 10.0
    finish: float = 20.0

    def connection(self) -> dict[str, Any]:
        """What every client of aiokafka is given. Blocking (reads files): for the start of the process.

        Raises `ConfigurationError`, which names the setting and never its value.
        """
        if self.security_protocol not in PROTOCOLS:
            raise ConfigurationError(
                "config.kafka", setting="CDS_KAFKA_SECURITY_PROTOCOL", expected=", ".join(PROTOCOLS)
            )
        told: dict[str, Any] = {
            "bootstrap_servers": [one.strip() for one in self.bootstrap.split(",") if one.strip()],
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": int(self.request * 1000),
            "retry_backoff_ms": int(_RETRY_SECONDS * 1000),
        }
        if not told["bootstrap_servers"]:
            raise ConfigurationError("config.kafka", setting="CDS_KAFKA_BOOTSTRAP", expected="host:port")
        if self.security_protocol.endswith("SSL"):
            told["ssl_context"] = self._tls()
        if self.security_protocol.startswith("SASL"):
            told |= self._sasl()
        return told

    def _tls(self) -> ssl.SSLContext:
        try:
            context: ssl.SSLContext = create_ssl_context(
                cafile=self.cafile, certfile=self.certfile, keyfile=self.keyfile
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigurationError(
                "config.file",
                setting="CDS_KAFKA_TLS_CA, …_CERT, …_KEY",
                reason=type(error).__name__,
            ) from error
        return context

    def _sasl(self) -> dict[str, Any]:
        if self.sasl_mechanism not in MECHANISMS:
            raise ConfigurationError(
                "config.kafka", setting="CDS_KAFKA_SASL_MECHANISM", expected=", ".join(MECHANISMS)
            )
        password = self.password
        if self.password_file is not None:
            try:
                password = self.password_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    "config.file", setting="CDS_KAFKA_PASSWORD_FILE", reason=type(error).__name__
                ) from error
        if not self.username or not password:
            raise ConfigurationError(
                "config.kafka",
                setting="CDS_KAFKA_USERNAME, CDS_KAFKA_PASSWORD_FILE",
                expected=self.sasl_mechanism,
            )
        return {
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": password,
        }
