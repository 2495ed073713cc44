"""What a size of federation needs at its peak, by formulae: pure. ../sizing.md explains each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from deploy.sizing.inputs import Assumptions, Measured, Region

BEFORE = 0.4
"""The part of a request's processor time that is spent before managers are asked."""

PUBLISHING, REDIS, KAFKA, MANAGER = "publishing", "Redis", "Kafka", "manager of "

TRACES_PER_FAN_OUT = 1.0
"""And manager: each circle on the page is another person's."""

_Z99 = NormalDist().inv_cdf(0.99)
_SLICES = [(n + 0.5) / 200 for n in range(200)]
_GIB, _GB, _MBIT = 2**30, 1e9, 1e6 / 8


@dataclass(frozen=True, slots=True)
class Rates:
    """Of the busiest minute, each second. `changes`: all of them; `updates`, `creations`: through the broker."""

    located: float
    reads: float
    fan_outs: float
    updates: float
    creations: float
    changes: float

    @property
    def requests(self) -> float:
        return self.located + self.reads + self.fan_outs + self.updates + self.creations


@dataclass(frozen=True, slots=True)
class Limit:
    """A part that is busy, and how busy it may be; both parts of what it can do."""

    part: str
    busy: float
    most: float

    @property
    def headroom(self) -> float:
        """By how much load may grow until it is reached."""
        return self.most / self.busy if self.busy else math.inf


@dataclass(frozen=True, slots=True)
class Sized:
    """`processors`: busy at the peak, of workers. `limits`: of what does not become more by adding brokers.

    Milliseconds at the 99th percentile of a search by the index: of the broker's doing, and with the manager's.
    """

    circles: float
    managers: int
    peak: Rates
    processors: float
    workers: int
    nodes: int
    workers_gb: float
    redis_gib: float
    redis_per_second: float
    kafka_gb: float
    kafka_per_second: float
    partitions: int
    network_mbit: float
    traces_gb_a_day: float
    own_p99_ms: float
    p99_ms: float
    limits: Sequence[Limit]

    @property
    def first(self) -> Limit:
        """What is reached first as load grows and brokers are added."""
        return min(self.limits, key=lambda one: one.headroom)

    @property
    def first_own(self) -> Limit:
        """Of the federation's own parts."""
        own = [one for one in self.limits if not one.part.startswith(MANAGER)]
        return min(own, key=lambda one: one.headroom)


# --- load


def per_day(people: float, given: Assumptions) -> Rates:
    """Of so many people."""
    circles = people * given.circles_per_person
    active = circles * given.active_share
    looks = (
        active * given.looks_per_active_circle_and_day
        + (circles - active) * given.looks_per_other_circle_and_day
    )
    changes = active * given.changes_per_active_circle_and_day
    through = changes * given.changes_through_broker
    return Rates(
        located=looks,
        reads=looks * given.reads_per_look,
        fan_outs=looks * given.fan_outs_per_look,
        updates=through * (1 - given.creations_per_change),
        creations=through * given.creations_per_change,
        changes=changes,
    )


def scaled(rates: Rates, by: float) -> Rates:
    return Rates(*(by * getattr(rates, name) for name in Rates.__slots__))


def peak(regions: Sequence[Region], given: Assumptions, factor: float = 1.0) -> Rates:
    """All regions at their peak at once, which overseas are not: a little more than will be."""
    busiest = max(given.day) * given.busiest_minute / 3600
    return scaled(per_day(sum(one.people for one in regions), given), factor * busiest)


