"""The subscriptions as a worker sees them: in memory, indexed, kept fresh in the background.

A change of a subscription by any worker is told by the store, and only what changed is read. Where the store does not
answer the last view goes on being used, and `stale_since` says since when.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from broker.core.subscription import ChannelKind, Owner, Subscription, SubscriptionStatus
from broker.core.subscription_form import SubscriptionRules, restored, to_fhir
from broker.core.subscription_index import SubscriptionIndex
from broker.errors import BrokerError, StoreError
from broker.federation.following import follow
from broker.ports import Clock
from registry.subscription_model import StoredSubscription
from registry.subscription_ports import SubscriptionStore

_AT_ONCE = 20  # subscriptions read without letting others have a turn

_OWNER = "_cds-broker-owner"  # beside the elements of the resource, whose names are FHIR's

_log = logging.getLogger("broker.subscriptions")


@dataclass(frozen=True, slots=True)
class SubscriptionForm:
    """How subscriptions lie in the store: the resource with its secrets, which the store seals, and its owner."""

    public_base: str
    topic_prefix: str
    clock: Clock

    def rules(self) -> SubscriptionRules:
        """Of this moment."""
        return SubscriptionRules(self.public_base, self.clock.now(), self.topic_prefix)

    def kept(self, subscription: Subscription) -> bytes:
        kept, owner = to_fhir(subscription, secrets=True), subscription.owner
        if owner is not None:
            kept[_OWNER] = [owner.client, _listed(owner.managers), _listed(owner.regions)]
        return orjson.dumps(kept)

    def read(self, stored: StoredSubscription) -> Subscription | None:
        """None where it was removed, or can be read no more: sealed with a lost secret, or refused by newer rules."""
        if stored.content is None:
            return None
        try:
            kept = orjson.loads(stored.content)
            owner = _owner(kept.pop(_OWNER, None))
            found = replace(restored(kept, self.rules()), owner=owner)
        except (BrokerError, ValueError, KeyError, TypeError):
            return None
        return found.registered(stored.id, stored.version, stored.updated_at)


def _listed(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _owner(kept: list[Any] | None) -> Owner | None:
    if kept is None:
        return None
    client, managers, regions = kept
    return Owner(
        client,
        None if managers is None else frozenset(managers),
        None if regions is None else frozenset(regions),
    )


def takes_changes(subscription: Subscription) -> bool:
    """Whether changes are kept for it.

    For an endpoint also before it was shaken hands with, and while it is in error: so nothing is missed from its
    registration on. A topic is there once the subscription is active.
    """
    if subscription.channel.kind is ChannelKind.MESSAGE:
        return subscription.status is SubscriptionStatus.ACTIVE
    return subscription.status is not SubscriptionStatus.OFF


class SubscriptionsView:
    """`refresh` once at start, then `run` as a task. `unreadable`: how many there are that cannot be read."""

    def __init__(
        self,
        store: SubscriptionStore,
        form: SubscriptionForm,
        clock: Clock,
        *,
        refresh_seconds: float = 30.0,
    ) -> None:
        self._store = store
        self._form = form
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._epoch = -1
        self._versions: dict[str, int] = {}
        self._all: dict[str, Subscription] = {}
        self._reading = asyncio.Lock()
        self.index = SubscriptionIndex()
        self.stale_since: dt.datetime | None = clock.now()

    @property
    def unreadable(self) -> int:
        return len(self._versions) - len(self._all)

    @property
    def count(self) -> int:
        """Readable or not."""
        return len(self._versions)

    def all(self) -> Mapping[str, Subscription]:
        """By id, in every state. Not to be changed."""
        return self._all

    def get(self, name: str) -> Subscription | None:
        return self._all.get(name)

    async def ensure(self) -> None:
        """Know all that was written until now, by whomever. One small question where nothing was. Raises `StoreError`."""
        if await self._store.epoch() != self._epoch and not await self.refresh():
            raise StoreError("federation.store")

    async def refresh(self) -> bool:
        """Read what changed. False where the store did not answer: what is known stays."""
        async with self._reading:
            try:
                epoch = await self._store.epoch()
                versions = dict(await self._store.versions())
                changed = [name for name, version in versions.items() if self._versions.get(name) != version]
                read = await self._store.read(changed) if changed else ()
            except StoreError:
                self.stale_since = self.stale_since or self._clock.now()
                return False
            for name in self._versions.keys() - versions.keys():
                self._forget(name)
            for number, stored in enumerate(read, start=1):
                self.learn(stored)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)  # the requests in between
            self._epoch = epoch
            self.stale_since = None
            return True

    def learn(self, stored: StoredSubscription) -> None:
        """What was just written or read; older than what is known it is passed over."""
        if stored.removed:
            self._forget(stored.id)
            return
        if stored.version < self._versions.get(stored.id, 0):
            return
        self._versions[stored.id] = stored.version
        subscription = self._form.read(stored)
        if subscription is None:
            _log.error("subscription %s cannot be read: nothing is sent for it", stored.id)
            self._all.pop(stored.id, None)
            self.index.remove(stored.id)
            return
        self._all[stored.id] = subscription
        if takes_changes(subscription):
            self.index.put(stored.id, subscription.criteria)
        else:
            self.index.remove(stored.id)

    async def _reread_one(self, name: str) -> None:
        async with self._reading:
            try:
                read = await self._store.read([name])
            except StoreError:
                self.stale_since = self.stale_since or self._clock.now()
                return
            for stored in read:
                self.learn(stored)

    def _forget(self, name: str) -> None:
        self._versions.pop(name, None)
        self._all.pop(name, None)
        self.index.remove(name)

    async def run(self) -> None:
        """Follow the store until cancelled: at each change, and at least every `refresh_seconds`."""
        changes = self._store.changes()
        await follow(changes, self._told, self.refresh, self._clock, seconds=self._refresh_seconds)

    async def _told(self, name: str) -> None:
        await (self._reread_one(name) if name else self.refresh())
