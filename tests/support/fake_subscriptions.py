"""`SubscriptionStore`, `HookQueue` and `SentCircles` in memory. One suite holds them to the real ones' ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from broker.errors import StoreError
from broker.ports import Clock
from registry.subscription_model import QueueBounds, QueuedEvent, QueueState, StoredSubscription, Turn
from tests.support.fake_stores import ManualClock


@dataclass
class FakeSubscriptionStore:
    """`down`: every call fails."""

    clock: Clock = field(default_factory=ManualClock)
    down: bool = False
    _documents: dict[str, StoredSubscription] = field(default_factory=dict)
    _listeners: set[asyncio.Queue[str]] = field(default_factory=set)

    async def epoch(self) -> int:
        self._check()
        return sum(one.version for one in self._documents.values())

    async def versions(self) -> Mapping[str, int]:
        self._check()
        return {one.id: one.version for one in self._documents.values() if not one.removed}

    async def read(self, ids: Sequence[str]) -> Sequence[StoredSubscription]:
        self._check()
        return [self._documents[one] for one in ids if one in self._documents]

    async def put(self, subscription: str, content: bytes, *, expected: int) -> StoredSubscription | None:
        self._check()
        present = self._documents.get(subscription)
        if (0 if present is None else present.version) != expected or (present and present.removed):
            return None
        stored = StoredSubscription(subscription, expected + 1, self._now(), content)
        self._documents[subscription] = stored
        self._tell(subscription)
        return stored

    async def remove(self, subscription: str, *, expected: int | None = None) -> bool:
        self._check()
        present = self._documents.get(subscription)
        if present is None or present.removed or expected not in (None, present.version):
            return False
        self._documents[subscription] = StoredSubscription(
            subscription, present.version + 1, self._now(), None, removed=True
        )
        self._tell(subscription)
        return True

    async def reseal(self) -> int:
        self._check()
        return 0

    async def changes(self) -> AsyncGenerator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        queue.put_nowait("")
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    def _check(self) -> None:
        if self.down:
            raise StoreError("federation.store")

    def _tell(self, name: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(name)

    def _now(self) -> str:
        return self.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class _Queue:
    state: QueueState = field(default_factory=QueueState)
    events: list[QueuedEvent] = field(default_factory=list)
    fence: int = 0
    held: float = 0.0


@dataclass
class FakeHookQueue:
    """`down`: every call fails."""

    clock: Clock = field(default_factory=ManualClock)
    down: bool = False
    _queues: dict[str, _Queue] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _listeners: set[asyncio.Queue[None]] = field(default_factory=set)

    async def open(self, subscription: str) -> None:
        self._check()
        if subscription not in self._queues:
            self._queues[subscription] = _Queue()
            self._wake(subscription)

    async def offer(
        self, event: str, contents: Mapping[str, bytes], bounds: QueueBounds
    ) -> Mapping[str, int]:
        self._check()
        offered = {name: self._offered(name, event, content, bounds) for name, content in contents.items()}
        return {name: number for name, number in offered.items() if number}

    def _offered(self, name: str, event: str, content: bytes, bounds: QueueBounds) -> int:
        queue = self._queues.get(name)
        if queue is None:
            return 0
        known = next((one.number for one in queue.events if one.event == event), None)
        if known is not None:
            return known
        number = queue.state.last + 1
        queue.state = replace(queue.state, last=number)
        queue.events.append(QueuedEvent(number, event, self._now, content))
        self._trim(queue, bounds, number)
        if not queue.state.failures and not queue.state.parked and queue.held <= self._now:
            self._wake(name)
        return number

    def _trim(self, queue: _Queue, bounds: QueueBounds, number: int) -> None:
        while queue.events and queue.events[0].number != number:
            size = sum(len(one.content or b"") for one in queue.events)
            over = len(queue.events) > bounds.events or size > bounds.bytes
            if not over and queue.events[0].at >= self._now - bounds.seconds:
                return
            if queue.events.pop(0).number > queue.state.delivered:
                queue.state = replace(queue.state, lost=queue.state.lost + 1)

    async def tidy(self, subscriptions: Sequence[str], bounds: QueueBounds) -> None:
        self._check()
        for name in subscriptions:
            if name in self._queues:
                self._trim(self._queues[name], bounds, 0)

    async def turns(self, *, limit: int, lease: float) -> Sequence[Turn]:
        self._check()
        due = sorted((at, name) for name, at in self._due.items() if at <= self._now)[: max(0, limit)]
        return [self._taken(name, lease) for _, name in due]

    def _taken(self, name: str, lease: float) -> Turn:
        queue = self._queues[name]
        queue.fence += 1
        queue.held = self._due[name] = self._now + lease
        return Turn(name, queue.fence, self._now, self._shown(queue))

    async def renew(self, turn: Turn, *, lease: float, delivered: int | None = None) -> bool:
        queue = self._held(turn)
        if queue is None:
            return False
        if delivered is not None:
            reached = max(queue.state.delivered, delivered)
            queue.state = replace(queue.state, delivered=reached, failures=0, failing_since=None)
        queue.held = self._due[turn.subscription] = self._now + lease
        return True

    async def end(self, turn: Turn, *, again: float | None, failed: bool = False, park: bool = False) -> bool:
        queue = self._held(turn)
        if queue is None:
            return False
        queue.fence += 1
        queue.held = 0.0
        due = None if again is None else self._now + again
        if park:
            queue.state = replace(queue.state, parked=True)
            due = None
        elif failed:
            since = self._now if queue.state.failing_since is None else queue.state.failing_since
            queue.state = replace(queue.state, failures=queue.state.failures + 1, failing_since=since)
        else:
            queue.state = replace(queue.state, failures=0, failing_since=None)
            due = self._now if queue.state.waiting else due
        self._due.pop(turn.subscription, None)
        if due is not None:
            self._due[turn.subscription] = due
        return True

    async def resume(self, subscription: str) -> None:
        self._check()
        queue = self._queues.get(subscription)
        if queue is not None:
            queue.fence += 1
            queue.held = 0.0
            queue.state = replace(queue.state, parked=False, failures=0, failing_since=None)
            self._wake(subscription)

    async def states(self, subscriptions: Sequence[str]) -> Mapping[str, QueueState]:
        self._check()
        return {name: self._shown(self._queues[name]) for name in subscriptions if name in self._queues}

    async def events(
        self, subscription: str, *, since: int, until: int | None = None, limit: int
    ) -> Sequence[QueuedEvent]:
        self._check()
        queue = self._queues.get(subscription, _Queue())
        last = queue.state.last if until is None else until
        return [one for one in queue.events if since <= one.number <= last][: max(0, limit)]

    async def drop(self, subscription: str) -> None:
        self._check()
        self._queues.pop(subscription, None)
        self._due.pop(subscription, None)

    async def wakes(self) -> AsyncGenerator[None]:
        queue: asyncio.Queue[None] = asyncio.Queue()
        queue.put_nowait(None)
        self._listeners.add(queue)
        try:
            while True:
                await queue.get()
                yield
        finally:
            self._listeners.discard(queue)

    @property
    def _now(self) -> float:
        return self.clock.now().timestamp()

    def _check(self) -> None:
        if self.down:
            raise StoreError("federation.store")

    def _held(self, turn: Turn) -> _Queue | None:
        self._check()
        queue = self._queues.get(turn.subscription)
        return queue if queue is not None and queue.fence == turn.fence else None

    def _shown(self, queue: _Queue) -> QueueState:
        waiting = (one.at for one in queue.events if one.number > queue.state.delivered)
        return replace(queue.state, oldest=next(waiting, None))

    def _wake(self, name: str) -> None:
        self._due[name] = min(self._due.get(name, self._now), self._now)
        for queue in self._listeners:
            queue.put_nowait(None)


@dataclass
class FakeSentCircles:
    """`down`: every call fails."""

    down: bool = False
    _sent: dict[str, frozenset[str]] = field(default_factory=dict)

    async def sent(self, circle: str) -> frozenset[str]:
        self._check()
        return self._sent.get(circle, frozenset())

    async def remember(self, circle: str, subscriptions: frozenset[str]) -> None:
        self._check()
        if subscriptions:
            self._sent[circle] = self._sent.get(circle, frozenset()) | subscriptions

    async def forget(self, circle: str, subscriptions: frozenset[str]) -> None:
        self._check()
        left = self._sent.pop(circle, frozenset()) - subscriptions
        if left:
            self._sent[circle] = left

    def _check(self) -> None:
        if self.down:
            raise StoreError("federation.store")
