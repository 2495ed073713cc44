"""A broker with its trail, and the trail as it stands in the files."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters.audit.segments import lines_of, segments
from broker.core.audit.chain import parse

Json = dict[str, Any]


def events(directory: Path) -> list[Json]:
    """Every AuditEvent of a trail's files, in the order of writing of each stream."""
    found = []
    for segment in segments(directory):
        for line, whole in lines_of(segment.path):
            read = parse(line)
            assert whole
            assert read is not None
            found.append(json.loads(bytes(read.event)))
    return found


def code(event: Json) -> str:
    """What was done."""
    return str(event["subtype"][0]["code"])


def codes(of: Sequence[Json]) -> list[str]:
    return [code(event) for event in of]


def client(event: Json) -> str | None:
    """Who did it; None where nobody was recognised."""
    who = next(one for one in event["agent"] if one["network"]["type"] != "5")["who"]
    return None if "identifier" not in who else str(who["identifier"]["value"])


def persons(event: Json) -> list[str]:
    """References of the persons concerned, as they stand there: absolute."""
    return [one["what"]["reference"] for one in event["entity"] if one["type"]["code"] == "1"]


def objects(event: Json) -> list[str]:
    """References of what was read or written."""
    return [
        one["what"]["reference"]
        for one in event["entity"]
        if one["type"]["code"] == "2" and "reference" in one.get("what", {})
    ]


def query(event: Json) -> str | None:
    """What was asked, decoded."""
    held = [one["query"] for one in event["entity"] if "query" in one]
    return base64.b64decode(held[0]).decode() if held else None


def request_entity(event: Json) -> Json:
    entity: Json = next(one for one in event["entity"] if one["type"]["code"] == "XrequestId")
    return entity


def details(event: Json) -> list[tuple[str, str]]:
    return [(one["type"], one["valueString"]) for one in request_entity(event)["detail"]]
