"""Which circle is to be read next, of which home: order within a circle, none between circles. Pure.

The changes of one circle form a line. One line is in hand at a time once, so its changes stay in order; lines do not wait
for one another. A home that fails is asked for one circle at a time, after growing pauses, until it answers. A circle that
its home alone does not give is tried again after growing pauses of its own, and others of that home overtake it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from broker.core.change_event import Operation
from registry.outbox_model import Circle, Waiting

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between attempts at what fails."""


@dataclass(slots=True)
class Line:
    """The changes of one circle that wait, the oldest first, each with our instant (monotonic) of its arrival.

    `notified`: the number up to which it was told that the circle changed, though not what it is now. `attempts`: in vain,
    of late. `absent`: looks at which the home did not know it.
    """

    circle: Circle
    waiting: deque[tuple[Waiting, float]] = field(default_factory=deque)
    notified: int = 0
    attempts: int = 0
    absent: int = 0
    in_hand: bool = False

    def part(self) -> list[tuple[Waiting, float]]:
        """What can be told together: a deletion alone, else all that comes before one."""
        deleted = [one for one in self.waiting if one[0].change.operation is Operation.DELETED]
        if not deleted:
            return list(self.waiting)
        if deleted[0] is self.waiting[0]:
            return deleted[:1]
        return list(itertools.takewhile(lambda one: one is not deleted[0], self.waiting))

    def done(self, count: int) -> None:
        for _ in range(count):
            self.waiting.popleft()
        self.attempts = self.absent = 0


@dataclass(slots=True)
class Home:
    """One manager. `busy`: circles being read there. `failures` in a row, and until when (monotonic) it is left alone."""

    slug: str
    ready: deque[Line] = field(default_factory=deque)
    parked: list[tuple[float, int, Line]] = field(default_factory=list)
    busy: int = 0
    failures: int = 0
    until: float = 0.0

    def is_paused(self, now: float) -> bool:
        return self.failures > 0 and (now < self.until or self.busy > 0)


@dataclass(slots=True)
class HomesQueue:
    """`at_once`: circles read at one home at a time."""

    at_once: int = 8
    lines: dict[Circle, Line] = field(default_factory=dict)
    homes: dict[str, Home] = field(default_factory=dict)
    depth: int = 0
    _unheard: dict[Circle, Line] = field(default_factory=dict)
    _order: Iterator[int] = field(default_factory=itertools.count)

    def home(self, slug: str) -> Home:
        return self.homes.setdefault(slug, Home(slug))

    def put(self, waiting: Waiting, arrived: float) -> Line:
        """A change at the end of its circle's line."""
        circle = waiting.change.circle
        line = self.lines.get(circle)
        if line is None:
            line = self.lines[circle] = Line(circle)
            self.home(circle[0]).ready.append(line)
        line.waiting.append((waiting, arrived))
        self.depth += 1
        if line.attempts or self.home(circle[0]).failures:
            self._unheard[circle] = line
        return line

    def next(self, now: float, most: int) -> list[Line]:
        """Lines to be taken in hand now, `most` at most, each home in its turn. Each must be given back."""
        taken: list[Line] = []
        homes = [home for home in self.homes.values() if self._unpark(home, now)]
        while homes and len(taken) < most:
            homes = [home for home in homes if home.ready and self._free(home, now)]
            for home in homes[: most - len(taken)]:
                line = home.ready.popleft()
                line.in_hand = True
                taken.append(line)
                home.busy += 1
        return taken

    def _unpark(self, home: Home, now: float) -> bool:
        while home.parked and home.parked[0][0] <= now:
            home.ready.append(heapq.heappop(home.parked)[2])
        return bool(home.ready)

    def _free(self, home: Home, now: float) -> bool:
        return not home.is_paused(now) and home.busy < self.at_once

    # --- what becomes of a line

    def looked(self, line: Line, *, answered: bool) -> None:
        """Its home is asked for it no more, and answered, or was not asked at all. The line stays in hand."""
        home = self.home(line.circle[0])
        home.busy -= 1
        if answered:
            home.failures, home.until = 0, 0.0

    def told(self, line: Line, count: int) -> None:
        """So many of its changes are told."""
        line.in_hand = False
        line.done(count)
        self.depth -= count
        if line.waiting:
            self.home(line.circle[0]).ready.append(line)
        else:
            del self.lines[line.circle]
            self._unheard.pop(line.circle, None)

    def home_failed(self, line: Line, now: float) -> None:
        """Its home gives nothing at all now."""
        home, line.in_hand = self.home(line.circle[0]), False
        home.ready.append(line)
        unheard = [line] if home.failures else home.ready
        if now >= home.until:  # else one of several looks that were under way when it failed
            home.until = now + pause(home.failures)
            home.failures += 1
        self._unheard |= {one.circle: one for one in unheard}

    def circle_failed(self, line: Line, now: float, *, after: float | None = None) -> None:
        """Its home does not give this one; tried again `after` seconds, or growing pauses."""
        home, line.in_hand = self.home(line.circle[0]), False
        due = now + (pause(line.attempts) if after is None else after)
        line.attempts += 1
        heapq.heappush(home.parked, (due, next(self._order), line))
        self._unheard[line.circle] = line

    def unheard(self, most: int) -> list[Line]:
        """Lines that wait longer, each once: that there is something in them can be told meanwhile."""
        waiting = (line for line in self._unheard.values() if not line.in_hand)
        found = list(itertools.islice(waiting, max(0, most)))
        for line in found:
            del self._unheard[line.circle]
        return found

    # --- figures

    def failing(self) -> dict[str, int]:
        """Homes that are waited for: how many circles each."""
        return {
            home.slug: len(home.ready) + len(home.parked) + home.busy
            for home in self.homes.values()
            if home.failures or home.parked
        }


def pause(attempts: int) -> float:
    return float(min(FIRST_PAUSE * 2.0 ** min(attempts, 10), LONGEST_PAUSE))
