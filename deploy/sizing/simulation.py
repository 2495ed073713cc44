"""The regions' load played through, event by event, against the model's formulae: pure, and the same for the same seed.

Clients of each region come at random through its day; what they ask for goes through the queues of the workers, of Redis,
of the managers and of the process that publishes, each taken in turn. It shares the model's figures and assumptions: it
checks what the formulae make of them (queues, peaks, uneven shares), not the figures themselves.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from deploy.sizing.inputs import Assumptions, Measured, Region
from deploy.sizing.model import KAFKA, MANAGER, PUBLISHING, REDIS, Cost, costs, event_bytes, per_day

_Z99 = NormalDist().inv_cdf(0.99)


@dataclass(slots=True)
class Queue:
    """One server, first come first served. Seconds. `worst`: the longest that anybody waited."""

    free: float = 0.0
    busy: float = 0.0
    worst: float = 0.0

    def take(self, now: float, seconds: float) -> float:
        """When it is done."""
        begun = max(now, self.free)
        self.worst = max(self.worst, begun - now)
        self.free = begun + seconds
        self.busy += seconds
        return self.free


@dataclass(slots=True)
class Asked:
    """One request under way. `elsewhere`: seconds that it spent with managers, on the longest way."""

    kind: str
    cost: Cost
    region: str
    began: float
    worker: Queue
    left: int
    sent: float = 0.0
    elsewhere: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """`busy`: by part, of the time that was played. Seconds of each search by the index: all, and the broker's own."""

    seconds: float
    busy: Mapping[str, float]
    worst_wait: Mapping[str, float]
    requests: int
    searches: Sequence[float]
    own: Sequence[float]

    def p99_ms(self, of: Sequence[float]) -> float:
        ordered = sorted(of)
        return 1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


@dataclass(slots=True)
class Simulation:
    """`Simulation(…).play(10, 60.0)`: so many seconds of that hour in Paris, at the pace of its busiest minute."""

    regions: Sequence[Region]
    of: Measured
    given: Assumptions
    workers: int
    factor: float = 1.0
    seed: int = 1
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _count: int = 0
    _dice: random.Random = field(init=False)
    _pool: list[Queue] = field(init=False)
    _redis: Queue = field(init=False)
    _publishing: Queue = field(init=False)
    _kafka: Queue = field(init=False)
    _managers: dict[str, Queue] = field(init=False)
    _taking: dict[str, float] = field(init=False)
    _spread: float = field(init=False)
    _all: list[float] = field(init=False)
    _own: list[float] = field(init=False)
    _counted: Counter[str] = field(init=False)

    def play(self, hour: int, seconds: float) -> Seen:
        self._dice = random.Random(f"{self.seed}/{hour}/{self.factor}")  # noqa: S311  # a simulation
        self._pool = [Queue() for _ in range(self.workers)]
        self._redis, self._publishing, self._kafka = Queue(), Queue(), Queue()
        self._managers = {one.code: Queue() for one in self.regions}
        self._taking = {one.code: 1 / self.given.per_second(one) for one in self.regions}
        self._spread = math.log(self.given.manager_p99_ms / self.given.manager_median_ms) / _Z99
        self._all: list[float] = []
        self._own: list[float] = []
        self._counted: Counter[str] = Counter()
        each = costs(self.of, len(self.regions))
        for region in self.regions:
            pace = self._pace(region, hour)
            day = per_day(region.people, self.given)
            for kind, cost in each.items():
                self._arrivals(pace * getattr(day, kind), seconds, kind, cost, region.code)
            at_home = day.changes - day.updates - day.creations
            self._changes(pace * at_home, seconds)
        self._run()
        return self._seen(seconds)

    def _pace(self, region: Region, hour: int) -> float:
        """A day's requests, as so many a second."""
        local = (hour + region.utc) % 24
        return self.factor * self.given.day[local] * self.given.busiest_minute / 3600

    # --- what comes

    def _arrivals(self, rate: float, seconds: float, kind: str, cost: Cost, region: str) -> None:
        for at in self._poisson(rate, seconds):
            self._at(at, lambda now: self._begin(now, kind, cost, region))

    def _changes(self, rate: float, seconds: float) -> None:
        for at in self._poisson(rate, seconds):
            self._at(at, self._told)

    def _poisson(self, rate: float, seconds: float) -> Sequence[float]:
        found: list[float] = []
        at = self._dice.expovariate(rate) if rate else seconds
        while at < seconds:
            found.append(at)
            at += self._dice.expovariate(rate)
        return found

    # --- what becomes of it

    def _begin(self, now: float, kind: str, cost: Cost, region: str) -> None:
        worker = self._dice.choice(self._pool)
        asked = Asked(kind, cost, region, now, worker, cost.asked)
        done = worker.take(now, cost.steps[0] / 1000)
        self._at(done, lambda at: self._ask_redis(at, asked))

    def _ask_redis(self, now: float, asked: Asked) -> None:
        done = self._redis.take(now, asked.cost.redis / 1000) if asked.cost.redis else now
        self._at(done, lambda at: self._ask_managers(at, asked))

    def _ask_managers(self, now: float, asked: Asked) -> None:
        asked.sent = now
        whom = [one.code for one in self.regions] if asked.cost.asked > 1 else [asked.region]
        for code in whom:
            taken = self._managers[code].take(now, self._taking[code])
            latency = self.given.manager_median_ms / 1000 * math.exp(self._spread * self._dice.gauss(0, 1))
            self._at(taken + latency, lambda at: self._answered(at, asked))

    def _answered(self, now: float, asked: Asked) -> None:
        asked.elsewhere = now - asked.sent
        asked.left -= 1
        done = asked.worker.take(now, asked.cost.steps[-1] / 1000)
        if asked.left == 0:
            self._at(done, lambda at: self._end(at, asked))

    def _end(self, now: float, asked: Asked) -> None:
        self._counted[asked.kind] += 1
        if asked.kind == "located":
            self._all.append(now - asked.began)
            self._own.append(now - asked.began - asked.elsewhere)
        if asked.kind in ("updates", "creations"):
            self._told(now)

    def _told(self, now: float) -> None:
        """A change, from the outbox or a home's feed into the log."""
        done = self._redis.take(now, self.of.redis_change_ms / 1000)
        self._at(done, self._publish)

    def _publish(self, now: float) -> None:
        done = self._publishing.take(now, (self.of.publish_ms + self.of.follow_ms) / 1000)
        event = event_bytes(self.of, self.given)
        self._at(done, lambda at: self._into_kafka(at, event))

    def _into_kafka(self, now: float, size: float) -> None:
        self._kafka.take(now, size / (self.given.kafka_mbit * 1e6 / 8))

    # --- the clockwork

    def _at(self, at: float, do: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, do))

    def _run(self) -> None:
        while self._events:
            at, _, do = heapq.heappop(self._events)
            do(at)

    def _seen(self, seconds: float) -> Seen:
        parts = {REDIS: self._redis, PUBLISHING: self._publishing, KAFKA: self._kafka}
        parts |= {f"{MANAGER}{one.name}": self._managers[one.code] for one in self.regions}
        busy = {name: one.busy / seconds for name, one in parts.items()}
        busy["workers"] = sum(one.busy for one in self._pool) / self.workers / seconds
        worst = {name: one.worst for name, one in parts.items()}
        worst["workers"] = max(one.worst for one in self._pool)
        return Seen(seconds, busy, worst, sum(self._counted.values()), self._all, self._own)
