"""Traces, put together where they are asked for. A part of the composition root.

OpenTelemetry is imported here, at the moment that it is needed, and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from broker import __version__
from broker.errors import ConfigurationError
from broker.observability.metrics_tracing import SpanFigures
from broker.settings import PREFIX, Settings
from broker.tracing import SpanCounts, Tracer

BROKER: Final = "cds-broker"
AGENT: Final = "cds-broker-agent"

_FLUSH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Tracing:
    """`continues`: clients' traces, rather than beginning some that link to them."""

    tracer: Tracer
    continues: bool
    figures: SpanFigures


def check_tracing(settings: Settings) -> None:
    """Raises `ConfigurationError` where traces are asked for and what makes them is not installed."""
    if settings.otel_endpoint is None:
        return
    try:
        import adapters.tracing_otel
        import adapters.tracing_otel_export  # noqa: F401  # whether it can be
    except ImportError as error:
        raise ConfigurationError("config.otel-missing", setting=PREFIX + "OTEL_ENDPOINT") from error


def tracing(settings: Settings, service: str, stack: AsyncExitStack) -> Tracing | None:
    """None where no traces are asked for. What waits is sent when the stack closes. Raises `ConfigurationError`."""
    if settings.otel_endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    check_tracing(settings)
    from adapters.tracing_otel import OtelTracer
    from adapters.tracing_otel_export import SpanExport, otlp_exporter

    counts = SpanCounts()
    export = SpanExport(otlp_exporter(settings.otel_endpoint), counts)

    async def close() -> None:
        await asyncio.to_thread(export.close, _FLUSH_SECONDS)

    stack.push_async_callback(close)
    tracer = OtelTracer(
        export,
        ratio=settings.otel_sample,
        resource=_resource(settings.otel_service, service),
        version=__version__,
    )
    return Tracing(tracer, settings.otel_continue, SpanFigures(counts))


def _resource(given: str | None, usual: str) -> Mapping[str, str | int]:
    """What tells this process from others, but for what the environment says of it."""
    said = {
        pair.partition("=")[0].strip() for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    }
    if os.environ.get("OTEL_SERVICE_NAME"):
        said.add("service.name")
    own: Mapping[str, str | int] = {
        "service.name": usual,
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    kept = {name: value for name, value in own.items() if name not in said}
    return kept if given is None else {**kept, "service.name": given}
