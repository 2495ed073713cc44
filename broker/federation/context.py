"""What accompanies one client request through the federation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from broker.core.access.principal import BROKER, LOCAL, Principal
from broker.core.access.touched import Touched
from broker.core.outcome import Language
from broker.core.preferences import Preferences
from broker.errors import StoreError
from broker.ports import Clock

T = TypeVar("T")

_STORE_SECONDS = (
    0.1  # what a store that is well needs at most; also where managers took all the time there was
)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One client request.

    `deadline` is an instant of the monotonic clock: the answer leaves by then. `caller` owns the page links that this
    answer gives. `via` is the Via header that managers are sent, by which a loop of brokers is recognised (RFC 9110,
    section 7.6.3). `principal` is what the client may do; `touched` gathers whose data it has seen or changed.
    """

    request_id: str
    caller: str
    language: Language
    preferences: Preferences
    deadline: float
    via: str
    clock: Clock
    principal: Principal = LOCAL
    touched: Touched = field(default_factory=Touched)

    def as_broker(self) -> RequestContext:
        """For what the broker must know itself before it may answer: the client's limits do not bind it, nor does the
        client see it, so nobody's data counts as touched."""
        return replace(self, principal=BROKER, touched=Touched())

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
