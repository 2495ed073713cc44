"""Subscriptions: who wants to be told of what (federation, section 6). Registered, read, changed, removed, looked at.

A subscription on a `message` channel is active as soon as its topic is open. One on a `rest-hook` is requested until its
endpoint has taken a handshake, which `broker.sync.rest_hook` posts; its queue is there from its registration on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from broker.core.hook_address import AddressRules
from broker.core.messages import text
from broker.core.subscription import ChannelKind, ContentLevel, Owner, Subscription, SubscriptionStatus
from broker.core.subscription_form import drawn, read_subscription, to_fhir
from broker.core.subscription_notification import NotificationType, NotifiedEvent, notification
from broker.core.subscription_search import Test
from broker.core.topics import replication
from broker.errors import BrokerError, ConfigurationError, Issue, RefusedError, RequestError, StoreError
from broker.federation.context import RequestContext
from broker.federation.writing.update import names_version
from broker.ports import Clock, Managers
from broker.sync.routing import notified
from broker.sync.subscription_rights import (
    check_changeable,
    check_content,
    check_entitled,
    owns,
    sees,
    sees_all,
    tell,
)
from broker.sync.subscriptions_view import SubscriptionForm, SubscriptionsView
from registry.subscription_model import QueueBounds, QueueState, StoredSubscription
from registry.subscription_ports import HookQueue, SubscriptionStore

MAX_EVENTS = 100
"""In one answer to `$events`."""

_TIDY_EVERY = 60  # rounds

OpenTopic = Callable[[str], Awaitable[None]]
"""Make sure that a manager's (slug) replication topic is there. `StoreError`: later; `ConfigurationError`: it cannot be."""


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """`most`: subscriptions that there may be. `addresses`: what endpoints may lead to. `bounds`: as the router's."""

    most: int = 10_000
    addresses: AddressRules = field(default_factory=AddressRules)
    bounds: QueueBounds = field(default_factory=QueueBounds)