# --- what one request costs


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one kind of request, milliseconds: steps of the worker, in their order, and of Redis. `asked`: managers."""

    steps: tuple[float, ...]
    redis: float
    asked: int

    @property
    def processor(self) -> float:
        return sum(self.steps)


def costs(of: Measured, managers: int) -> Mapping[str, Cost]:
    """By the name of the rate. A fan-out takes a step for each manager that answers."""

    def plain(processor: float, redis: float) -> Cost:
        return Cost((BEFORE * processor, (1 - BEFORE) * processor), redis, 1)

    fan_out = of.fan_out_ms(managers)
    answers = ((1 - BEFORE) * fan_out / managers,) * managers
    return {
        "located": plain(of.located_ms, of.redis_located_ms),
        "reads": plain(of.read_ms, 0.0),
        "fan_outs": Cost((BEFORE * fan_out, *answers), of.redis_located_ms, managers),
        "updates": plain(of.update_ms, of.redis_located_ms),
        "creations": plain(of.create_ms, of.redis_located_ms),
    }


# --- what the size needs


def sized(regions: Sequence[Region], of: Measured, given: Assumptions, factor: float = 1.0) -> Sized:
    """`factor`: times the assumed activity."""
    managers, rates = len(regions), peak(regions, given, factor)
    each = costs(of, managers)
    processors = sum(getattr(rates, name) * one.processor for name, one in each.items()) / 1000
    workers = max(2, math.ceil(processors / given.most_busy) + 1)
    circles = sum(one.people for one in regions) * given.circles_per_person
    whole_day = scaled(per_day(sum(one.people for one in regions), given), factor)
    redis = _redis_ms(rates, of, each) / 1000
    own, whole = p99(rates, each, workers, redis, given)
    return Sized(
        circles=circles,
        managers=managers,
        peak=rates,
        processors=processors,
        workers=workers,
        nodes=max(2, math.ceil(workers / given.workers_per_node)),
        workers_gb=workers * of.worker_mb / 1000,
        redis_gib=2 * circles * of.index_bytes / _GIB,
        redis_per_second=rates.located + rates.fan_outs + given.commands_per_change * rates.changes,
        kafka_gb=whole_day.changes * given.kafka_days * event_bytes(of, given) * given.kafka_copies / _GB,
        kafka_per_second=rates.changes * (1 + given.topics_per_change),
        partitions=_partitions(rates.changes, given),
        network_mbit=_network(rates, of, given, managers) / _MBIT,
        traces_gb_a_day=_traces(whole_day, managers) * of.trace_bytes / _GB,
        own_p99_ms=own,
        p99_ms=whole,
        limits=limits(regions, of, given, factor),
    )


def _redis_ms(rates: Rates, of: Measured, each: Mapping[str, Cost]) -> float:
    asked = sum(getattr(rates, name) * one.redis for name, one in each.items())
    return float(asked + rates.changes * of.redis_change_ms)


def _partitions(changes: float, given: Assumptions) -> int:
    """Of one topic. An agent works on many circles at a time whatever the partitions: they are for agents side by side."""
    return max(6, math.ceil(changes * given.topics_per_change / given.changes_per_partition))


def _network(rates: Rates, of: Measured, given: Assumptions, managers: int) -> float:
    """Bytes a second, in and out of all brokers: an answer comes from a manager and goes to a client."""
    answers = (
        rates.located * of.located_bytes
        + rates.reads * of.read_bytes
        + rates.fan_outs * of.fan_out_bytes(managers)
    )
    return 2 * (answers + rates.changes * event_bytes(of, given))


def _traces(day: Rates, managers: int) -> float:
    plain = day.located + day.reads + day.updates + day.creations
    return plain + day.fan_outs * TRACES_PER_FAN_OUT * managers + day.changes


def limits(
    regions: Sequence[Region], of: Measured, given: Assumptions, factor: float = 1.0
) -> Sequence[Limit]:
    """Of what is one, however many brokers there are: the federation's own parts, and the largest and smallest manager."""
    rates = peak(regions, given, factor)
    found = [
        Limit(PUBLISHING, rates.changes * (of.publish_ms + of.follow_ms) / 1000, given.most_busy),
        Limit(REDIS, _redis_ms(rates, of, costs(of, len(regions))) / 1000, given.most_busy),
        Limit(KAFKA, rates.changes * event_bytes(of, given) / _MBIT / given.kafka_mbit, given.most_busy),
    ]
    ends = {by(regions, key=lambda one: one.people) for by in (max, min)}
    return [
        *found,
        *(manager(one, regions, given, factor) for one in sorted(ends, key=lambda one: -one.people)),
    ]


def manager(one: Region, regions: Sequence[Region], given: Assumptions, factor: float = 1.0) -> Limit:
    """It is asked for its own people's circles (a write asks it twice), and in every fan-out."""
    own = peak([one], given, factor)
    fan_outs = peak(regions, given, factor).fan_outs
    asked = own.located + own.reads + 2 * (own.updates + own.creations) + fan_outs
    return Limit(f"{MANAGER}{one.name}", asked / given.per_second(one), given.most_busy_manager)


def event_bytes(of: Measured, given: Assumptions) -> float:
    """Bytes of one change on all topics."""
    return of.notice_bytes + given.topics_per_change * of.event_bytes


# --- how long it takes


def p99(
    rates: Rates, each: Mapping[str, Cost], workers: int, redis: float, given: Assumptions
) -> tuple[float, float]:
    """Milliseconds of a search by the index: the broker's own, and with its manager. Each worker is a queue of its own
    (M/G/1, first come first served), in which a search waits twice; `redis`: how busy that is."""
    busy = sum(getattr(rates, name) * one.processor for name, one in each.items()) / 1000 / workers
    if busy >= 1 or redis >= 1:
        return math.inf, math.inf
    squares = sum(getattr(rates, name) * step * step for name, one in each.items() for step in one.steps) / (
        1000 * workers
    )
    wait = squares / (2 * (1 - busy))  # Pollaczek and Khinchine's mean, milliseconds
    one = each["located"]
    spent = one.processor + one.redis / (1 - redis)
    rate = busy / wait if wait else math.inf

    def waits(t: float) -> float:
        """How likely two waits are longer: each is none, or about exponential."""
        if t <= 0:
            return 1.0
        gone = math.exp(-rate * t)
        return float(2 * busy * (1 - busy) * gone + busy * busy * gone * (1 + rate * t))

    spread = math.log(given.manager_p99_ms / given.manager_median_ms) / _Z99
    answers = [given.manager_median_ms * math.exp(spread * NormalDist().inv_cdf(part)) for part in _SLICES]
    own = _where(lambda t: waits(t - spent))
    whole = _where(lambda t: sum(waits(t - spent - one) for one in answers) / len(answers))
    return own, whole


def _where(tail: Callable[[float], float]) -> float:
    """Where a falling function is 0.01."""
    low, high = 0.0, 1.0
    while tail(high) > 0.01:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) > 0.01 else (low, middle)
    return high
