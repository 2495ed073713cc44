"""The guard before every manager: its own connection limit, its own deadline, its own breaker.

One slow or broken manager costs nobody but itself (federation, section 3):

- A manager takes at most `max_connections` requests at a time. Others wait a bounded while, inside their own
  deadline, in a bounded queue, and are then told `busy`.
- No request is given more than the manager's own `timeout`, however patient the caller.
- The breaker (`broker.core.breaker`) judges results. While it is open a request fails at once, unsent.
- Finding out that a manager is back is the work of one background task per open breaker. It sends one cheap
  probe per interval; no person's search ever waits for it.

A timeout counts against a manager only where it was given at least half of its own deadline: otherwise a
client with a short `Prefer: wait` could shut a healthy region for everybody. Our own full queue and cancelled
requests do not count.

Everything here is per process: each worker finds out for itself.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from broker.core.breaker import BREAKING, Breaker, BreakerPolicy, BreakerState
from broker.core.manager_failure import failed, kind_of_status
from broker.core.statement import BROKER_SOFTWARE
from broker.errors import FailureKind, ManagerError
from broker.ports import Clock, ManagerAnswer, ManagerClient, ManagerRequest, Managers
from registry.model import Gestionnaire, Registered, SearchMethod, Status

_PATIENCE = 0.5  # share of a manager's own deadline from which a timeout is its failure
_WAITERS_PER_CONNECTION = 8
_PROBE = (("_count", "1"), ("_elements", "identifier"))
_POLICY = BreakerPolicy()

Observe = Callable[[str, FailureKind | None, float], None]
"""Hears of an exchange: with which manager, how it failed (None: it did not), how many seconds it took."""


@dataclass(frozen=True, slots=True)
class ManagerHealth:
    """What operators are shown of one manager, as this process sees it.

    `failures` are consecutive; `last_kind` is the last failure counted, kept after a recovery. `next_probe`
    is in seconds from now, None unless a probe is scheduled; `probe_interval` in seconds.
    """

    slug: str
    breaker: BreakerState
    since: dt.datetime
    failures: int
    last_kind: FailureKind | None
    in_flight: int
    waiting: int
    next_probe: float | None
    probe_interval: float


class _Lane:
    """What is kept of one manager."""

    __slots__ = ("breaker", "in_flight", "manager", "prober", "slots", "waiting")

    def __init__(self, manager: Gestionnaire, policy: BreakerPolicy, now: float) -> None:
        self.manager = manager
        self.breaker = Breaker(policy, now)
        self.slots = asyncio.Semaphore(manager.max_connections)
        self.in_flight = 0
        self.waiting = 0
        self.prober: asyncio.Task[None] | None = None


class ManagerGuard:
    """A `ManagerClient` around another. `default_timeout` (seconds) stands where a manager declares none.

    `queue_wait` (seconds) bounds the wait for a connection. `on_change` hears of each breaker that opens or
    closes, `observe` of each exchange that counts.
    """

    def __init__(
        self,
        client: ManagerClient,
        managers: Managers,
        clock: Clock,
        *,
        default_timeout: float = 5.0,
        queue_wait: float = 1.0,
        policy: BreakerPolicy = _POLICY,
        on_change: Callable[[ManagerHealth], None] | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._client = client
        self._managers = managers
        self._clock = clock
        self._default_timeout = default_timeout
        self._queue_wait = queue_wait
        self._policy = policy
        self._on_change = on_change
        self._observe = observe
        self._lanes: dict[str, _Lane] = {}

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        """See `ManagerClient.send`. Also raises kind breaker-open and busy, with nothing sent.

        An answer of any status is returned, also one that counts as a failure: what it is worth is the
        caller's to say.
        """
        return await self._send(manager, request, timeout, judged=True)

    async def look(self, registered: Registered) -> None:
        """Ask a manager for something cheap, as it would be probed: what comes of it is judged and observed."""
        manager = registered.gestionnaire
        with suppress(ManagerError):
            await self.send(manager, _probe_request(registered), timeout=self._default_timeout)

    def unjudged(self) -> ManagerClient:
        """The same way to managers for experiments: within their limits, not while a breaker is open, but
        no answer counts for or against them. A server may well fail on the odd things that a check asks."""
        return _Unjudged(self)

    async def _send(
        self,
        manager: Gestionnaire,
        request: ManagerRequest,
        timeout: float,  # noqa: ASYNC109
        *,
        judged: bool,
    ) -> ManagerAnswer:
        lane = self._lane(manager)
        epoch = lane.breaker.admit()
        if epoch is None:
            raise failed(manager, FailureKind.BREAKER_OPEN, sent=False)
        own = manager.timeout or self._default_timeout
        budget = min(timeout, own)
        slots = lane.slots
        if slots.locked():
            budget -= await self._queue(lane, slots, budget)
            epoch = lane.breaker.admit()
            if epoch is None:
                slots.release()
                raise failed(manager, FailureKind.BREAKER_OPEN, sent=False)
        else:
            await slots.acquire()  # does not suspend
        lane.in_flight += 1
        begun = self._clock.monotonic()
        try:
            answer = await self._client.send(manager, request, timeout=budget)
        except ManagerError as error:
            if judged:
                self._seen(manager, error.kind, begun)
            if judged and (error.kind is not FailureKind.TIMEOUT or budget >= own * _PATIENCE):
                self._failed(lane, epoch, error.kind)
            raise
        finally:
            lane.in_flight -= 1
            slots.release()
        if not judged:
            return answer
        # A broker that could not reach a manager of its own is well itself, and so are its other managers.
        kind = None if _is_brokers_own(answer) else kind_of_status(answer.status)
        self._seen(manager, kind, begun)
        if kind in BREAKING:
            self._failed(lane, epoch, kind, self._retry_after(answer))
        else:
            lane.breaker.success(epoch)
        return answer

    def state(self, slug: str) -> ManagerHealth | None:
        """The health of a registered manager; None where it was not asked yet, or is no longer registered."""
        lane = self._lanes.get(slug)
        return None if lane is None or self._current(lane) is None else self._health(lane)

    def states(self) -> Mapping[str, ManagerHealth]:
        return {slug: health for slug in list(self._lanes) if (health := self.state(slug)) is not None}

    async def aclose(self) -> None:
        """Stop probing. Requests in flight are their callers' to end."""
        probers = [lane.prober for lane in self._lanes.values() if lane.prober is not None]
        self._lanes.clear()
        for prober in probers:
            prober.cancel()
        await asyncio.gather(*probers, return_exceptions=True)

    # --- admission

    def _lane(self, manager: Gestionnaire) -> _Lane:
        lane = self._lanes.get(manager.id)
        if lane is not None and lane.manager is manager:
            return lane
        if lane is not None and lane.manager.base_url == manager.base_url:
            if lane.manager.max_connections != manager.max_connections:
                lane.slots = asyncio.Semaphore(manager.max_connections)  # those in flight keep the old one
            lane.manager = manager
            return lane
        if lane is not None:
            self._drop(lane)
        lane = _Lane(manager, self._policy, self._clock.monotonic())
        self._lanes[manager.id] = lane
        return lane

    def _drop(self, lane: _Lane) -> None:
        if self._lanes.get(lane.manager.id) is lane:
            del self._lanes[lane.manager.id]
        if lane.prober is not None and lane.prober is not asyncio.current_task():
            lane.prober.cancel()

    async def _queue(self, lane: _Lane, slots: asyncio.Semaphore, budget: float) -> float:
        """Take a slot when one is free. The seconds waited, or `ManagerError` of kind busy."""
        if lane.waiting >= lane.manager.max_connections * _WAITERS_PER_CONNECTION:
            raise failed(lane.manager, FailureKind.BUSY, sent=False, detail="own-limit")
        started = self._clock.monotonic()
        lane.waiting += 1
        try:
            async with asyncio.timeout(min(budget, self._queue_wait)):
                await slots.acquire()
        except TimeoutError:
            raise failed(lane.manager, FailureKind.BUSY, sent=False, detail="own-limit") from None
        finally:
            lane.waiting -= 1
        return self._clock.monotonic() - started

    # --- judgement

    def _failed(
        self, lane: _Lane, epoch: int, kind: FailureKind | None, retry_after: float | None = None
    ) -> None:
        now = self._clock.monotonic()
        if kind is None or not lane.breaker.failure(epoch, kind, now, retry_after=retry_after):
            return
        if self._lanes.get(lane.manager.id) is not lane:
            return  # dropped or closed meanwhile: nobody would end its task
        # On nobody's behalf: what it says and asks is no part of the request that failed.
        lane.prober = asyncio.create_task(
            self._probe_until_back(lane), name=f"probe {lane.manager.id}", context=Context()
        )
        self._changed(lane)

    def _retry_after(self, answer: ManagerAnswer) -> float | None:
        """Seconds of `Retry-After` (RFC 9110, section 10.2.3.

        Seconds or an HTTP date) on 429 and 503, if any.
        """
        value = answer.headers.get("retry-after", "").strip()
        if answer.status not in (429, 503) or not value:
            return None
        if value.isascii() and value.isdigit():
            return float(value[:9])
        with suppress(ValueError, TypeError, OverflowError):
            then = parsedate_to_datetime(value)
            then = then if then.tzinfo else then.replace(tzinfo=dt.UTC)
            return max(0.0, (then - self._clock.now()).total_seconds())
        return None

    # --- probing

    async def _probe_until_back(self, lane: _Lane) -> None:
        breaker = lane.breaker
        while (due := breaker.probe_at) is not None:
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            registered = self._current(lane)
            if registered is None:
                return
            if breaker.begin_probe(self._clock.monotonic()):
                await self._probe(lane, registered)
        lane.prober = None
        self._changed(lane)

    async def _probe(self, lane: _Lane, registered: Registered) -> None:
        breaker, manager = lane.breaker, registered.gestionnaire
        # No longer than the interval: one that hangs must not keep the next from finding the manager back.
        patience = min(manager.timeout or self._default_timeout, breaker.interval)
        begun = self._clock.monotonic()
        try:
            answer = await self._client.send(manager, _probe_request(registered), timeout=patience)
        except ManagerError as error:
            self._seen(manager, error.kind, begun)
            breaker.probe_failed(self._clock.monotonic(), error.kind)
        except asyncio.CancelledError:
            breaker.probe_abandoned(self._clock.monotonic())
            raise
        except Exception as error:  # noqa: BLE001
            # A defect of ours in one probe must not leave a region shut for good: reported, and tried again.
            breaker.probe_failed(self._clock.monotonic(), FailureKind.INVALID)
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"probe of manager {manager.id} failed", "exception": error}
            )
        else:
            kind = None if _is_brokers_own(answer) else kind_of_status(answer.status)
            self._seen(manager, kind, begun)
            now = self._clock.monotonic()
            if kind in BREAKING and kind is not None:
                breaker.probe_failed(now, kind, retry_after=self._retry_after(answer))
            else:
                breaker.probe_succeeded(now)

    def _seen(self, manager: Gestionnaire, kind: FailureKind | None, begun: float) -> None:
        if self._observe is not None:
            self._observe(manager.id, kind, self._clock.monotonic() - begun)

    def _current(self, lane: _Lane) -> Registered | None:
        """The registration this lane stands for.

        None, and the lane dropped, where that is gone or suspended.
        """
        registered = self._managers.get(lane.manager.id)
        if (
            registered is None
            or registered.gestionnaire.status is Status.SUSPENDED
            or registered.gestionnaire.base_url != lane.manager.base_url
        ):
            self._drop(lane)
            return None
        return registered

    def _health(self, lane: _Lane) -> ManagerHealth:
        breaker, now = lane.breaker, self._clock.monotonic()
        return ManagerHealth(
            slug=lane.manager.id,
            breaker=breaker.state,
            since=self._clock.now() - dt.timedelta(seconds=now - breaker.since),
            failures=breaker.failures,
            last_kind=breaker.last_kind,
            in_flight=lane.in_flight,
            waiting=lane.waiting,
            next_probe=None if breaker.probe_at is None else max(0.0, breaker.probe_at - now),
            probe_interval=breaker.interval,
        )

    def _changed(self, lane: _Lane) -> None:
        if self._on_change is not None:
            self._on_change(self._health(lane))


@dataclass(frozen=True, slots=True)
class _Unjudged:
    guard: ManagerGuard

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        return await self.guard._send(manager, request, timeout, judged=False)  # noqa: SLF001 - its other half


def _is_brokers_own(answer: ManagerAnswer) -> bool:
    """Whether a broker itself answered, whatever the status: a proxy in front of a dead one would not say so."""
    return BROKER_SOFTWARE in answer.headers.get("x-intermediary", "")


def _probe_request(registered: Registered) -> ManagerRequest:
    """One circle's identifier: cheap, and it goes through the manager's store, as `/metadata` would not."""
    skills, method = registered.skills, registered.gestionnaire.search_method
    no_post = skills is not None and skills.post_search is False
    if method is SearchMethod.GET or (method is SearchMethod.AUTO and no_post):
        return ManagerRequest("GET", "CareTeam", query=_PROBE)
    return ManagerRequest("POST", "CareTeam/_search", form=_PROBE)
