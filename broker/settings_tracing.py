"""The settings of traces. What OpenTelemetry's own variables say of the exporter (`OTEL_EXPORTER_OTLP_HEADERS` and so on)
and of the process (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`) counts as well; none of them turns traces on."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from broker.settings_fields import doc


class TracingSettings(BaseSettings):
    """A part of `broker.settings.Settings`, which is what is used."""

    otel_endpoint: Annotated[
        str | None,
        doc(
            "collector of OpenTelemetry traces (OTLP over HTTP), base address as http://localhost:4318; needs the extra "
            "otel; unset: no traces",
            "collecteur de traces OpenTelemetry (OTLP sur HTTP), adresse de base comme http://localhost:4318 ; exige "
            "l'extra otel ; sinon pas de traces",
        ),
    ] = None
    otel_sample: Annotated[
        float,
        doc(
            "share of the traces that begin here and are recorded, 0 to 1; what others began is recorded where they do",
            "part enregistrée des traces qui commencent ici, de 0 à 1 ; les autres suivent qui les a commencées",
            ge=0,
            le=1,
        ),
    ] = 1.0
    otel_continue: Annotated[
        bool,
        doc(
            "a client's traceparent is continued, and decides whether its trace is recorded; false: each request begins a "
            "trace, with a link to the client's",
            "le traceparent d'un client est continué, et décide si sa trace est enregistrée ; false : chaque requête "
            "commence une trace, avec un lien vers celle du client",
        ),
    ] = False
    otel_service: Annotated[
        str | None,
        doc(
            "service.name of the spans; unset: OTEL_SERVICE_NAME, or cds-broker, or of an agent cds-broker-agent",
            "service.name des spans ; sinon OTEL_SERVICE_NAME, ou cds-broker, ou pour un agent cds-broker-agent",
        ),
    ] = None

    @field_validator("otel_endpoint")
    @classmethod
    def _collector(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise PydanticCustomError("public_url", "an absolute http(s) address without query")
        return value.rstrip("/")
