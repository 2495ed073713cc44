"""What the stores of subscriptions tell: versions of a subscription, and the queue of what is still to be posted. Pure.

Contents are opaque here: a subscription's criteria may hold an INS, and an event holds a circle. They are sealed on
their way into the store (`broker.core.sealing`) and opened on their way out.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """One version of a subscription. `version` counts from 1; `updated_at` is an instant, RFC 3339.

    `content`: what was put. None: it was removed (`removed`), or was sealed with a secret that is gone.
    """

    id: str
    version: int
    updated_at: str
    content: bytes | None = field(repr=False)
    removed: bool = False


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """What a queue keeps, delivered or not. `seconds`: of its oldest event. What is over is dropped, the oldest first."""

    events: int = 10_000
    bytes: int = 32 * 1024 * 1024
    seconds: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class QueuedEvent:
    """`number`: from 1 on, without a gap, as they came in. `at`: when it was taken, seconds since 1970."""

    number: int
    event: str
    at: float
    content: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class QueueState:
    """`last`: number of the newest event, 0 for none. `delivered`: up to where. `lost`: dropped before they were.

    `failures`: attempts in a row that failed, since the instant `failing_since` (seconds since 1970, None where none).
    `parked`: nothing is tried any more, until `resume`. `oldest`: when the first event that waits was taken.
    """

    last: int = 0
    delivered: int = 0
    lost: int = 0
    failures: int = 0
    failing_since: float | None = None
    parked: bool = False
    oldest: float | None = None

    @property
    def waiting(self) -> int:
        """Numbers that were not delivered; those dropped among them count too, until delivery has passed them."""
        return self.last - self.delivered


@dataclass(frozen=True, slots=True)
class Turn:
    """A queue that is one worker's for a while. `fence` grows with each turn: an older one changes nothing any more.

    `now`: by the store's clock, seconds since 1970.
    """

    subscription: str
    fence: int
    now: float
    state: QueueState
