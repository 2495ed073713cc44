"""The settings of synchronisation: the change log, its topics, and where subscribers may be told."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from broker.core.topics import DEFAULT_PREFIX
from broker.settings_fields import doc


class SyncSettings(BaseSettings):
    """A part of `broker.settings.Settings`, which is what is used."""

    sync: Annotated[
        bool,
        doc(
            "publish the changes of circles, and serve Subscriptions",
            "publier les changements des cercles et servir les Subscription",
        ),
    ] = True
    kafka_bootstrap: Annotated[
        str | None,
        doc(
            "Kafka servers, host:port with commas; unset: synchronisation on Redis Streams",
            "serveurs Kafka, hôte:port séparés par des virgules ; sinon Redis Streams",
        ),
    ] = None
    kafka_security_protocol: Annotated[
        str,
        doc(
            "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
            "PLAINTEXT, SSL, SASL_PLAINTEXT ou SASL_SSL",
        ),
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        str,
        doc("PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", "PLAIN, SCRAM-SHA-256 ou SCRAM-SHA-512"),
    ] = "SCRAM-SHA-512"
    kafka_username: Annotated[str | None, doc("user at Kafka (SASL)", "utilisateur de Kafka (SASL)")] = None
    kafka_password: Annotated[
        SecretStr | None, doc("password at Kafka (SASL)", "mot de passe de Kafka (SASL)")
    ] = None
    kafka_password_file: Annotated[
        Path | None, doc("file that holds that password", "fichier qui contient ce mot de passe")
    ] = None
    kafka_tls_ca: Annotated[
        Path | None,
        doc(
            "who vouches for the Kafka servers, PEM; unset: the system's authorities",
            "autorités des serveurs Kafka, PEM ; sinon celles du système",
        ),
    ] = None
    kafka_tls_cert: Annotated[
        Path | None, doc("certificate shown to Kafka, PEM", "certificat présenté à Kafka, PEM")
    ] = None
    kafka_tls_key: Annotated[
        Path | None, doc("key of that certificate, PEM", "clé de ce certificat, PEM")
    ] = None
    topic_prefix: Annotated[
        str,
        doc(
            "first part of every topic's name: PREFIX.notifications, PREFIX.replication.ID",
            "début du nom de chaque sujet : PREFIX.notifications, PREFIX.replication.ID",
        ),
    ] = DEFAULT_PREFIX
    topic_retention: Annotated[
        int,
        doc(
            "seconds for which a replication topic keeps events: how long an agent may be away; said when it is made",
            "secondes pendant lesquelles un sujet de réplication garde ses événements ; dit à sa création",
            ge=60,
            le=31_536_000,
        ),
    ] = 1_209_600
    topic_partitions: Annotated[
        int,
        doc(
            "partitions of topics that are made",
            "nombre de partitions des sujets à créer",
            ge=1,
            le=1_000,
        ),
    ] = 6
    hook_networks: Annotated[
        str,
        doc(
            "networks that rest-hooks may call beside public addresses, CIDR with commas (10.1.0.0/16)",
            "réseaux appelables par rest-hook en plus des adresses publiques, CIDR séparés par des virgules",
        ),
    ] = ""

    @field_validator("topic_prefix")
    @classmethod
    def _named(cls, value: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value) is None:
            raise PydanticCustomError("topic_prefix", "letters, digits, '.', '_' and '-' only, 100 at most")
        return value

    @field_validator("hook_networks")
    @classmethod
    def _networks(cls, value: str) -> str:
        try:
            networks(value)
        except ValueError:
            raise PydanticCustomError("networks", "networks as 10.1.0.0/16, with commas") from None
        return value

    @model_validator(mode="after")
    def _one_password(self) -> SyncSettings:
        if self.kafka_password is not None and self.kafka_password_file is not None:
            raise PydanticCustomError(
                "two_passwords", "CDS_KAFKA_PASSWORD and CDS_KAFKA_PASSWORD_FILE exclude each other"
            )
        return self


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Of `10.1.0.0/16, fd00::/8`. Raises `ValueError`."""
    return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())
