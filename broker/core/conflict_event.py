"""A conflict as an event: that a person has two homes, and that it is over (federation, section 6). Pure.

A record of the topic `{prefix}.conflicts`, CloudEvents 1.0 in binary mode as those of changes (`change_event`). The key is
the conflict's id. Its end is a tombstone, so that what compaction leaves is the list of open conflicts.

    ce_specversion  1.0
    ce_id           conflict/9f3a1c5208b7d6e4/1767225600007      conflict and number: the same event has the same id
    ce_source       https://…/fhir           the broker's public base address
    ce_type         fr.cds-broker.conflict.detected | .resolved
    ce_subject      conflict/9f3a1c5208b7d6e4
    ce_time         2026-01-01T00:00:00.000Z when it was first seen, or seen no more, by the broker's clock
    ce_dataschema   urn:cds-broker:conflict-event:1
    ce_sequence     0001767225600007         of the events of one conflict the one with the highest number counts
    content-type    application/fhir+json    absent on a tombstone

`detected` comes again, with a higher number, where another circle of the person came to it, or one of three left. The
content is a FHIR `Parameters`: ids only. Neither key, nor headers, nor content say who the person is.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec

from broker.core.change_event import CONTENT_TYPE, SPEC_VERSION, Headers
from broker.core.conflict import Conflict

CONFLICT_SCHEMA: Final = "urn:cds-broker:conflict-event:1"
DETECTED: Final = "fr.cds-broker.conflict.detected"
RESOLVED: Final = "fr.cds-broker.conflict.resolved"

_DIGITS: Final = 16


def conflict_key(conflict: Conflict) -> bytes:
    """Of the record."""
    return conflict.id.encode()


def conflict_headers(conflict: Conflict, public_base: str) -> Headers:
    """The envelope. `public_base`: the broker's own public address."""
    over = conflict.resolved
    stated = {
        "ce_specversion": SPEC_VERSION,
        "ce_id": f"conflict/{conflict.id}/{conflict.sequence}",
        "ce_source": public_base.rstrip("/"),
        "ce_type": DETECTED if over is None else RESOLVED,
        "ce_subject": f"conflict/{conflict.id}",
        "ce_time": written(conflict.since if over is None else over),
        "ce_dataschema": CONFLICT_SCHEMA,
        "ce_sequence": f"{conflict.sequence:0{_DIGITS}d}",
        "content-type": CONTENT_TYPE if over is None else None,
    }
    return tuple((name, value.encode()) for name, value in stated.items() if value is not None)


def conflict_content(conflict: Conflict, public_base: str) -> bytes | None:
    """Which circles of which managers, by their public addresses; None where it is over."""
    if not conflict.is_open:
        return None
    base = public_base.rstrip("/")
    parameters: list[dict[str, Any]] = [
        {"name": "conflict", "valueId": conflict.id},
        {"name": "since", "valueInstant": written(conflict.since)},
        {"name": "count", "valueUnsignedInt": conflict.count},
    ]
    for (slug, _), reference in zip(conflict.circles, conflict.references(), strict=True):
        parts = [
            {"name": "reference", "valueReference": {"reference": f"{base}/{reference}"}},
            {"name": "gestionnaire", "valueCode": slug},
        ]
        parameters.append({"name": "circle", "part": parts})
    return msgspec.json.encode({"resourceType": "Parameters", "parameter": parameters})


def written(instant: float) -> str:
    """Seconds since 1970 as FHIR writes an instant."""
    text = dt.datetime.fromtimestamp(instant, dt.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
