"""Log lines: one for each event, and no text of an exception in them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from broker.commands.log_lines import LineFormatter, loop_errors_as_lines


def formatted(record: logging.LogRecord) -> str:
    return LineFormatter().format(record)


def test_an_event_is_one_line() -> None:
    record = logging.LogRecord("broker", logging.INFO, __file__, 1, "one\ntwo %s", ("three",), None)
    line = formatted(record)
    assert line.endswith("one two three")
    assert "\n" not in line
    assert f"INFO broker[{record.process}]" in line


def test_an_exception_keeps_its_type_and_place_and_loses_its_text() -> None:
    try:
        int("patient 295109912611193")
    except ValueError as error:
        record = logging.LogRecord(
            "broker", logging.ERROR, __file__, 1, "failed", (), (type(error), error, error.__traceback__)
        )
    line = formatted(record)
    assert "(ValueError at test_log_lines.py:" in line
    assert "295109912611193" not in line


async def test_a_lost_exception_is_reported_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop_errors_as_lines(loop)
    loop.call_exception_handler({"message": "lost", "exception": ValueError("patient 295109912611193")})
    (record,) = caplog.records
    assert record.getMessage() == "lost"
    record.exc_text = None  # the fixture's own formatter left its text there
    assert "295109912611193" not in formatted(record)
