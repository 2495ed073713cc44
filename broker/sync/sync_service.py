"""How synchronisation is doing, for operators: what waits, who is behind, and how far newcomers are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from broker.core.subscription import ChannelKind, Subscription
from broker.errors import RequestError, StoreError
from broker.ports import Managers
from broker.sync.bootstraps import Bootstraps
from broker.sync.subscriptions_view import SubscriptionsView, takes_changes
from broker.sync.watch import SyncWatch
from registry.bootstrap_model import BootstrapState


class SubscriberStatus(msgspec.Struct, frozen=True):
    """A manager with an active Subscription on its topic. None: the log did not answer of late."""

    id: str
    backlog_events: int | None
    backlog_seconds: float | None
    dead_letters: int | None


class BootstrapStatus(msgspec.Struct, frozen=True):
    """The present state of one manager (`manager`) on its way to a subscriber (`id`). `problem`: a key of the messages."""

    id: str
    subscription: str
    manager: str
    state: BootstrapState
    read: int
    sent: int
    failed: int
    total: int | None
    problem: str | None


class SyncStatus(msgspec.Struct, frozen=True):
    """`outbox_depth`: changes that wait to be published, and the age of the oldest in seconds; None: the store is out.

    `publisher`: the node that publishes. `waiting_for`: managers whose circles cannot be read now.
    `subscriptions`: how many, by status.
    """

    engine: str
    outbox_depth: int | None
    outbox_seconds: float | None
    publisher: str | None
    waiting_for: Mapping[str, int]
    subscriptions: Mapping[str, int]
    subscribers: tuple[SubscriberStatus, ...]
    bootstraps: tuple[BootstrapStatus, ...]


class Waiting(Protocol):
    """Circles that wait for their home to give them, by home: known to the process that publishes."""

    async def refresh(self) -> None: ...

    def waiting_for(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class SyncService:
    """`engine`: of the change log, `kafka` or `redis-streams`."""

    engine: str
    watch: SyncWatch
    waiting: Waiting
    view: SubscriptionsView
    bootstraps: Bootstraps
    managers: Managers

    async def status(self) -> SyncStatus:
        """As of now. Raises `StoreError`."""
        watch = self.watch
        await watch.look_at_outbox()
        await watch.look_at_subscribers()
        await self.waiting.refresh()
        state = watch.outbox_state
        if state is None:
            raise StoreError("federation.store")
        return SyncStatus(
            engine=self.engine,
            outbox_depth=state.depth,
            outbox_seconds=state.age,
            publisher=state.leader,
            waiting_for=dict(self.waiting.waiting_for()),
            subscriptions=self.by_status(),
            subscribers=tuple(map(self._subscriber, sorted(subscribers(self.view)))),
            bootstraps=await self._bootstraps(),
        )

    async def bootstrap(self, slug: str) -> tuple[BootstrapStatus, ...]:
        """Send the present state to a subscriber again, from the start. Raises `RequestError`, `StoreError`."""
        if self.managers.get(slug) is None:
            raise RequestError("registry.unknown", slug=slug)
        named = [name for name, one in self.view.all().items() if _is_on_topic(one, slug)]
        if not named:
            raise RequestError("sync.no-subscription", slug=slug)
        for name in named:
            await self.bootstraps.store.request(name)
        return tuple(one for one in await self._bootstraps() if one.id == slug)

    def by_status(self) -> Mapping[str, int]:
        counted = Counter(one.status.value for one in self.view.all().values())
        if self.view.unreadable:
            counted["unreadable"] = self.view.unreadable
        return counted

    def by_state(self) -> Mapping[str, int]:
        """Of the last look."""
        return Counter(one.state.value for one in self.bootstraps.known.values())

    def _subscriber(self, slug: str) -> SubscriberStatus:
        left = self.watch.backlogs.get(slug)
        return SubscriberStatus(
            slug,
            None if left is None else left.events,
            None if left is None else round(left.seconds, 3),
            self.watch.letters.get(slug),
        )

    async def _bootstraps(self) -> tuple[BootstrapStatus, ...]:
        found = []
        wanted = self.bootstraps.wanted(await self.bootstraps.store.requests())
        known = await self.bootstraps.store.progress()
        for (name, manager), (mark, subscription, _) in sorted(wanted.items()):
            progress = known.get((name, manager))
            if progress is not None and progress.mark != mark:
                progress = None  # it is about to begin anew
            found.append(
                BootstrapStatus(
                    id=subscription.channel.slug or "",
                    subscription=name,
                    manager=manager,
                    state=BootstrapState.WAITING if progress is None else progress.state,
                    read=0 if progress is None else progress.read,
                    sent=0 if progress is None else progress.sent,
                    failed=0 if progress is None else progress.failed,
                    total=None if progress is None else progress.total,
                    problem=None if progress is None else progress.problem,
                )
            )
        return tuple(found)


def subscribers(view: SubscriptionsView) -> set[str]:
    """Slugs of the managers with an active subscription on their topic."""
    return {
        one.channel.slug
        for one in view.all().values()
        if one.channel.slug is not None and _is_on_topic(one, one.channel.slug)
    }


def _is_on_topic(subscription: Subscription, slug: str) -> bool:
    channel = subscription.channel
    return channel.kind is ChannelKind.MESSAGE and channel.slug == slug and takes_changes(subscription)
