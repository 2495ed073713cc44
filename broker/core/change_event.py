"""One change of a circle as an event: the envelope is CloudEvents 1.0, the content FHIR (federation, section 6). Pure.

An event is a record of the change log. In the binary mode of CloudEvents' Kafka binding (1.0.2, section 3.2) the attributes
are the record's headers, each with the prefix `ce_`, and the content is its value (`event_content`). The key is the
circle's public id, so that the events of one circle stay in order. Neither key nor headers hold anything of a person.

    ce_specversion  1.0
    ce_id           bre/CareTeam/12/3        manager, type, id there, version: the same change has the same id
    ce_source       https://…/fhir           the broker's public base address
    ce_type         fr.cds-broker.careteam.created | .updated | .deleted
    ce_subject      CareTeam/bre.12          the circle's public id
    ce_time         2026-01-01T00:00:00Z     when it changed, by the manager's clock; left out where it gives none
    ce_dataschema   urn:cds-broker:change-event:1
    ce_sequence     0001767225600007         the change's number among those of the circle: greater by one each time
    ce_home         bre                      the manager that is the circle's home
    ce_region       53                       its region (TRE_R30)
    content-type    application/fhir+json    absent on a tombstone
    ce_reason       not-selected             on a replication topic: the circle lives on, and the manager's Subscriptions
                                             select it no longer, so that for this manager it is deleted
    ce_traceparent  00-0af7…-b7ad…-01        where it is a part of a trace: which (CloudEvents, Distributed Tracing
    traceparent     the same                 extension 1.0.2; W3C Trace Context), the second for readers of Kafka's headers

A circle's first number is the store's time in milliseconds, and it never becomes smaller. One that is greater by more than
one says that changes are missing, or that numbering began anew because the store was lost or started again. It is padded
with zeros because CloudEvents' `sequence` extension asks for a text that sorts as it counts. Other attributes are ignored,
so that later producers can add some; a change that readers must know of takes a new `ce_dataschema`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from broker.core.fhir_dates import date_range
from broker.core.identity import ID, public_id
from broker.core.trace_context import read_traceparent
from broker.errors import BrokerError
from registry.model import SLUG

Headers = tuple[tuple[str, bytes], ...]
"""As the change log's records carry them."""

SPEC_VERSION: Final = "1.0"
SCHEMA: Final = "urn:cds-broker:change-event:1"
SCHEMA_FAMILY: Final = "urn:cds-broker:change-event:"
TYPE_PREFIX: Final = "fr.cds-broker.careteam."
CONTENT_TYPE: Final = "application/fhir+json"
CIRCLE: Final = "CareTeam"

NOT_SELECTED: Final = ("ce_reason", b"not-selected")
"""A header: why a circle is told to be deleted that is not."""

TRACE: Final = "ce_traceparent"

_DIGITS: Final = 16
_NO_VERSION: Final = "@"
_SEQUENCE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_INSTANT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,12})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)  # RFC 3339, which CloudEvents asks for, as does FHIR's instant
_REGION: Final = re.compile(r"[0-9A-Z]{1,8}", re.ASCII)