@dataclass(frozen=True, slots=True)
class SubscriptionService:
    """`draw_id`, `draw_secret`: random texts, an id and a secret of 32 characters or more.

    `queues`: how far each queue was a moment ago, for the figures.
    """

    store: SubscriptionStore
    queue: HookQueue
    view: SubscriptionsView
    managers: Managers
    form: SubscriptionForm
    clock: Clock
    open_topic: OpenTopic
    draw_id: Callable[[], str]
    draw_secret: Callable[[], str]
    options: SubscriptionOptions = field(default_factory=SubscriptionOptions)
    queues: dict[str, QueueState] = field(default_factory=dict)

    async def create(
        self, resource: dict[str, Any], context: RequestContext
    ) -> tuple[Subscription, str | None]:
        """What is registered, and the signing secret where the broker drew it: it is told this once."""
        stated = read_subscription(resource, self.form.rules())
        check_entitled(stated, context.principal)
        self._check(stated)
        if self.view.count >= self.options.most:
            raise RequestError("subscription.too-many", limit=self.options.most)
        secret = None
        if stated.channel.kind is ChannelKind.REST_HOOK and stated.secret is None:
            secret = self.draw_secret()
            stated = drawn(stated, secret)
        owner = Owner.of(context.principal)
        made = await self._activated(replace(stated, id=self.draw_id(), owner=owner), None)
        stored = await self._put(made)
        if stored is None:
            raise StoreError("federation.store")  # an id that was drawn twice
        await self._queued(stored)
        context.touched.name("Subscription", stored.id)
        return stored, secret

    async def read(self, name: str, context: RequestContext) -> Subscription:
        """Raises `RequestError` request.not-found (also of another client's), request.deleted; `BrokerError`
        subscription.unreadable."""
        context.touched.name("Subscription", name)
        subscription = self._seen(await self._stored(name), context)
        if subscription is None:
            raise BrokerError("subscription.unreadable")
        return subscription

    async def update(
        self, name: str, resource: dict[str, Any], context: RequestContext, *, if_match: str | None
    ) -> tuple[Subscription, str | None]:
        """As `create`. An update is no creation: an id that there is not is refused."""
        if resource.get("id") != name:
            raise RequestError("request.id-mismatch")
        while True:
            present = await self.read(name, context)
            check_changeable(present, context.principal)
            if if_match is not None and not names_version(if_match, str(present.version)):
                raise RequestError("request.precondition")
            stated = read_subscription(resource, self.form.rules(), previous=present)
            check_entitled(stated, context.principal)
            self._check(stated)
            secret = None
            if stated.channel.kind is ChannelKind.REST_HOOK and not (present.secret or stated.secret):
                secret = self.draw_secret()
                stated = drawn(stated, secret)
            revised = present.revised(stated)
            if owns(present, context.principal):
                revised = replace(revised, owner=Owner.of(context.principal))
            revised = await self._activated(revised, present)
            stored = await self._put(revised)
            if stored is not None:
                await self._queued(stored)
                return stored, secret

    async def delete(self, name: str, context: RequestContext, *, if_match: str | None) -> None:
        """May be repeated. Raises `RequestError` request.not-found, request.precondition."""
        context.touched.name("Subscription", name)
        while True:
            found = await self.store.read([name])
            if not found:
                raise RequestError("request.not-found")
            present = found[0]
            if present.removed:
                break
            check_changeable(self._seen(present, context), context.principal)
            if if_match is not None and not names_version(if_match, str(present.version)):
                raise RequestError("request.precondition")
            if await self.store.remove(name, expected=present.version):
                break
        await self.queue.drop(name)
        await self.view.refresh()

    async def search(self, tests: Sequence[Test], context: RequestContext) -> Sequence[Subscription]:
        """Those that the client may see, in the order of their ids."""
        if not await self.view.refresh():
            raise StoreError("federation.store")
        found = self.view.all()
        return [
            found[name]
            for name in sorted(found)
            if sees(found[name], context.principal)
            and all(test(resource) for resource in (to_fhir(found[name]),) for test in tests)
        ]

    # --- what was sent

    async def numbers(self, subscriptions: Sequence[Subscription]) -> Sequence[tuple[Subscription, int]]:
        """Each with the number of its last event; 0 on a topic, where the log numbers them."""
        states = await self.queue.states([one.id for one in subscriptions])
        return [(one, states.get(one.id, QueueState()).last) for one in subscriptions]

    async def events(self, name: str, context: RequestContext, *, since: int, until: int | None) -> bytes:
        """The notification Bundle of past events, `MAX_EVENTS` at most: what is still kept of those numbers."""
        subscription = await self.read(name, context)
        check_content(subscription, context.principal)
        if subscription.channel.kind is not ChannelKind.REST_HOOK:
            raise RequestError("subscription.no-queue")
        ((_, last),) = await self.numbers([subscription])
        kept = await self.queue.events(name, since=since, until=until, limit=MAX_EVENTS)
        reach = Owner.of(context.principal)
        found: list[NotifiedEvent] = [
            event
            for one in kept
            if (event := notified(one)) is not None
            and reach.reaches(event.change.manager, event.change.region)
        ]
        for event in found:
            if subscription.channel.content is not ContentLevel.EMPTY:
                tell(context.touched, event)
        return notification(
            subscription,
            NotificationType.PAST,
            self.form.public_base,
            at=self.now(),
            events_since_start=last,
            events=found,
        )

    def now(self) -> str:
        """An instant."""
        return self.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # --- in the background

    async def look_after(self) -> None:
        """What no request does: opens topics that could not be, ends what has ended, mends what was cut short.

        May be done by any number of workers. Raises `StoreError`.
        """
        hooks = []
        for subscription in list(self.view.all().values()):
            if subscription.status is SubscriptionStatus.OFF:
                continue
            if subscription.has_ended(self.clock.now()):
                await self._put(subscription.moved(SubscriptionStatus.OFF))
            elif subscription.channel.kind is ChannelKind.REST_HOOK:
                hooks.append(subscription)
            elif subscription.status is SubscriptionStatus.REQUESTED:
                activated = await self._activated(subscription, None)
                if activated.status is not SubscriptionStatus.REQUESTED:
                    await self._put(activated)
        states = await self.queue.states([one.id for one in hooks])
        self.queues.clear()
        self.queues.update(states)
        for subscription in hooks:
            state = states.get(subscription.id)
            if state is None:
                await self.queue.open(subscription.id)
            elif state.parked and subscription.status is not SubscriptionStatus.ERROR:
                await self.queue.resume(subscription.id)

    async def run(self, every: float = 5.0) -> None:
        """Look after them until cancelled. A store that is out is waited for."""
        for number in count():
            with suppress(StoreError):
                await self.look_after()
                if number % _TIDY_EVERY == 0:
                    await self.store.reseal()
                    await self.queue.tidy(list(self.view.all()), self.options.bounds)
            await self.clock.sleep(every)

    # --- how

    def _check(self, stated: Subscription) -> None:
        """What only this federation can tell. Raises `RefusedError` subscription.refused."""
        channel = stated.channel
        issue = None
        if channel.slug is not None and self.managers.get(channel.slug) is None:
            params = {"slug": channel.slug}
            issue = Issue(
                "subscription.unknown-manager", params, expression=("Subscription.channel.endpoint",)
            )
        elif channel.kind is ChannelKind.REST_HOOK and not self.options.addresses.permits_url(
            channel.endpoint
        ):
            issue = Issue("subscription.endpoint-address", expression=("Subscription.channel.endpoint",))
        if issue is not None:
            raise RefusedError("subscription.refused", [Issue("subscription.refused"), issue])

    async def _activated(self, subscription: Subscription, before: Subscription | None) -> Subscription:
        """On a topic that is open already, or can be opened now, it is active at once."""
        slug = subscription.channel.slug
        if slug is None or subscription.status is not SubscriptionStatus.REQUESTED:
            return subscription
        known = before is not None and before.channel.slug == slug
        if not (known and before is not None and before.status is SubscriptionStatus.ACTIVE):
            try:
                await self.open_topic(slug)
            except StoreError:
                return subscription
            except ConfigurationError:
                params = {"topic": replication(slug, self.form.topic_prefix)}
                key = "subscription.topic-refused"
                reason = f"{text(key, 'fr', **params)} / {text(key, 'en', **params)}"
                return subscription.moved(SubscriptionStatus.ERROR, error=reason)
        return subscription.moved(SubscriptionStatus.ACTIVE)

    async def _put(self, subscription: Subscription) -> Subscription | None:
        """As its next version; None where it was changed meanwhile."""
        next_one = subscription.registered(subscription.id, subscription.version + 1, self.now())
        stored = await self.store.put(
            subscription.id, self.form.kept(next_one), expected=subscription.version
        )
        if stored is None:
            return None
        self.view.learn(stored)
        return subscription.registered(stored.id, stored.version, stored.updated_at)

    async def _queued(self, subscription: Subscription) -> None:
        """Its queue is as its channel and its state ask for."""
        if subscription.channel.kind is not ChannelKind.REST_HOOK:
            await self.queue.drop(subscription.id)
            return
        await self.queue.open(subscription.id)
        if subscription.status is SubscriptionStatus.REQUESTED:
            await self.queue.resume(subscription.id)

    def _seen(self, stored: StoredSubscription, context: RequestContext) -> Subscription | None:
        """None where it cannot be read. `request.not-found` of another client's: so of one of which nobody can tell."""
        subscription = self.form.read(stored)
        if not (
            sees_all(context.principal) if subscription is None else sees(subscription, context.principal)
        ):
            raise RequestError("request.not-found")
        return subscription

    async def _stored(self, name: str) -> StoredSubscription:
        found = await self.store.read([name])
        if not found:
            raise RequestError("request.not-found")
        if found[0].removed:
            raise RequestError("request.deleted")
        return found[0]
