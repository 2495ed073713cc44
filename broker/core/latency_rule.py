"""From a manager's own past to how long it is waited for (decision 11). Pure: time is passed in.

Two things follow from how long it took of late: after how long another who holds the same is turned to (`hedge_after`),
and, only where whoever asks wants it so, when it is given up (`deadline`).

What was given up says only that it would have taken longer, which is no reason to be less patient with the next:

- It counts as twice as long as it was waited for, where that is beyond the 99th percentile already, and not at all where
  not. So giving up never makes the wait shorter.
- Each time that a deadline made here passes, the next is twice as long. Only an answer within the deadline as it would be
  without that takes one doubling back (after RFC 6298, sections 5.5 to 5.7: the timer backs off until a fair sample comes).
  A manager that became ten times slower is asked with ten times the patience after four failures, whatever its past says.
- Without enough answers of late there is no rule: it has all its own time.
"""

from __future__ import annotations

from typing import Final

import msgspec

from broker.core.latency import LatencySketch

HEDGE_SHARE: Final = 0.95
"""Whoever is slower than in 95 % of cases, so one request in twenty (Dean and Barroso, "The Tail at Scale", 2013)."""

HEDGE_LOW: Final = 0.02
HEDGE_HIGH: Final = 1.0
"""Seconds: earlier it is not worth the while; later nobody should have to wait for a second opinion."""

_DEADLINE_SHARE: Final = 0.99
_CENSORED: Final = 2.0
_GOOD_FOR: Final = 1.0  # seconds that what was worked out is kept
_MOST_STRETCH: Final = 16


class PaceRule(msgspec.Struct, frozen=True):
    """`enough`: answers of just now that the remembered ones must be worth. `floor`: seconds that every manager is given.
    `times`: how many times its 99th percentile."""

    enough: float = 20.0
    floor: float = 0.5
    times: float = 3.0


_RULE = PaceRule()


class Pace:
    """Of one manager, for one kind of request."""

    __slots__ = ("_base", "_hedge", "_known_until", "_rule", "_slowest", "sketch", "stretch")

    def __init__(self, now: float, rule: PaceRule = _RULE) -> None:
        self.sketch = LatencySketch(now)
        self._rule = rule
        self.stretch = 0  # doublings
        self._base: float | None = None  # of the last deadline, before doubling
        self._hedge = HEDGE_HIGH
        self._slowest: float | None = None
        self._known_until = now

    def answered(self, seconds: float, now: float) -> None:
        self.sketch.add(seconds, now)
        if self.stretch and self._base is not None and seconds <= self._base:
            self.stretch -= 1

    def gave_up(self, seconds: float, now: float) -> None:
        """There was no answer after so long: its time was over, or nobody waited any more."""
        slowest = self.sketch.quantile(_DEADLINE_SHARE)
        if slowest is not None and seconds >= slowest:
            self.sketch.suppose(seconds * _CENSORED, now)
            self._known_until = now

    def missed(self) -> None:
        """A deadline that `deadline` gave has passed."""
        self.stretch = min(self.stretch + 1, _MOST_STRETCH)

    def hedge_after(self, now: float) -> float:
        """Seconds after which somebody else is turned to."""
        self._work_out(now)
        return self._hedge

    def deadline(self, own: float, now: float) -> float:
        """Seconds until it is given up: `own` (what it is given in any case), or fewer, never below the floor."""
        self._work_out(now)
        if self._slowest is None:
            return own
        self._base = max(self._rule.floor, self._rule.times * self._slowest)
        return min(own, self._base * 2.0**self.stretch)

    def _work_out(self, now: float) -> None:
        if now < self._known_until:
            return
        self._known_until = now + _GOOD_FOR
        if self.sketch.weight(now) < self._rule.enough:
            self._hedge, self._slowest = HEDGE_HIGH, None
            return
        usual = self.sketch.quantile(HEDGE_SHARE)
        self._hedge = HEDGE_HIGH if usual is None else min(max(usual, HEDGE_LOW), HEDGE_HIGH)
        self._slowest = self.sketch.quantile(_DEADLINE_SHARE)


class Paces:
    """Of one manager: a read by id and a search take very different times. Writes are never hurried and not measured."""

    __slots__ = ("reads", "searches")

    def __init__(self, now: float, rule: PaceRule = _RULE) -> None:
        self.reads = Pace(now, rule)
        self.searches = Pace(now, rule)

    def of(self, method: str, *, is_search: bool) -> Pace | None:
        """None for a write."""
        if is_search:
            return self.searches
        return self.reads if method == "GET" else None
