"""How long a manager takes: a histogram of its answers that forgets. Pure: time is passed in.

Buckets grow by a factor from half a millisecond to two minutes, so that a quantile is right within that factor whatever the
scale (as in DDSketch, VLDB 2019, with a fixed range in place of collapsing). Old answers weigh less: a weight halves with
each half-life. Instead of ageing all buckets at each answer, a new answer weighs more (forward decay, Cormode and others,
ICDE 2009); the weights are set back before they grow too large for a float.

An answer costs one logarithm and one power; a quantile goes over the buckets.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Final

LOWEST: Final = 0.0005
"""Seconds; what is quicker counts as this."""

PER_DOUBLING: Final = 4

GROWTH: Final = 2.0 ** (1 / PER_DOUBLING)
"""A quantile is at least the true one, and at most so many times that."""

BUCKETS: Final = 73
"""The last one holds what takes two minutes and more."""

HIGHEST: Final = LOWEST * GROWTH ** (BUCKETS - 1)

_EDGES: Final = tuple(LOWEST * GROWTH**place for place in range(BUCKETS))
_PER_LOWEST: Final = 1 / LOWEST
_LAST: Final = BUCKETS - 1
_SET_BACK: Final = 64.0  # half-lives


class LatencySketch:
    """`half_life`: seconds. Instants are monotonic seconds, none before the one before it."""

    __slots__ = ("_answered", "_began", "_half_life", "_total", "_weights")

    def __init__(self, now: float, *, half_life: float = 60.0) -> None:
        self._half_life = half_life
        self._began = now
        self._weights = [0.0] * BUCKETS
        self._total = 0.0
        self._answered = 0.0

    def add(self, seconds: float, now: float) -> None:
        """One answer took so long."""
        weight = self._count(seconds, now)  # may set back what is added to
        self._answered += weight

    def suppose(self, seconds: float, now: float) -> None:
        """One that did not come is taken to have needed so long: it counts in the quantiles, and is no experience."""
        self._count(seconds, now)

    def _count(self, seconds: float, now: float) -> float:
        lives = (now - self._began) / self._half_life
        if lives > _SET_BACK:
            self._set_back(lives, now)
            lives = 0.0
        weight: float = 2.0**lives
        place = min(ceil(log2(seconds * _PER_LOWEST) * PER_DOUBLING), _LAST) if seconds > LOWEST else 0
        self._weights[place] += weight
        self._total += weight
        return weight

    def weight(self, now: float) -> float:
        """How many answers of just now all those that it remembers are worth."""
        left: float = 2.0 ** -((now - self._began) / self._half_life)
        return self._answered * left

    def quantile(self, share: float) -> float | None:
        """Seconds that this share of the answers did not take longer than, rounded up to a bucket's edge; None where there
        was none. 0 < share <= 1."""
        wanted, passed = self._total * share, 0.0
        last = None
        for place, weight in enumerate(self._weights):
            if weight > 0.0:
                passed, last = passed + weight, place
                if passed >= wanted:
                    break
        return None if last is None else _EDGES[last]

    def _set_back(self, lives: float, now: float) -> None:
        scale = 2.0**-lives if lives < 1000.0 else 0.0
        self._weights = [weight * scale for weight in self._weights]
        self._total = sum(self._weights)
        self._answered *= scale
        self._began = now
