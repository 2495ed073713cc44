"""One access, as the trail is told of it. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from broker.core.access.principal import Purpose, User
from broker.core.audit.audited import Audited

LEFT = 499
"""In place of a status where the client left before it was answered, as proxies write it."""

DEFECT = "internal"
"""The reason where the broker itself failed."""


class Outcome(StrEnum):
    """`AuditEvent.outcome` (FHIR R4, audit-event-outcome)."""

    SUCCESS = "0"
    MINOR = "4"  # refused, not found, or the client left
    SERIOUS = "8"  # could not be done
    MAJOR = "12"  # a defect of the broker


class Access(msgspec.Struct, frozen=True):
    """`at`: when it was answered, UTC. `request_id`: X-Request-Id. `address`: the peer's, None where there is none.

    `client`: None where nobody was recognised. `persons`, `resources`: public references (`Patient/bre.12`);
    `managers`: slugs. `query`: the raw request of a search, method and target first, then the form behind an empty
    line; never an answer. `status`: HTTP, or `LEFT`. `reason`: the key of the error's text, where there was one.
    `details`: whatever else is to be known, by name.
    """

    at: dt.datetime
    interaction: Audited
    request_id: str
    status: int
    client: str | None
    user: User | None = None
    address: str | None = None
    persons: Sequence[str] = ()
    resources: Sequence[str] = ()
    managers: Sequence[str] = ()
    purposes: tuple[Purpose, ...] = ()
    query: bytes = b""
    reason: str | None = None
    risk_accepted: bool = False
    details: Sequence[tuple[str, str]] = ()

    @property
    def outcome(self) -> Outcome:
        if self.status < 400:
            # With a reason it was not done, as where a page first leads to the statement of a purpose.
            return Outcome.SUCCESS if self.reason is None else Outcome.MINOR
        if self.reason == DEFECT:
            return Outcome.MAJOR
        return Outcome.MINOR if self.status < 500 else Outcome.SERIOUS


@dataclass(frozen=True, slots=True)
class Interruption:
    """The trail could not be written for a while. `refused`: requests that were turned away; `lost`: accesses that
    left no trace, which happens only where the operator lets requests go on all the same
    (`CDS_AUDIT_FAILURE=allow`)."""

    since: dt.datetime
    until: dt.datetime
    refused: int
    lost: int
