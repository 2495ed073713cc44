"""Log lines: one for each event, and no text of an exception in them."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from broker.commands.log_lines import JsonFormatter, LineFormatter, loop_errors_as_lines
from broker.current_request import CURRENT, Served
from broker.observability.log_events import tell_requests


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


def test_as_json_a_line_has_its_text_and_the_allowed_fields_only() -> None:
    record = logging.LogRecord("broker.x", logging.WARNING, __file__, 1, "of\n%s", ("bre",), None)
    record.status, record.patient = 200, "295109912611193"
    line = JsonFormatter().format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert read.pop("time").endswith("+00:00")
    assert read == {
        "level": "warning",
        "logger": "broker.x",
        "pid": record.process,
        "event": "of\n%s",
        "message": "of\nbre",
        "status": 200,
    }


def test_as_json_an_exception_loses_its_text() -> None:
    try:
        int("patient 295109912611193")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
        record = logging.LogRecord("broker", logging.ERROR, __file__, 1, "failed", (), info)
    line = JsonFormatter().format(record)
    assert json.loads(line)["error"].startswith("ValueError at test_log_lines.py:")
    assert "295109912611193" not in line


def test_what_is_said_on_behalf_of_a_request_has_its_id() -> None:
    record = logging.LogRecord("broker", logging.INFO, __file__, 1, "said", (), None)
    before = CURRENT.set("abc-1")
    try:
        assert json.loads(JsonFormatter().format(record))["request_id"] == "abc-1"
        assert formatted(record).endswith("said request=abc-1")
    finally:
        CURRENT.reset(before)
    assert "request_id" not in json.loads(JsonFormatter().format(record))


def test_a_request_is_one_line_and_those_of_machines_are_for_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tell = tell_requests()
    caplog.set_level(logging.INFO, "broker.requests")
    tell(Served("GET", "/fhir/{type}", 200, 0.01234, "abc-1", "a-client", "token"))
    tell(Served("GET", "/health/ready", 200, 0.001, "abc-2"))
    (record,) = caplog.records
    assert formatted(record).endswith(
        "request route=/fhir/{type} method=GET status=200 ms=12.3 client=a-client request=abc-1"
    )
