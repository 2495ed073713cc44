"""How often something may happen: the generic cell rate algorithm. Pure.

One number is kept for each client: the instant up to which what it has asked for is paid for (the theoretical arrival time
of ITU-T I.371). A request costs one interval; whoever is not further ahead than the burst allows is let through.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second`: in the long run, above 0. `burst`: how many may come at once, 1 or more."""

    per_second: float
    burst: float

    @property
    def interval(self) -> float:
        """Seconds that one costs."""
        return 1.0 / self.per_second

    @property
    def tolerance(self) -> float:
        """Seconds by which one may be ahead."""
        return (self.burst - 1.0) * self.interval

    def wait(self, paid_until: float, now: float) -> float:
        """Seconds until the next one is let through; 0 for now. Both instants are of one clock, in seconds."""
        return max(0.0, paid_until - self.tolerance - now)

    def spent(self, paid_until: float, now: float, count: int = 1) -> float:
        """`paid_until` when so many more were let through."""
        return max(paid_until, now) + count * self.interval


def a_second_at_once(per_second: float) -> Rate:
    """What comes in a second may come at once."""
    return Rate(per_second, max(1.0, per_second))
