"""Telling subscribers by HTTP: the channel `rest-hook` (FHIR R4, subscription.html; Subscriptions R5 Backport 1.1).

Each subscription has a queue of its own (`registry.subscription_ports.HookQueue`), in which its events are numbered from 1
on without gaps. A queue that wants attention is given to one worker of one node, which serves it alone for its turn:

- requested: a handshake is posted; taken with 2xx, the subscription is active;
- active: what waits is posted in order, signed, some events at a time. A post that is not taken is made again, after growing
  pauses, for days; events wait meanwhile. With nothing to tell and a heartbeat asked for, that is posted;
- tried long enough: the subscription is in `error`, with the reason, and its queue parked. Events go on being kept,
  within bounds, until its owner sets it active again; then all goes on where it was.

A worker that dies loses its turn, and the next posts again what it does not know to have arrived: at least once, in
order, a repeated event with the same number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from broker.core.audit.disclosure import Disclosure
from broker.core.backoff import REST_HOOK, Backoff
from broker.core.media_type import Format
from broker.core.messages import text
from broker.core.signature import HEADER, signed
from broker.core.subscription import ChannelKind, Subscription, SubscriptionStatus
from broker.core.subscription_notification import NotificationType, NotifiedEvent, notification
from broker.core.trace_context import TraceContext
from broker.errors import StoreError
from broker.ports import Clock, Disclosures
from broker.sync.disclosures import UNTRACED, of_events
from broker.sync.hook_client import HookClient, HookError, HookRequest
from broker.sync.routing import notified
from broker.sync.subscriptions_view import SubscriptionForm
from broker.sync.tasks import end
from broker.tracing import NOTHING, Kind, Span, Tracer, passed
from registry.subscription_model import QueuedEvent, Turn
from registry.subscription_ports import HookQueue, SubscriptionStore

_log = logging.getLogger("broker.subscriptions")

HANDSHAKE = Backoff(first=5, most=600, factor=3, give_up=3600)
"""For an hour: an owner who just registered is there to see that it does not work."""


@dataclass(frozen=True, slots=True)
class HookOptions:
    """Seconds, but for `at_once` (turns in one process), `batch` and `bytes` (of the events in one notification).

    `look`: between two looks at what is due, where nothing wakes. `patience`: for one post, where the channel says nothing.
    `lease`: how long a worker that fell silent keeps its turn, beyond a post. `turn`: after which another may have it.
    `untraced`: until what could not be traced is tried again.
    """

    at_once: int = 32
    batch: int = 20
    bytes: int = 2 * 1024 * 1024
    look: float = 5.0
    patience: float = 10.0
    lease: float = 15.0
    turn: float = 20.0
    untraced: float = 5.0
    events: Backoff = REST_HOOK
    handshake: Backoff = HANDSHAKE


@dataclass(slots=True)
class HookFigures:
    """Since this worker began: events that arrived, posts that failed, subscriptions that were suspended."""

    delivered: int = 0
    failed: int = 0
    suspended: int = 0


@dataclass(slots=True)
class RestHooks:
    """The delivery worker of a process. `jitter`: a random number from 0 up to 1 at each call."""

    store: SubscriptionStore
    queue: HookQueue
    client: HookClient
    form: SubscriptionForm
    clock: Clock
    jitter: Callable[[], float]
    options: HookOptions = field(default_factory=HookOptions)
    figures: HookFigures = field(default_factory=HookFigures)
    disclosures: Disclosures = UNTRACED
    tracer: Tracer | None = None
    _serving: set[asyncio.Task[None]] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until cancelled. A store that is out is waited for."""
        listening = asyncio.ensure_future(self._listen())
        try:
            while True:
                self._wake.clear()
                try:
                    await self._hand_out()
                except StoreError:
                    _log.warning("subscribers cannot be served: the store is out")
                await self._pause()
        finally:
            await end([listening, *self._serving])

    async def _listen(self) -> None:
        wakes = self.queue.wakes()
        try:
            async for _ in wakes:
                self._wake.set()
        finally:
            if isinstance(wakes, AsyncGenerator):
                await wakes.aclose()

    async def _pause(self) -> None:
        looking = asyncio.ensure_future(self.clock.sleep(self.options.look))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait([looking, waking], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end([looking, waking])

    async def _hand_out(self) -> None:
        """Take as many turns as can be served; who has served one looks for the next."""
        free = self.options.at_once - len(self._serving)
        for turn in await self.queue.turns(limit=free, lease=self.options.lease):
            task = asyncio.ensure_future(self._serve(turn))
            self._serving.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._wake.set()

    async def _serve(self, turn: Turn) -> None:
        try:
            await _Turn(self, turn).serve()
        except asyncio.CancelledError:
            with suppress(StoreError):
                await self.queue.renew(
                    turn, lease=0
                )  # whoever comes next need not wait for the end of the lease
            raise
        except StoreError:
            pass  # the turn ends by itself, and what was not written down is done again
        except Exception as error:  # noqa: BLE001
            # A defect of ours that one subscription brings out must not end the serving of all: reported, put off.
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"serving subscription {turn.subscription} failed", "exception": error}
            )
            with suppress(StoreError):
                await self.queue.end(turn, again=self.options.events.most, failed=True)


