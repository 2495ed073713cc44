"""Logs on standard error: one line for each event, and nothing in it that a client or a manager sent.

An exception's own text may quote what it choked on (a header, a name, an identifier), so of an exception the line
keeps the type and where it was raised.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

_FRAMES = 5
_SILENT = (
    "aiokafka",
)  # what it says in an outage it says a thousand times, and below that it says keys and values
_QUIET = (
    "aiohttp",
    "asyncio",
    "redis",
)  # libraries: what they tell below a warning may hold addresses or data

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LineFormatter(logging.Formatter):
    """`2026-11-22T18:30:00+0100 INFO broker[123] text`, exceptions as `Type at file:line < file:line`."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"
        )

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " ")

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802  # the name is logging's
        kind, _, trace = ei
        frames = traceback.extract_tb(trace)[-_FRAMES:]
        places = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(frames))
        return f"({kind.__name__ if kind else 'no exception'} at {places or 'an unknown place'})"


def log_to_stderr(level: str) -> None:
    """Set logging up for this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
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
