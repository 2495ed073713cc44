"""A sink whose faults are fields, and accesses to give it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.audit.sink import Group
from broker.core.audit.access import Access
from broker.core.audit.audited import Audited, audited_as
from broker.core.audit.chain import ChainKey, Head
from broker.errors import AuditError, StoreError

KEY = ChainKey.of(b"a secret for tests, long enough")
KEYS = {KEY.id: KEY}
STREAM = "4f1c22ab-0"


@dataclass
class FakeSink:
    """`failing`: refuses every write. `open`: cleared, a write does not end. `taken`: the groups it has."""

    name: str = "fake"
    failing: bool = False
    sync_failing: bool = False
    open: asyncio.Event = field(default_factory=asyncio.Event)
    taken: list[Group] = field(default_factory=list)
    tried: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.open.set()

    async def write(self, group: Group) -> None:
        self.tried += 1
        await self.open.wait()
        if self.failing:
            raise AuditError("audit.file", reason="No space left on device")
        self.taken.append(group)

    async def sync(self) -> None:
        if self.sync_failing:
            raise AuditError("audit.file", reason="Input/output error")

    async def aclose(self) -> None:
        self.closed = True

    @property
    def lines(self) -> list[bytes]:
        return [line for group in self.taken for line in group.lines]


@dataclass
class FakeHeads:
    """The `HeadStore` port in memory. `away`: refuses everything."""

    heads: dict[str, Head] = field(default_factory=dict)
    lost: list[tuple[str, int, int]] = field(default_factory=list)
    away: bool = False

    async def load(self) -> dict[str, Head]:
        self._look()
        return dict(self.heads)

    async def save(self, stream: str, head: Head) -> None:
        self._look()
        self.heads[stream] = head

    async def mourn(self, stream: str, first: int, last: int) -> None:
        self._look()
        self.lost.append((stream, first, last))

    async def mourned(self) -> Sequence[tuple[str, int, int]]:
        self._look()
        return self.lost

    def _look(self) -> None:
        if self.away:
            raise StoreError("federation.store")


def kind(method: str = "POST", route: str = "/fhir/{type}/_search") -> Audited:
    found = audited_as(method, route)
    assert found is not None
    return found


def access(request_id: str = "r1", *persons: str, status: int = 200) -> Access:
    return Access(
        at=dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC),
        interaction=kind(),
        request_id=request_id,
        status=status,
        client="dossier",
        address="192.0.2.1",
        persons=persons,
        managers=("bre",),
        query=b"POST /fhir/CareTeam/_search\n\nstatus=active",
    )
