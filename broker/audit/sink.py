"""Where the trail is written to. Ports; nothing is done here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from broker.core.audit.chain import Head


@dataclass(frozen=True, slots=True)
class Group:
    """Lines of one stream, in order, each with its line feed. `first`: the number of the first. At least one."""

    stream: str
    first: int
    lines: Sequence[bytes]
    head: Head


class AuditSink(Protocol):
    """One place. What it is given it is given in order, one group at a time; after a failure the same group again."""

    @property
    def name(self) -> str:
        """For metrics and log lines: file, log, fhir."""
        ...

    async def write(self, group: Group) -> None:
        """Returned: it is there. Raises `AuditError` or `StoreError`: it may be there in part, or not."""
        ...

    async def sync(self) -> None:
        """Make what was written outlast a loss of power, where it does not yet. Raises as `write` does."""
        ...

    async def aclose(self) -> None: ...


class HeadStore(Protocol):
    """How far each stream has come, kept apart from the trail itself. Raises `StoreError`."""

    async def load(self) -> Mapping[str, Head]: ...

    async def save(self, stream: str, head: Head) -> None: ...

    async def mourn(self, stream: str, first: int, last: int) -> None:
        """These were kept once and are no longer in the trail: to be told by every verification from now on."""
        ...

    async def mourned(self) -> Sequence[tuple[str, int, int]]: ...


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """`client`: its id. `person`: a reference, `Patient/bre.12` or absolute. `after`: an answer's `next`."""

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    client: str | None = None
    person: str | None = None
    request_id: str | None = None
    count: int = 50
    after: str | None = None


class AuditRecord(msgspec.Struct, frozen=True):
    """A line of the trail: `event` is the AuditEvent."""

    stream: str
    number: int
    event: dict[str, Any]


class AuditPage(msgspec.Struct, frozen=True):
    """Newest first. `next`: what to ask with for older ones, null at the end; a page may hold fewer than asked for,
    where much had to be looked through. `node`: whose trail this is; each node keeps its own."""

    node: str
    records: tuple[AuditRecord, ...]
    next: str | None = None


class AuditReader(Protocol):
    async def page(self, query: AuditQuery) -> AuditPage:
        """Raises `RequestError` for an `after` that is none, `AuditError` where the trail cannot be read."""
        ...


@dataclass(slots=True)
class AuditState:
    """What the trail has done so far, for figures. `failures`: by sink. `waiting`: accesses not written yet."""

    accesses: int = 0
    records: int = 0
    refused: int = 0
    lost: int = 0
    waiting: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    broken: bool = False


@dataclass(slots=True)
class ForwardState:
    """Of what is delivered later. `sent`: number of the own stream's last delivered line. `failing`: the last
    delivery was not taken."""

    sent: int = 0
    delivered: int = 0
    rejected: int = 0
    failures: int = 0
    failing: bool = False
