"""The outbox in memory, with the faults that tests ask for. One suite holds it to the real one's ways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from broker.core.change_event import Operation
from broker.errors import StoreError
from broker.ports import Clock
from registry.outbox_model import Circle, CircleChange, Numbered, OutboxState, Waiting, version_number
from registry.outbox_wire import milliseconds
from tests.support.fake_stores import ManualClock

_OPAQUE = 1 << 47


@dataclass(frozen=True)
class _Known:
    sequence: int
    instant: int = 0
    deleted: bool = False
    versions: tuple[int, ...] = ()

    def is_news(self, instant: int, version: int, *, deleted: bool) -> bool:
        if deleted and self.deleted:
            return False
        last = self.versions[0] if self.versions else 0
        if 0 < version < _OPAQUE and 0 < last < _OPAQUE and version != last:
            return version > last or 0 < self.instant < instant
        if version and version in self.versions and not deleted:
            return False
        same_second = instant % 1000 == 0 and instant == self.instant - self.instant % 1000
        if 0 < instant < self.instant and not same_second:
            return False
        return bool(version) or deleted or not instant or instant > self.instant

    def after(self, instant: int, version: int, *, deleted: bool) -> _Known:
        versions = self.versions
        if 0 < version < _OPAQUE or (version and instant > self.instant):
            versions = (version,)
        elif version:
            versions = tuple(dict.fromkeys((version, *versions)))[:8]
        return _Known(self.sequence + 1, max(self.instant, instant), deleted, versions)


@dataclass
class FakeOutbox:
    """`down`: every call fails. `answer_lost`: methods that do their work, and fail then. `calls`: methods, in order."""

    clock: Clock = field(default_factory=ManualClock)
    down: bool = False
    answer_lost: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    added: int = 0
    _known: dict[Circle, _Known] = field(default_factory=dict)
    _floors: dict[str, int] = field(default_factory=dict)
    _waiting: dict[str, tuple[Waiting, float]] = field(default_factory=dict)
    _lead: tuple[int, str, float] | None = None
    _token: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def lose(self) -> None:
        self._known.clear()
        self._floors.clear()
        self._waiting.clear()
        self._lead, self.added = None, 0

    def lose_lead(self) -> None:
        """The lease ran out, and its holder did not notice."""
        self._lead = None

    def put(self, changes: Iterable[CircleChange], floor: str | None = None) -> list[int | None]:
        told = [self._put(change, floor) for change in changes]
        self._arrived.set()
        return told

    def _put(self, change: CircleChange, since: str | None) -> int | None:
        instant, version = milliseconds(change.at), version_number(change.version)
        deleted = change.operation is Operation.DELETED
        floor = 0
        if since is not None:
            floor = self._floors.setdefault(change.manager, milliseconds(since))
        known = self._known.get(change.circle)
        if known is not None:
            if not known.is_news(instant, version, deleted=deleted):
                return None
            if deleted and version and version in known.versions:
                version, change = 0, replace(change, version=None)
        elif 0 < instant <= floor:
            return None
        else:
            known = _Known(int(self._now * 1000) - 1)
        known = self._known[change.circle] = known.after(instant, version, deleted=deleted)
        self.added += 1
        place = f"{self.added:08d}"
        self._waiting[place] = (Waiting(change, known.sequence, place, 0.0), self._now)
        return known.sequence

    async def enqueue(self, change: CircleChange) -> int | None:
        self._called("enqueue")
        [told] = self.put([change])
        self._answered("enqueue")
        return told

    async def enqueue_many(
        self, changes: Sequence[CircleChange], *, since: str | None
    ) -> Sequence[int | None]:
        self._called("enqueue_many")
        told = self.put(changes, since or "")
        self._answered("enqueue_many")
        return told

    async def numbers(self, manager: str, circle_ids: Sequence[str]) -> Sequence[Numbered]:
        self._called("numbers")
        found = [self._known.get((manager, one)) for one in circle_ids]
        unknown = Numbered(int(self._now * 1000) - 1, False)
        return [
            unknown if one is None else Numbered(one.sequence, True, one.versions[0] if one.versions else 0)
            for one in found
        ]

    async def lead(self, node: str, *, seconds: float) -> int | None:
        self._called("lead")
        token = self._leading()
        if token is not None and self._lead is not None and self._lead[1] != node:
            return None
        if token is None:
            if seconds <= 0:
                return None
            self._token = token = max(self._token + 1, int(self._now * 1000))
        self._lead = (token, node, self._now + seconds)
        return token

    async def peek(self, token: int, *, after: str | None, limit: int) -> Sequence[Waiting] | None:
        self._called("peek")
        if self._leading() != token:
            return None
        behind = [one for place, one in self._waiting.items() if after is None or place > after]
        return [replace(waiting, age=self._now - since) for waiting, since in behind[:limit]]

    async def remove(self, token: int, places: Sequence[str]) -> bool:
        self._called("remove")
        if self._leading() != token:
            return False
        for place in places:
            self._waiting.pop(place, None)
        self._answered("remove")
        return True

    async def wait(self, after: str | None, *, seconds: float) -> bool:
        self._called("wait")
        self._arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, 1.0)):
                while not any(after is None or place > after for place in self._waiting):
                    await self._arrived.wait()
                    self._arrived.clear()
                return True
        return False

    async def state(self) -> OutboxState:
        self._called("state")
        oldest = min((since for _, since in self._waiting.values()), default=None)
        leader = self._lead[1] if self._lead is not None and self._leading() is not None else None
        age = None if oldest is None else self._now - oldest
        return OutboxState(len(self._waiting), age, self.added, leader)

    async def tidy(self, manager: str, part: int, *, older: float) -> int:
        """All parts are the first."""
        self._called("tidy")
        edge = int((self._now - older) * 1000)
        gone = [
            circle
            for circle, known in self._known.items()
            if part == 0 and circle[0] == manager and 0 < known.instant < edge
        ]
        for circle in gone:
            floor = self._floors.get(manager, 0)
            self._floors[manager] = max(floor, self._known.pop(circle).instant)
        return len(gone)

    @property
    def _now(self) -> float:
        return self.clock.now().timestamp()

    def _leading(self) -> int | None:
        return self._lead[0] if self._lead is not None and self._lead[2] > self._now else None

    def _called(self, method: str) -> None:
        self.calls.append(method)
        if self.down:
            raise StoreError("federation.store")

    def _answered(self, method: str) -> None:
        if method in self.answer_lost:
            raise StoreError("federation.store")
