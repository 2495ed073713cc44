"""What accompanies one client request through the federation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from broker.core.access.policy import out_of_reach
from broker.core.access.principal import BROKER, Principal
from broker.core.access.touched import Touched
from broker.core.outcome import Language
from broker.core.preferences import Preferences
from broker.errors import StoreError
from broker.ports import Clock
from registry.model import Gestionnaire

T = TypeVar("T")

_STORE_SECONDS = (
    0.1  # what a store that is well needs at most; also where managers took all the time there was
)


@dataclass(slots=True)
class Waits:
    """How long each manager was waited for: by slug, instants of the monotonic clock of its first request and of its
    last answer or failure, and how many exchanges there were."""

    by_manager: dict[str, tuple[float, float, int]] = field(default_factory=dict)

    def note(self, slug: str, sent: float, ended: float) -> None:
        first, last, count = self.by_manager.get(slug, (sent, ended, 0))
        self.by_manager[slug] = (min(first, sent), max(last, ended), count + 1)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One client request.

    `deadline` is an instant of the monotonic clock: the answer leaves by then. `caller` owns the page links that this
    answer gives. `via` is the Via header that managers are sent, by which a loop of brokers is recognised (RFC 9110,
    section 7.6.3). `principal` is what the client may do: the gateway says it of each request, and what nobody asked for
    the broker does itself. `touched` gathers whose data it has seen or changed. `waits`: where somebody wants to know.
    """

    request_id: str
    caller: str
    language: Language
    preferences: Preferences
    deadline: float
    via: str
    clock: Clock
    principal: Principal = BROKER
    touched: Touched = field(default_factory=Touched)
    waits: Waits | None = None

    def as_broker(self) -> RequestContext:
        """For what the broker must know itself before it may answer: the client's limits do not bind it, nor does the
        client see it, so nobody's data counts as touched."""
        return replace(self, principal=BROKER, touched=Touched())

    def check_reach(self, manager: Gestionnaire) -> None:
        """Raises `AccessError` (403) for a manager that the client does not reach."""
        if not self.principal.reaches(manager):
            raise out_of_reach(manager)

    def remaining(self) -> float:
        """Seconds left for managers: what it takes to merge and answer is kept back."""
        left = self.deadline - self.clock.monotonic()
        return left - min(0.15, left * 0.1)

    async def within(self, work: Awaitable[T]) -> T:
        """What a store does for this request, given up when its time is over. Raises `StoreError`."""
        try:
            async with asyncio.timeout(max(_STORE_SECONDS, self.deadline - self.clock.monotonic())):
                return await work
        except TimeoutError:
            raise StoreError("federation.store") from None

    def headers(self) -> dict[str, str]:
        return {"X-Request-Id": self.request_id, "Via": self.via}
