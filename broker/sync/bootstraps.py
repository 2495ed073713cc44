"""Which newcomers are to be sent the present state, and who does it: one node, whoever gets the lead.

For each active subscription on a topic, and each manager but the subscriber's own, there is a progress in the store. It is
begun anew where the subscription is another version, where the manager has another address, and where it was asked for. So a
manager that joins the federation is sent to those who subscribed long ago, too.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec.structs import replace

from broker.core.subscription import ChannelKind, Subscription
from broker.errors import BrokerError, StoreError
from broker.ports import Clock, Managers
from broker.sync.bootstrap import Bootstrap, Save
from broker.sync.bootstrap_options import BootstrapOptions
from broker.sync.homes_queue import pause
from broker.sync.subscriptions_view import SubscriptionsView, takes_changes
from broker.sync.tasks import end
from registry.bootstrap_model import BootstrapProgress, BootstrapState
from registry.model import Registered, Status
from registry.subscription_ports import BootstrapStore

_log = logging.getLogger("broker.sync")

Pair = tuple[str, str]
"""A subscription's id, and a manager's slug."""

Make = Callable[[Subscription, Registered, BootstrapProgress, Save], Bootstrap]
Followed = Callable[[str], Awaitable[bool]]
"""Whether a manager's changes are heard of by now. May raise `StoreError`."""


class LostLeadError(Exception):
    """Another node does it by now."""


@dataclass(slots=True)
class Bootstraps:
    """`node`: a name of this process that no other has. `known`: the progress as of the last look of this node's."""

    node: str
    store: BootstrapStore
    view: SubscriptionsView
    managers: Managers
    followed: Followed
    make: Make
    clock: Clock
    options: BootstrapOptions = field(default_factory=BootstrapOptions)
    known: Mapping[Pair, BootstrapProgress] = field(default_factory=dict)
    _running: dict[Pair, tuple[str, asyncio.Task[None]]] = field(default_factory=dict)
    _again: dict[Pair, tuple[int, float]] = field(default_factory=dict)  # failures in a row, and when next

    async def run(self) -> None:
        """Until cancelled; then whoever comes next need not wait for the end of the lease."""
        try:
            while True:
                try:
                    self.known = await self.store.progress()
                    token = await self.store.lead(self.node, seconds=self.options.lease)
                    if token is not None:
                        await self._lead(token)
                except (StoreError, LostLeadError):
                    pass
                finally:
                    await self._end_all()
                await self.clock.sleep(self.options.lease / 3)
        finally:
            with suppress(StoreError):
                await self.store.lead(self.node, seconds=0)

    async def _lead(self, token: int) -> None:
        while True:
            await self._reconcile(token)
            await self.clock.sleep(self.options.look)
            if await self.store.lead(self.node, seconds=self.options.lease) != token:
                raise LostLeadError

    async def _reconcile(self, token: int) -> None:
        """Begin what is due, end what is not wanted any more, and forget what is nobody's."""
        if self.view.stale_since is not None:
            return  # nobody is known to have left
        requests = await self.store.requests()
        for name in requests.keys() - self.view.all().keys():
            await self.store.forget_request(name)
        wanted = self.wanted(requests)
        self.known = await self.store.progress()
        for pair in [one for one, (mark, _) in self._running.items() if _mark(wanted.get(one)) != mark]:
            await end([self._running.pop(pair)[1]])
        for pair in self.known.keys() - wanted.keys():
            await self._saved(token, pair, None)
        for pair in [one for one, (_, task) in self._running.items() if task.done()]:
            self._running.pop(pair)[1].result()
        now = self.clock.monotonic()
        for pair, (mark, subscription, registered) in wanted.items():
            progress = self.known.get(pair)
            if progress is None or progress.mark != mark:
                progress = BootstrapProgress(mark)
                await self._saved(token, pair, progress)
                self._again.pop(pair, None)
            if progress.state is BootstrapState.DONE or pair in self._running:
                continue
            due = self._again.get(pair, (0, now))[1] <= now
            if due and len(self._running) < self.options.most and await self._can_begin(registered):
                work = self._worked(token, pair, subscription, registered, progress)
                self._running[pair] = (mark, asyncio.ensure_future(work))

    def wanted(self, requests: Mapping[str, int]) -> dict[Pair, tuple[str, Subscription, Registered]]:
        """Who is to be sent what, with the mark of its progress."""
        found = {}
        for subscription in self.view.all().values():
            slug = subscription.channel.slug
            if subscription.channel.kind is not ChannelKind.MESSAGE or not takes_changes(subscription):
                continue
            for registered in self.managers.all():
                manager = registered.gestionnaire
                if manager.id != slug and subscription.covers(manager.id, manager.region):
                    asked = requests.get(subscription.id, 0)
                    mark = mark_of(subscription.version, asked, manager.base_url)
                    found[subscription.id, manager.id] = (mark, subscription, registered)
        return found

    async def _can_begin(self, registered: Registered) -> bool:
        manager, skills = registered.gestionnaire, registered.skills
        checked = manager.dialect is not None or (skills is not None and skills.checked_at is not None)
        return manager.status is Status.ACTIVE and checked and await self.followed(manager.id)

    async def _worked(
        self,
        token: int,
        pair: Pair,
        subscription: Subscription,
        registered: Registered,
        progress: BootstrapProgress,
    ) -> None:
        async def save(made: BootstrapProgress) -> None:
            await self._saved(token, pair, made)

        bootstrap = self.make(subscription, registered, progress, save)
        try:
            await bootstrap.run()
        except LostLeadError:
            raise
        except (BrokerError, ExceptionGroup) as error:
            problem = _problem(error)
            if problem is None:
                raise
            await self._put_off(token, pair, bootstrap.progress, problem)
        else:
            done = bootstrap.progress
            self._again.pop(pair, None)
            _log.info(
                "the present state of manager %s was sent to %s: %d circles",
                pair[1],
                subscription.channel.slug,
                done.sent,
            )

    async def _put_off(self, token: int, pair: Pair, progress: BootstrapProgress, problem: str) -> None:
        failures = self._again.get(pair, (0, 0.0))[0] + 1
        self._again[pair] = (failures, self.clock.monotonic() + pause(failures))
        waiting = replace(progress, state=BootstrapState.WAITING, problem=problem)
        with suppress(StoreError):  # the store may be what is out
            await self._saved(token, pair, waiting)

    async def _saved(self, token: int, pair: Pair, progress: BootstrapProgress | None) -> None:
        if not await self.store.save(token, *pair, progress):
            raise LostLeadError

    async def _end_all(self) -> None:
        await end([task for _, task in self._running.values()])
        self._running.clear()


def mark_of(version: int, asked: int, base_url: str) -> str:
    """Of what a progress is the progress."""
    digest = hashlib.blake2b(base_url.encode(), digest_size=6).hexdigest()
    return f"{version}.{asked}.{digest}"


def _mark(wanted: tuple[str, Subscription, Registered] | None) -> str | None:
    return None if wanted is None else wanted[0]


def _problem(error: BaseException) -> str | None:
    """Of the errors of several circles the first one's; None where something else is among them."""
    if isinstance(error, BrokerError):
        return error.key
    if isinstance(error, ExceptionGroup):
        keys = [_problem(one) for one in error.exceptions]
        return keys[0] if all(keys) else None
    return None
