"""How long managers have taken of late, measured on the way to them; and finding out about those that nobody waits for.

Measured is what whoever asks waits for: the guard's queue too, as a deadline covers both. Writes are not, nor is what goes
by the guard's other door (crawls, checks). Everything here is per process.
"""

from __future__ import annotations

import asyncio

from broker.core.breaker import BreakerState
from broker.core.latency_rule import Pace, PaceRule, Paces
from broker.errors import FailureKind, ManagerError
from broker.federation.manager_guard import ManagerGuard
from broker.ports import Clock, ManagerAnswer, ManagerClient, ManagerRequest
from registry.model import Gestionnaire, Registered

_RULE = PaceRule()
_LOOK_EVERY = 5.0  # seconds between two looks at one manager


class PacedManagers:
    """A `ManagerClient` around another that leads to the guard. `default_timeout`: as the guard's, seconds."""

    def __init__(
        self,
        client: ManagerClient,
        guard: ManagerGuard,
        clock: Clock,
        *,
        default_timeout: float = 5.0,
        rule: PaceRule = _RULE,
    ) -> None:
        self._client = client
        self._guard = guard
        self._clock = clock
        self._default_timeout = default_timeout
        self._rule = rule
        self._paces: dict[str, tuple[str, Paces]] = {}  # by slug: where the manager was, and how it was there
        self._looked: dict[str, float] = {}
        self._doubted: asyncio.Queue[Registered] = asyncio.Queue()

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        """See `ManagerClient.send`."""
        pace = self._of(manager, request)
        if pace is None:
            return await self._client.send(manager, request, timeout=timeout)
        began = self._clock.monotonic()
        try:
            answer = await self._client.send(manager, request, timeout=timeout)
        except ManagerError as error:
            if error.kind is FailureKind.TIMEOUT:
                now = self._clock.monotonic()
                pace.gave_up(now - began, now)
            raise
        except asyncio.CancelledError:
            now = self._clock.monotonic()
            pace.gave_up(now - began, now)
            raise
        if answer.status < 300:
            now = self._clock.monotonic()
            pace.answered(now - began, now)
        return answer

    def paces(self, manager: Gestionnaire) -> Paces:
        known = self._paces.get(manager.id)
        if known is None or known[0] != manager.base_url:
            known = self._paces[manager.id] = manager.base_url, Paces(self._clock.monotonic(), self._rule)
        return known[1]

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    def own_time(self, manager: Gestionnaire) -> float:
        """Seconds that a manager is given at most."""
        return manager.timeout or self._default_timeout

    def has_room(self, manager: Gestionnaire) -> bool:
        """Whether a manager may be sent what is not strictly needed: it is well, and not half busy with us."""
        health = self._guard.state(manager.id)
        if health is None:
            return True
        idle = not health.waiting and health.in_flight * 2 < manager.max_connections
        return idle and health.breaker is BreakerState.CLOSED

    def doubt(self, registered: Registered) -> None:
        """Somebody stopped waiting for a manager before its time was over, which counts for nothing: so one that hangs
        would never be found out where nobody waits for it. It is asked something cheap, with all its time, by itself."""
        slug, now = registered.gestionnaire.id, self._clock.monotonic()
        health = self._guard.state(slug)
        if now < self._looked.get(slug, now) or (health and health.breaker is not BreakerState.CLOSED):
            return
        self._looked[slug] = now + _LOOK_EVERY
        self._doubted.put_nowait(registered)

    async def run(self) -> None:
        """Look at those that are doubted, until cancelled."""
        looks: set[asyncio.Task[None]] = set()
        try:
            while True:
                registered = await self._doubted.get()
                look = asyncio.create_task(
                    self._guard.look(registered), name=f"look {registered.gestionnaire.id}"
                )
                looks.add(look)
                look.add_done_callback(looks.discard)
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    def _of(self, manager: Gestionnaire, request: ManagerRequest) -> Pace | None:
        is_search = request.form is not None or bool(request.query) or "?" in request.target
        return self.paces(manager).of(request.method, is_search=is_search)
