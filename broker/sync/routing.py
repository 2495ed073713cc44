"""From a change to those who want to be told of it (federation, section 6).

`route` compares a change once with the subscriptions that it may concern, of all that are registered by then at whatever
node: so a newcomer that reads the present state once its subscription is active misses nothing that comes after.

Who is to be sent a circle is written down before it is sent: so whoever has it is told, once, when it is gone or matches no
longer, whatever happens in between. After publishing, `settle` forgets those who were told so. To be told in vain is
harmless, not to be told leaves a copy standing.

    destinations = await routing.route(change, circle, actors)
    …publish to destinations.topics…
    await routing.hand_over(change, circle, actors, destinations)
    await routing.settle(change, destinations)

Repeating any of it, from the start, ends in the same: topics bear duplicates, a queue knows its events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from broker.core.change_event import Change, Operation
from broker.core.entry import Entry
from broker.core.event_content import closure
from broker.core.subscription import ChannelKind, ContentLevel, Subscription
from broker.core.subscription_criteria import Circle, Selection
from broker.core.subscription_notification import NotifiedEvent
from broker.sync.subscriptions_view import SubscriptionsView, takes_changes
from registry.subscription_model import QueueBounds, QueuedEvent
from registry.subscription_ports import HookQueue, SentCircles


@dataclass(frozen=True, slots=True)
class Destinations:
    """`topics`: a manager's slug → how much its replication topic is told. `hooks`: a subscription's id → likewise.

    `ended`: subscriptions that are told for the last time, since the circle is gone or matches no longer. `left`: those of
    `topics` by none of whose subscriptions the circle is selected any longer: their replica of it is to go. `whole`: the
    subscriptions on whose account `topics` are told the circle with its content.
    """

    topics: Mapping[str, ContentLevel] = field(default_factory=dict)
    hooks: Mapping[str, ContentLevel] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    whole: Sequence[Subscription] = field(default=(), compare=False)


class ChangeRouting(Protocol):
    """What the publisher asks. Every method may raise `StoreError`: then all of it is to be done again."""

    async def is_awaited(self) -> bool:
        """Whether anybody has subscribed to anything: else no circle need be read."""
        ...

    async def route(self, change: Change, circle: Entry | None, actors: Sequence[Entry] = ()) -> Destinations:
        """`circle` and `actors`: as they are now; None for a deletion. A circle that cannot be read must wait.

        A deletion goes to those who were sent the circle; where nothing is known of any, to all that may have been.
        """
        ...

    async def hand_over(
        self, change: Change, circle: Entry | None, actors: Sequence[Entry], destinations: Destinations
    ) -> None:
        """Put the event in the queues of `destinations.hooks`."""
        ...

    async def settle(self, change: Change, destinations: Destinations) -> None:
        """All is published and handed over."""
        ...


class _Kept(msgspec.Struct, frozen=True):
    """An event in a queue."""

    change: Change
    circle: Entry | None = None
    actors: tuple[Entry, ...] = ()


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


class ChangeRouter:
    """`ChangeRouting`. `matched`: criteria evaluated so far, for the figures."""

    def __init__(
        self,
        view: SubscriptionsView,
        sent: SentCircles,
        queue: HookQueue,
        public_base: str,
        bounds: QueueBounds | None = None,
    ) -> None:
        self._view = view
        self._sent = sent
        self._queue = queue
        self._public_base = public_base.rstrip("/")
        self._bounds = bounds or QueueBounds()
        self.matched = 0

    async def is_awaited(self) -> bool:
        if not self._view.count:  # else `route` makes sure
            await self._view.ensure()
        return self._view.count > 0

    async def route(self, change: Change, circle: Entry | None, actors: Sequence[Entry] = ()) -> Destinations:
        if change.operation is Operation.DELETED:
            circle, actors = None, ()
        elif circle is None:
            raise ValueError("only a deletion is routed without the circle")
        _, before = await asyncio.gather(self._view.ensure(), self._sent.sent(change.public_id))
        selected = self._select(change, Circle.of(change.public_id, circle, actors), before)
        matching = frozenset(one.id for one, why in selected if why is Selection.MATCHES)
        if matching - before:
            await self._sent.remember(change.public_id, matching - before)
        topics: dict[str, ContentLevel] = {}
        left: set[str] = set()
        for one, why in selected:
            slug, content = one.channel.slug, one.channel.content
            if slug is None:
                continue
            if why is Selection.LEFT:
                left.add(slug)
            elif topics.get(slug) is not ContentLevel.FULL:
                topics[slug] = content
        left -= topics.keys()
        topics |= dict.fromkeys(left, ContentLevel.ID_ONLY)
        hooks = {one.id: one.channel.content for one, _ in selected if _is_hook(one)}
        told = frozenset(one.id for one, _ in selected)
        gone = before if change.operation is Operation.DELETED else before & told
        whole = [
            one
            for one, why in selected
            if one.channel.slug is not None
            and one.channel.content is ContentLevel.FULL
            and why is not Selection.LEFT
        ]
        return Destinations(topics, hooks, gone - matching, frozenset(left), whole)

    def _select(
        self, change: Change, circle: Circle, before: frozenset[str]
    ) -> list[tuple[Subscription, Selection]]:
        selected = []
        known = bool(before) or circle.resource is not None
        may = self._view.index.concerned(circle) if known else self._view.all()
        for name in dict.fromkeys([*may, *sorted(before)]):
            one = self._view.get(name)
            # A manager's own circles are nothing new to it.
            if one is None or not takes_changes(one) or one.channel.slug == change.manager:
                continue
            # Out of its owner's reach: told of the end of what it was sent while that was in reach, and of nothing else.
            ends = change.operation is Operation.DELETED and name in before
            if not ends and not one.covers(change.manager, change.region):
                continue
            self.matched += 1
            why = one.criteria.select(circle, sent_before=name in before if known else None)
            if why.sent:
                selected.append((one, why))
        return selected

    async def hand_over(
        self, change: Change, circle: Entry | None, actors: Sequence[Entry], destinations: Destinations
    ) -> None:
        levels = set(destinations.hooks.values())
        if not levels:
            return
        bare = _encode(_Kept(change))
        full = bare
        if ContentLevel.FULL in levels and circle is not None and change.operation is not Operation.DELETED:
            belonging, _ = closure(circle, actors, self._public_base)
            full = _encode(_Kept(change, circle, belonging))
        contents = {
            name: full if content is ContentLevel.FULL else bare
            for name, content in destinations.hooks.items()
        }
        await self._queue.offer(change.event_id, contents, self._bounds)

    async def settle(self, change: Change, destinations: Destinations) -> None:
        if destinations.ended:
            await self._sent.forget(change.public_id, destinations.ended)


def notified(event: QueuedEvent) -> NotifiedEvent | None:
    """A queued event, ready to be told; None where it can be read no more: sealed with a secret that is gone."""
    if event.content is None:
        return None
    kept = _decode(event.content)
    return NotifiedEvent(event.number, kept.change, kept.circle, kept.actors)


def _is_hook(subscription: Subscription) -> bool:
    return subscription.channel.kind is ChannelKind.REST_HOOK
