"""How long to wait before something that failed is tried again. Pure: the jitter comes from outside.

Waiting times grow from `first` by `factor` up to `most`, and are shortened at random by up to `spread` of themselves, so
that what failed together does not come back together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds, but for `factor` and `spread` (0 to 1). `give_up`: seconds since the first failure; None: never."""

    first: float
    most: float
    factor: float = 2.0
    spread: float = 0.5
    give_up: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.most and self.factor >= 1 and 0 <= self.spread < 1):
            raise ValueError("no growing row of waiting times")

    def delay(self, failures: int, jitter: float = 0.0, *, since_first: float = 0.0) -> float | None:
        """Seconds to wait after so many failures in a row (1 or more); None: it has been tried long enough.

        `jitter`: a random number from 0 up to 1. `since_first`: seconds since the first of these failures. The last try is
        made when that time is over, not before.
        """
        if failures < 1 or not 0 <= jitter < 1:
            raise ValueError("one failure at least, and a jitter from 0 up to 1")
        if self.give_up is not None and since_first >= self.give_up:
            return None
        wait = self._grown(failures) * (1 - self.spread * jitter)
        return wait if self.give_up is None else min(wait, self.give_up - since_first)

    def _grown(self, failures: int) -> float:
        wait = self.first
        for _ in range(failures - 1):
            wait *= self.factor
            if wait >= self.most:
                return self.most
        return wait


DAY: Final = 86_400.0

REST_HOOK: Final = Backoff(first=10, most=4 * 3600, factor=2.5, give_up=4 * DAY)
"""To a subscriber's endpoint: four days, so that one that broke down on a Friday evening is still served on Tuesday.

10 s, 25 s, about 1, 3, 7, 16 and 41 minutes, an hour and forty minutes, then every four hours.
"""

AGENT: Final = Backoff(first=0.2, most=30)
"""To the agent's own manager, for as long as it takes: nothing is skipped."""

PUBLISHER: Final = Backoff(first=0.2, most=15)
"""To the change log, for as long as it takes: the outbox keeps what waits."""
