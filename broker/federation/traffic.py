"""What exchanges with managers have been like of late: by manager, in this process's memory, for a few minutes.

Counted are exchanges that count for a manager's breaker, and its probes (`ManagerGuard`); times are what they took from
being sent to the last byte. Of experiments and of the index's crawls nothing is counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.errors import FailureKind
from broker.ports import Clock

BUCKET_SECONDS: Final = 10.0
BUCKETS: Final = 60
"""Ten minutes."""

WELL: Final = frozenset({None, FailureKind.REJECTED, FailureKind.NOT_SUPPORTED})
"""What says nothing against a manager: it answered, or did not take one request."""

OK: Final = "ok"


@dataclass(slots=True)
class Bucket:
    """`place`: how many buckets since the clock began. `seconds`: of all its exchanges together."""

    place: int
    exchanges: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def mean(self) -> float | None:
        return self.seconds / self.exchanges if self.exchanges else None


@dataclass(slots=True)
class ManagerTraffic:
    """`results`: exchanges since the start, by kind of failure or `ok`; `seconds`: that they took. `failing`: how many in a
    row failed last; `last`: when the last one ended (monotonic)."""

    results: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    failing: int = 0
    last: float = 0.0
    buckets: deque[Bucket] = field(default_factory=lambda: deque(maxlen=BUCKETS))

    @property
    def exchanges(self) -> int:
        return self.results.total()


@dataclass(frozen=True, slots=True)
class Recent:
    """Of a span that ends now. `mean`: seconds of an exchange, `errors`: share that failed; None where there was none."""

    exchanges: int
    mean: float | None
    errors: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Managers that left the registry are forgotten by `keep`."""

    clock: Clock
    known: dict[str, ManagerTraffic] = field(default_factory=dict)

    def observe(self, slug: str, kind: FailureKind | None, seconds: float) -> None:
        now = self.clock.monotonic()
        one = self.known.get(slug)
        if one is None:
            one = self.known[slug] = ManagerTraffic()
        one.results[OK if kind is None else kind.value] += 1
        one.seconds += seconds
        one.last = now
        place = int(now // BUCKET_SECONDS)
        if not one.buckets or one.buckets[-1].place != place:
            one.buckets.append(Bucket(place))
        bucket = one.buckets[-1]
        bucket.exchanges += 1
        bucket.seconds += seconds
        if kind in WELL:
            one.failing = 0
        else:
            one.failing += 1
            bucket.failed += 1

    def of(self, slug: str) -> ManagerTraffic | None:
        return self.known.get(slug)

    def recent(self, slug: str, *, seconds: float = 60.0) -> Recent:
        """As exact as the buckets are."""
        one = self.known.get(slug)
        since = (self.clock.monotonic() - seconds) // BUCKET_SECONDS
        buckets = [] if one is None else [bucket for bucket in one.buckets if bucket.place > since]
        count = sum(bucket.exchanges for bucket in buckets)
        if not count:
            return Recent(0, None, None)
        mean = sum(bucket.seconds for bucket in buckets) / count
        return Recent(count, mean, sum(bucket.failed for bucket in buckets) / count)

    def line(self, slug: str) -> Sequence[Bucket | None]:
        """The last ten minutes, oldest first; None where nothing was exchanged."""
        one = self.known.get(slug)
        held: Mapping[int, Bucket] = {} if one is None else {bucket.place: bucket for bucket in one.buckets}
        newest = int(self.clock.monotonic() // BUCKET_SECONDS)
        return [held.get(place) for place in range(newest - BUCKETS + 1, newest + 1)]

    def keep(self, slugs: set[str]) -> None:
        for gone in self.known.keys() - slugs:
            del self.known[gone]