class _Turn:
    """One queue while it is ours."""

    def __init__(self, hooks: RestHooks, turn: Turn) -> None:
        self._hooks = hooks
        self._queue = hooks.queue
        self._options = hooks.options
        self._turn = turn
        self._delivered = turn.state.delivered
        self._spoke = False

    async def serve(self) -> None:
        found = await self._hooks.store.read([self._turn.subscription])
        stored = found[0] if found else None
        subscription = None if stored is None else self._hooks.form.read(stored)
        if stored is None or stored.removed:
            await self._queue.drop(self._turn.subscription)
        elif subscription is None:
            await self._queue.end(self._turn, again=None, park=True)
        elif subscription.channel.kind is not ChannelKind.REST_HOOK:
            await self._queue.drop(self._turn.subscription)
        elif subscription.status in (SubscriptionStatus.OFF, SubscriptionStatus.ERROR):
            await self._queue.end(self._turn, again=None, park=True)
        else:
            await self._tell(subscription)

    async def _tell(self, subscription: Subscription) -> None:
        try:
            if subscription.status is SubscriptionStatus.REQUESTED:
                await self._post(subscription, NotificationType.HANDSHAKE)
                active = await self._moved(subscription, SubscriptionStatus.ACTIVE)
                if active is None:  # its owner changed it meanwhile
                    await self._queue.end(self._turn, again=0)
                    return
                subscription = active
            await self._deliver(subscription)
        except HookError as error:
            self._hooks.figures.failed += 1
            await self._failed(subscription, error)
        except _TurnOverError:
            pass

    async def _deliver(self, subscription: Subscription) -> None:
        """Everything that waits, or as much as fits in a turn."""
        until = self._hooks.clock.monotonic() + self._options.turn
        while True:
            waiting = await self._waiting(subscription)
            if not waiting:
                break
            if self._hooks.clock.monotonic() >= until:
                await self._queue.end(self._turn, again=0)
                return
            await self._post_events(subscription, waiting)
        heartbeat = subscription.channel.heartbeat
        if heartbeat is not None and not self._spoke:
            await self._post(subscription, NotificationType.HEARTBEAT)
        await self._queue.end(self._turn, again=heartbeat)

    async def _waiting(self, subscription: Subscription) -> Sequence[QueuedEvent]:
        limit = min(self._options.batch, subscription.channel.max_count or self._options.batch)
        found = await self._queue.events(self._turn.subscription, since=self._delivered + 1, limit=limit)
        size, fitting = 0, list[QueuedEvent]()
        for one in found:
            size += len(one.content or b"")
            if fitting and size > self._options.bytes:
                break
            fitting.append(one)
        return fitting

    async def _post_events(self, subscription: Subscription, waiting: Sequence[QueuedEvent]) -> None:
        events = [event for one in waiting if (event := notified(one)) is not None]
        last = waiting[-1].number
        if events:
            await self._disclose(of_events(subscription, events))
            await self._post(subscription, NotificationType.EVENT, events, last)
        else:
            await self._renew(self._options.lease, last)
        self._delivered = last
        self._hooks.figures.delivered += len(events)

    async def _disclose(self, handed: Sequence[Disclosure]) -> None:
        """Returns when the trail has it, however long that takes: it is no failure of the subscriber's."""
        while not await self._hooks.disclosures.told(handed):
            await self._renew(self._options.untraced + self._options.lease)
            await self._hooks.clock.sleep(self._options.untraced)

    async def _post(
        self,
        subscription: Subscription,
        kind: NotificationType,
        events: Sequence[NotifiedEvent] = (),
        delivered: int | None = None,
    ) -> None:
        """One notification; with it all up to `delivered` has arrived. Raises `HookError`, `_TurnOverError`."""
        patience = subscription.channel.timeout or self._options.patience
        await self._renew(patience + self._options.lease)
        now = self._hooks.clock.now()
        last = max(self._turn.state.last, events[-1].number if events else 0)
        body = notification(
            subscription,
            kind,
            self._hooks.form.public_base,
            at=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            events_since_start=last,
            events=events,
        )
        headers = {"Content-Type": Format.JSON.content_type, **dict(subscription.channel.header)}
        if subscription.secret is not None:
            headers[HEADER] = signed(body, int(now.timestamp()), subscription.secret)
        with self._traced(kind, events) as span:
            if span.context is not None:
                headers |= span.context.headers()
            await self._hooks.client.post(
                HookRequest(subscription.channel.endpoint, headers, body), timeout=patience
            )
        self._spoke = True
        # Whatever was taken ends a row of failures.
        await self._renew(self._options.lease, self._delivered if delivered is None else delivered)

    def _traced(self, kind: NotificationType, events: Sequence[NotifiedEvent]) -> Span:
        """In the trace of what is told; of several events in that of the last, with links to the others. A heartbeat is
        part of none."""
        if kind is NotificationType.HEARTBEAT:
            return NOTHING
        told = [one.change.traceparent for one in events if one.change.traceparent is not None]
        tracer = self._hooks.tracer
        if tracer is None:
            return passed(told[-1] if told else None)
        causes = [*map(TraceContext, told)]
        parent = causes.pop() if causes else None
        span = tracer.begin("post notification", Kind.CLIENT, parent=parent, links=causes)
        span.note("http.request.method", "POST")
        span.note("cds.notification", kind.value)
        span.note("messaging.batch.message_count", len(events))
        return span

    async def _renew(self, lease: float, delivered: int | None = None) -> None:
        if not await self._queue.renew(self._turn, lease=lease, delivered=delivered):
            raise _TurnOverError

    async def _failed(self, subscription: Subscription, error: HookError) -> None:
        """Later again; or, where it was tried for long enough, suspended and shown."""
        state = self._turn.state
        anew = self._spoke or state.failing_since is None
        failures = 1 if anew else state.failures + 1
        since_first = 0.0 if anew else self._turn.now - (state.failing_since or self._turn.now)
        active = subscription.status is SubscriptionStatus.ACTIVE
        backoff = self._options.events if active else self._options.handshake
        pause = backoff.delay(failures, self._hooks.jitter(), since_first=since_first)
        if pause is not None:
            pause = max(pause, min(error.retry_after or 0.0, backoff.most))
            await self._queue.end(self._turn, again=pause, failed=True)
            return
        suspended = await self._moved(subscription, SubscriptionStatus.ERROR, reason_of(error))
        if suspended is None:
            await self._queue.end(self._turn, again=0, failed=True)
            return
        self._hooks.figures.suspended += 1
        _log.warning("subscription %s is suspended: %s", subscription.id, error.kind.value)
        await self._queue.end(self._turn, again=None, park=True)

    async def _moved(
        self, subscription: Subscription, status: SubscriptionStatus, error: str | None = None
    ) -> Subscription | None:
        """None where it was changed meanwhile."""
        moved = subscription.moved(status, error=error)
        kept = self._hooks.form.kept(moved)
        stored = await self._hooks.store.put(subscription.id, kept, expected=moved.version)
        return None if stored is None else moved.registered(stored.id, stored.version, stored.updated_at)


class _TurnOverError(Exception):
    """Somebody else has it: a resumed, dropped, or overdue one."""


def reason_of(error: HookError) -> str:
    """For `Subscription.error`: French, then English."""
    key = f"subscription.hook-{error.kind.value}"
    params = {"status": error.status or 0}
    return f"{text(key, 'fr', **params)} / {text(key, 'en', **params)}"
