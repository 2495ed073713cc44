"""Logs on standard error: one line for each event, as text or JSON, and nothing in it that a client or a manager sent.

An exception's own text may quote what it choked on (a header, a name, an identifier), so of an exception the line
keeps the type and where it was raised.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from broker.current_request import CURRENT
from broker.observability.log_events import FIELDS
from broker.settings_process import LogFormat
from broker.tracing import present

_FRAMES = 5
_SILENT = (
    "aiokafka",
    "opentelemetry",
)  # what they say in an outage they say a thousand times, and below that it is keys, values and texts of others
_QUIET = (
    "aiohttp",
    "asyncio",
    "redis",
    "urllib3",
)  # libraries: what they tell below a warning may hold addresses or data

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LineFormatter(logging.Formatter):
    """`2026-11-22T18:30:00+0100 INFO broker[123] text`, exceptions as `Type at file:line < file:line`."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"
        )

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        told = _fields(record)
        request_id = told.pop("request_id", None)
        line += "".join(f" {name}={value}" for name, value in told.items())
        return (line if request_id is None else f"{line} request={request_id}").replace("\n", " ")

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802  # the name is logging's
        return f"({_raised(ei)})"


class JsonFormatter(logging.Formatter):
    """One object a line: `time` (RFC 3339), `level`, `logger`, `pid`, `message`; `event`, the text before anything is put
    into it, to count by; `error`, the type and place of an exception; and the fields of `log_events.FIELDS` that it has."""

    def format(self, record: logging.LogRecord) -> str:
        time = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "event": str(record.msg),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = _raised(record.exc_info)
        return orjson.dumps(line | _fields(record), default=str).decode()


def _raised(ei: _ExcInfo) -> str:
    kind, _, trace = ei
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    places = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(frames))
    return f"{kind.__name__ if kind else 'no exception'} at {places or 'an unknown place'}"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What a line has beside its text: the fields that are allowed, and the request on whose behalf it was said."""
    told = {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
    current = CURRENT.get()
    if current is not None:
        told.setdefault("request_id", current)
    trace = present()
    if trace is not None:
        told.setdefault("trace_id", trace.trace_id)
    return told


def log_to_stderr(level: str, form: LogFormat | None = None) -> None:
    """Set logging up for this process. `form`: None for text on a terminal and JSON elsewhere."""
    if form is None:
        form = LogFormat.TEXT if sys.stderr.isatty() else LogFormat.JSON
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter() if form is LogFormat.TEXT else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def loop_errors_as_lines(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio's own report of a lost exception repeats its text; this one does not."""

    def report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        logging.getLogger("broker").error(
            "%s", context.get("message", "event loop error"), exc_info=error or None
        )

    loop.set_exception_handler(report)
