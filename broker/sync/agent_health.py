"""How the agent's one manager is doing: said once when it falls ill and when it is back, and whoever waits is woken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.core.breaker import BreakerPolicy, BreakerState
from broker.errors import ManagerError
from broker.federation.manager_guard import ManagerHealth
from broker.ports import Clock
from broker.sync.tasks import end
from registry.model import Gestionnaire, Registered

POLICY = BreakerPolicy(threshold=3, probe_interval=1.0, max_interval=15.0)
"""Of the guard before the agent's manager: nobody waits at a screen, but everything behind waits."""

_TELL_AGAIN_SECONDS = 60.0

_log = logging.getLogger("broker.agent")


@dataclass(frozen=True, slots=True)
class OneManager:
    """`Managers` with the agent's own in it, which is all that it knows."""

    registered: Registered

    @classmethod
    def of(cls, manager: Gestionnaire) -> OneManager:
        return cls(Registered(manager, revision=1, updated_at=""))

    def all(self) -> Sequence[Registered]:
        return (self.registered,)

    def get(self, slug: str) -> Registered | None:
        return self.registered if slug == self.registered.gestionnaire.id else None


@dataclass(slots=True)
class ManagerWatch:
    """`changed` is for the guard to call; `well`, `ill` and `pause` for who works."""

    clock: Clock
    slug: str
    _since: float | None = None
    _told: float = 0.0
    _back: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def waiting(self) -> bool:
        """Whether the manager is being waited for."""
        return self._since is not None

    def changed(self, health: ManagerHealth) -> None:
        """A breaker that closes wakes everybody who waits."""
        if health.breaker is BreakerState.CLOSED:
            self._back.set()
        else:
            self._back.clear()

    def ill(self, error: ManagerError) -> None:
        """It stood in the way of an event."""
        now = self.clock.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._told < _TELL_AGAIN_SECONDS:
            return
        self._told = now
        status = "" if error.status is None else f" {error.status}"
        _log.warning(
            "manager %s: %s%s: waiting for it, nothing is skipped", self.slug, error.kind.value, status
        )

    def well(self) -> None:
        """It took an event."""
        if self._since is not None:
            _log.info("manager %s is back after %.0f s", self.slug, self.clock.monotonic() - self._since)
            self._since = None

    async def pause(self, seconds: float, stop: asyncio.Event) -> None:
        """Wait so long, or until the manager is found back, or the process ends."""
        self._back.clear()
        waits = [
            asyncio.ensure_future(self.clock.sleep(seconds)),
            asyncio.ensure_future(self._back.wait()),
            asyncio.ensure_future(stop.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(waits)
