"""What those who serve subscriptions ask of the store. One contract suite is run by the fakes and by the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from registry.bootstrap_model import BootstrapProgress
from registry.subscription_model import QueueBounds, QueuedEvent, QueueState, StoredSubscription, Turn


class SubscriptionStore(Protocol):
    """Who wants to be told of what: each subscription an opaque content with versions. May raise `StoreError`."""

    async def epoch(self) -> int:
        """Another number after each `put` and `remove`: whoever has read all since it was this one knows them all."""
        ...

    async def versions(self) -> Mapping[str, int]:
        """Every subscription that there is, and its version."""
        ...

    async def read(self, ids: Sequence[str]) -> Sequence[StoredSubscription]:
        """Those that there are, in any order; of one that was removed, for some weeks, that it was."""
        ...

    async def put(self, subscription: str, content: bytes, *, expected: int) -> StoredSubscription | None:
        """The next version after `expected` (0: it must be new). None, and nothing written, where another is there."""
        ...

    async def remove(self, subscription: str, *, expected: int | None = None) -> bool:
        """False where there is none, or of another version than `expected`."""
        ...

    async def reseal(self) -> int:
        """Seal anew what a former secret sealed, so that one may be given up; how many. No new versions."""
        ...

    def changes(self) -> AsyncIterator[str]:
        """The id at each change by any worker or node; empty once it listens, and once after a lost connection."""
        ...


class HookQueue(Protocol):
    """Events that wait for their HTTP endpoint, a queue for each subscription. Every method may raise `StoreError`.

    A queue that wants attention (an event, a retry, a heartbeat is due) is given to one worker, which renews its turn as it
    works and ends it. Where the worker dies the turn ends by itself, and the next has a higher fence. Times are seconds
    from now, by the store's own clock.
    """

    async def open(self, subscription: str) -> None:
        """There is a queue from now on, due at once. One that is there already stays as it is."""
        ...

    async def offer(
        self, event: str, contents: Mapping[str, bytes], bounds: QueueBounds
    ) -> Mapping[str, int]:
        """Add one event to the queues of several subscriptions; the number it has in each. A queue that is not open is
        left out. An event that a queue still holds by that id is not added again, and keeps its number."""
        ...

    async def turns(self, *, limit: int, lease: float) -> Sequence[Turn]:
        """Queues that are due, the longest due first, each to one caller for `lease` seconds."""
        ...

    async def renew(self, turn: Turn, *, lease: float, delivered: int | None = None) -> bool:
        """Keep the turn; all up to `delivered` has arrived, so nothing is failing. False: the turn is over."""
        ...

    async def end(self, turn: Turn, *, again: float | None, failed: bool = False, park: bool = False) -> bool:
        """The queue is due again in `again` seconds (None: when an event comes); at once, where events wait and nothing
        `failed`. `park`: nothing is tried until `resume`. False: the turn was over."""
        ...

    async def resume(self, subscription: str) -> None:
        """Forget the failures; due at once."""
        ...

    async def states(self, subscriptions: Sequence[str]) -> Mapping[str, QueueState]:
        """Of those that have a queue."""
        ...

    async def events(
        self, subscription: str, *, since: int, until: int | None = None, limit: int
    ) -> Sequence[QueuedEvent]:
        """What is kept of the numbers from `since` to `until`, both included, delivered or not."""
        ...

    async def drop(self, subscription: str) -> None:
        """With all that is in it."""
        ...

    async def tidy(self, subscriptions: Sequence[str], bounds: QueueBounds) -> None:
        """Drop what is past its time, also where no event comes any more. A hundred of each queue at a time."""
        ...

    def wakes(self) -> AsyncIterator[None]:
        """When a queue became due by an event or a `resume`; also once it listens. May miss some: look now and then."""
        ...


class SentCircles(Protocol):
    """Which subscriptions were sent a circle: whoever was is told when it is gone, or matches no longer.

    `circle`: its public id. Every method may raise `StoreError`, is one step and may be repeated.
    """

    async def sent(self, circle: str) -> frozenset[str]: ...

    async def remember(self, circle: str, subscriptions: frozenset[str]) -> None: ...

    async def forget(self, circle: str, subscriptions: frozenset[str]) -> None: ...


class BootstrapStore(Protocol):
    """How far the present state was sent, for each subscription and each manager. Every method may raise `StoreError`."""

    async def lead(self, node: str, *, seconds: float) -> int | None:
        """Send, or go on sending, for `seconds`; 0 ends it. The token, which grows; None where another does."""
        ...

    async def progress(self) -> Mapping[tuple[str, str], BootstrapProgress]:
        """By subscription and manager."""
        ...

    async def save(
        self, token: int, subscription: str, manager: str, progress: BootstrapProgress | None
    ) -> bool:
        """None: forget it. False, and nothing written, where another leads."""
        ...

    async def requests(self) -> Mapping[str, int]:
        """How often the present state was asked for again, by subscription."""
        ...

    async def request(self, subscription: str) -> None: ...

    async def forget_request(self, subscription: str) -> None: ...
