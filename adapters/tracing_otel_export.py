"""Spans on their way to a collector (OTLP over HTTP), in a thread of their own: nobody waits for them.

What waits is bounded. Where the collector is slow or dead, what comes beyond that is dropped and counted, and so is a batch
that it did not take in time. The SDK's own batch processor counts neither, and waits for half a minute at the end.

`OTEL_EXPORTER_OTLP_*` (headers, timeout, compression, certificates) are honoured by the exporter.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from broker.tracing import SpanCounts

PATH: Final = "/v1/traces"
"""Behind a collector's base address (OTLP 1.x, OTLP/HTTP request)."""

_log = logging.getLogger("broker.tracing")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """`most`: spans that wait. `batch`: at a time. `every`: seconds for which few wait for more."""

    most: int = 4096
    batch: int = 256
    every: float = 1.0


class SpanExport(SpanProcessor):
    """From when it is made until `close`."""

    def __init__(
        self, exporter: SpanExporter, counts: SpanCounts, options: ExportOptions | None = None
    ) -> None:
        self._exporter = exporter
        self._counts = counts
        self._options = options or ExportOptions()
        self._waiting: deque[ReadableSpan] = deque()
        self._wanted = threading.Event()
        self._closing = self._given_up = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="span export", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        if self._closing or len(self._waiting) >= self._options.most:
            self._counts.dropped += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= self._options.batch:
            self._wanted.set()

    def close(self, seconds: float) -> None:
        """Send what waits, for so long; the rest is dropped. Blocking."""
        self._closing = True
        self._wanted.set()
        self._thread.join(seconds)
        self._given_up = True
        self._exporter.shutdown()  # ends the pauses of one that tries again
        self._counts.dropped += len(self._waiting)

    def _run(self) -> None:
        while not self._closing:
            self._wanted.wait(self._options.every)
            self._wanted.clear()
            self._send()
        self._send()

    def _send(self) -> None:
        while self._waiting and not self._given_up:
            some = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._options.batch))]
            if self._sent(some):
                self._counts.exported += len(some)
            else:
                self._counts.lost += len(some)

    def _sent(self, some: list[ReadableSpan]) -> bool:
        try:
            taken = self._exporter.export(some) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001
            # The boundary to the exporter and its transport: whatever they trip over, the next batch is tried.
            taken = False
        if taken is self._failing:
            self._failing = not taken
            if self._failing:
                _log.warning("the collector of traces does not take spans: they are dropped until it does")
            else:
                _log.info("the collector of traces takes spans again")
        return taken


def otlp_exporter(endpoint: str) -> SpanExporter:
    """`endpoint`: the collector's base address."""
    return OTLPSpanExporter(endpoint=endpoint.rstrip("/") + PATH)
