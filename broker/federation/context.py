"""What accompanies one client request through the federation."""

from __future__ import annotations

from dataclasses import dataclass

from broker.core.outcome import Language
from broker.core.preferences import Preferences
from broker.ports import Clock


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One client request.

    `deadline` is an instant of the monotonic clock: the answer leaves by then. `caller` owns the page links that this
    answer gives. `via` is the Via header that managers are sent, by which a loop of brokers is recognised (RFC 9110,
    section 7.6.3).
    """

    request_id: str
    caller: str
    language: Language
    preferences: Preferences
    deadline: float
    via: str
    clock: Clock

    def remaining(self) -> float:
        """Seconds left for managers: what it takes to merge and answer is kept back."""
        left = self.deadline - self.clock.monotonic()
        return left - min(0.15, left * 0.1)

    def headers(self) -> dict[str, str]:
        return {"X-Request-Id": self.request_id, "Via": self.via}