class Operation(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


class Poison(StrEnum):
    """Why a record is no event that can be read; `sync.poison-…` in `MESSAGES`."""

    HEADERS = "headers"  # an attribute is missing, doubled, or not what it should be
    SCHEMA = "schema"  # an event of another schema, or of another kind
    KEY = "key"  # the key is not the circle's public id
    CONTENT = "content"  # the value is no Bundle as it should be, or not about this circle


class PoisonError(BrokerError):
    """A record that can never be applied. `kind` says what is wrong with it, `detail` which header or entry."""

    def __init__(self, kind: Poison, detail: str) -> None:
        super().__init__(f"sync.poison-{kind.value}", detail=detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Change:
    """A circle that changed. `manager`: its home's slug. `local_id`: the id there; `public_id`: across the federation.

    `version`: the manager's own, None where it gives none (a deletion at many), and where the circle is as it was and its
    Patient is not. `last_updated`: the manager's instant, as it wrote it. `sequence`: among this circle's changes (1 or
    more). `traceparent`: of what is done about it, no part of what it is. Raises `ValueError` for what no event can say.
    """

    manager: str
    region: str
    local_id: str
    public_id: str
    version: str | None
    last_updated: str | None
    operation: Operation
    sequence: int
    type: str = CIRCLE
    traceparent: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.version is not None and ID.fullmatch(self.version) is None:
            raise ValueError("a version outside FHIR's id rule")
        if self.sequence < 1 or self.public_id != public_id(self.manager, self.local_id):
            raise ValueError("a number below 1, or a public id of something else")

    @property
    def event_id(self) -> str:
        """`bre/CareTeam/12/3`. A change without a version goes by its number, which no version is written like: `@7`."""
        version = self.version or f"{_NO_VERSION}{self.sequence}"
        return f"{self.manager}/{self.type}/{self.local_id}/{version}"

    @property
    def subject(self) -> str:
        return f"{self.type}/{self.public_id}"

    @property
    def key(self) -> bytes:
        """Of the record."""
        return self.public_id.encode()


def encode_headers(change: Change, public_base: str, *, tombstone: bool = False) -> Headers:
    """The envelope. `public_base`: the broker's own public address. A tombstone has no content, so no content type."""
    time = change.last_updated
    stated = {
        "ce_specversion": SPEC_VERSION,
        "ce_id": change.event_id,
        "ce_source": public_base.rstrip("/"),
        "ce_type": TYPE_PREFIX + change.operation,
        "ce_subject": change.subject,
        "ce_time": time if time is not None and is_instant(time) else None,
        "ce_dataschema": SCHEMA,
        "ce_sequence": f"{change.sequence:0{_DIGITS}d}",
        "ce_home": change.manager,
        "ce_region": change.region,
        "content-type": None if tombstone else CONTENT_TYPE,
        TRACE: change.traceparent,
        "traceparent": change.traceparent,
    }
    return tuple((name, value.encode()) for name, value in stated.items() if value is not None)


def decode_headers(headers: Iterable[tuple[str, bytes]]) -> tuple[Change, str]:
    """The change that an envelope tells of, and the public base address of whoever tells it.

    Raises `PoisonError`. What the attributes say twice must agree: id, subject and home.
    """
    headers = tuple(headers)
    trace = _trace(headers)
    attributes = _attributes(headers)
    _known(attributes)
    match = _SEQUENCE.fullmatch(_stated(attributes, "ce_sequence"))
    sequence = int(match[0]) if match is not None else 0
    if sequence < 1:
        raise PoisonError(Poison.HEADERS, "ce_sequence")
    manager, local_id, version = _identity(_stated(attributes, "ce_id"), sequence)
    subject = _stated(attributes, "ce_subject")
    if subject != f"{CIRCLE}/{public_id(manager, local_id)}":
        raise PoisonError(Poison.HEADERS, "ce_subject")
    if _stated(attributes, "ce_home") != manager:
        raise PoisonError(Poison.HEADERS, "ce_home")
    region = _stated(attributes, "ce_region")
    if _REGION.fullmatch(region) is None:
        raise PoisonError(Poison.HEADERS, "ce_region")
    time = attributes.get("ce_time")
    if time is not None and not is_instant(time):
        raise PoisonError(Poison.HEADERS, "ce_time")
    operation = Operation(_stated(attributes, "ce_type").removeprefix(TYPE_PREFIX))
    public = subject.partition("/")[2]
    change = Change(
        manager,
        region,
        local_id,
        public,
        version,
        time,
        operation,
        sequence,
        traceparent=trace,
    )
    return change, _stated(attributes, "ce_source").rstrip("/")


def _trace(headers: Headers) -> str | None:
    """None where it is not told, or not rightly: it is no reason not to read the event."""
    told = [value for name, value in headers if name == TRACE]
    return read_traceparent(told[0].decode("ascii", "replace")) if len(told) == 1 else None


def is_instant(text: str) -> bool:
    """Whether a text is an instant, as FHIR and RFC 3339 write it, of a day that there is."""
    return _INSTANT.fullmatch(text) is not None and date_range(text) is not None


def _attributes(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Those that are known, by name; the others may be of any form."""
    found: dict[str, str] = {}
    for name, value in headers:
        lowered = name.lower()  # producers that come by HTTP may write `Content-Type`
        if lowered not in _KNOWN:
            continue
        if lowered in found:
            raise PoisonError(Poison.HEADERS, lowered)
        try:
            found[lowered] = value.decode()
        except UnicodeDecodeError as error:
            raise PoisonError(Poison.HEADERS, lowered) from error
    return found


_KNOWN: Final = frozenset(
    {
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_subject",
        "ce_time",
        "ce_dataschema",
        "ce_sequence",
        "ce_home",
        "ce_region",
        "content-type",
    }
)


def _known(attributes: Mapping[str, str]) -> None:
    """An event of this schema, of a kind that is known, with content that can be read."""
    if _stated(attributes, "ce_specversion") != SPEC_VERSION:
        raise PoisonError(Poison.SCHEMA, "ce_specversion")
    if _stated(attributes, "ce_dataschema") != SCHEMA:
        raise PoisonError(Poison.SCHEMA, "ce_dataschema")
    kind = _stated(attributes, "ce_type")
    if kind not in {TYPE_PREFIX + operation for operation in Operation}:
        raise PoisonError(Poison.SCHEMA, "ce_type")
    content_type = attributes.get("content-type", CONTENT_TYPE).partition(";")[0].strip().lower()
    if content_type not in (CONTENT_TYPE, "application/json"):
        raise PoisonError(Poison.SCHEMA, "content-type")


def _stated(attributes: Mapping[str, str], name: str) -> str:
    value = attributes.get(name)
    if not value:
        raise PoisonError(Poison.HEADERS, name)
    return value


def _identity(event_id: str, sequence: int) -> tuple[str, str, str | None]:
    """Manager, id there and version of an event's id."""
    parts = event_id.split("/")
    if len(parts) != 4 or parts[1] != CIRCLE or SLUG.fullmatch(parts[0]) is None:
        raise PoisonError(Poison.HEADERS, "ce_id")
    version = None if parts[3] == f"{_NO_VERSION}{sequence}" else parts[3]
    if any(part is not None and ID.fullmatch(part) is None for part in (parts[2], version)):
        raise PoisonError(Poison.HEADERS, "ce_id")
    return parts[0], parts[2], version
