"""A breaker for one manager: when to stop asking it, and how to find out that it is back.

Pure: time is passed in.
The protocol::

    closed ──(threshold consecutive breaking failures, or one that carries Retry-After)──▶ open
    open ──(the probe is due: begin_probe)──▶ half-open ──(probe succeeded)──▶ closed
                                              half-open ──(probe failed or abandoned)──▶ open

- Only `CLOSED` admits requests. Open and half-open admit none: a person's search never pays for finding out
  whether a manager is back. That is the work of one probe at a time, sent by somebody else's hand.
- Every admission carries an epoch, and a result is heard only in the epoch it was admitted in. Requests sent
  to a hung manager time out long after it was found back; their late failures must not open the breaker
  again.
- A cancelled request says nothing of the manager: the caller simply reports no result.
- The next probe is counted from the start of the last one, so a probe that hangs does not lengthen the
  interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker.errors import FailureKind

BREAKING = frozenset({FailureKind.TIMEOUT, FailureKind.UNREACHABLE, FailureKind.ERROR, FailureKind.BUSY})
"""Failures that say the manager is ill.

A refusal, a rejection, a lack or too large an answer says it is alive.
"""


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"  # its one probe is in flight


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """How patient a breaker is; times in seconds.

    `probe_interval` doubles with each failed probe up to `max_interval`, which bounds Retry-After too. None: six
    times `probe_interval`.
    """

    threshold: int = 2
    probe_interval: float = 5.0
    max_interval: float | None = None

    def __post_init__(self) -> None:
        if self.threshold < 1 or not 0 < self.probe_interval <= self.bound:
            raise ValueError("threshold >= 1 and 0 < probe_interval <= max_interval are required")

    @property
    def bound(self) -> float:
        return 6 * self.probe_interval if self.max_interval is None else self.max_interval


class Breaker:
    """The state machine.

    Instants are monotonic seconds; `last_kind` stays after a recovery, for the operator.
    """

    __slots__ = (
        "_policy",
        "_probe_started",
        "epoch",
        "failures",
        "interval",
        "last_kind",
        "probe_at",
        "since",
        "state",
    )

    def __init__(self, policy: BreakerPolicy, now: float) -> None:
        self._policy = policy
        self._probe_started = now
        self.state = BreakerState.CLOSED
        self.since = now
        self.epoch = 0
        self.failures = 0  # consecutive
        self.interval = policy.probe_interval
        self.last_kind: FailureKind | None = None
        self.probe_at: float | None = None  # None unless open

    def admit(self) -> int | None:
        """The epoch to report the result in; None: not to be asked now."""
        return self.epoch if self.state is BreakerState.CLOSED else None

    def success(self, epoch: int) -> None:
        """An answer came: any status but those of a breaking kind."""
        if epoch == self.epoch and self.state is BreakerState.CLOSED:
            self.failures = 0

    def failure(self, epoch: int, kind: FailureKind, now: float, *, retry_after: float | None = None) -> bool:
        """Count a failure; True where it opened the breaker. Kinds that are not breaking are not counted.

        A manager that says when to come back (Retry-After, RFC 9110 section 10.2.3) is taken at its word at
        once.
        """
        if epoch != self.epoch or self.state is not BreakerState.CLOSED or kind not in BREAKING:
            return False
        self.failures += 1
        self.last_kind = kind
        if self.failures < self._policy.threshold and not retry_after:
            return False
        self.epoch += 1
        self.interval = self._policy.probe_interval
        self._open(now, now + self._wait(retry_after))
        return True

    def begin_probe(self, now: float) -> bool:
        """True: the caller, and nobody else, sends the probe and must report how it went."""
        if self.state is not BreakerState.OPEN or self.probe_at is None or now < self.probe_at:
            return False
        self.state = BreakerState.HALF_OPEN
        self.probe_at = None
        self._probe_started = now
        return True

    def probe_succeeded(self, now: float) -> None:
        if self.state is BreakerState.HALF_OPEN:
            self.state, self.since = BreakerState.CLOSED, now
            self.failures = 0
            self.interval = self._policy.probe_interval

    def probe_failed(self, now: float, kind: FailureKind, *, retry_after: float | None = None) -> None:
        if self.state is not BreakerState.HALF_OPEN:
            return
        self.failures += 1
        self.last_kind = kind
        self.interval = min(self.interval * 2, self._policy.bound)
        started = now if retry_after else self._probe_started
        self._open(self.since, max(now, started + self._wait(retry_after)))

    def probe_abandoned(self, now: float) -> None:
        """The probe was cancelled: nothing was learnt, and the next one is due an interval from now."""
        if self.state is BreakerState.HALF_OPEN:
            self._open(self.since, now + self.interval)

    def _wait(self, retry_after: float | None) -> float:
        return min(retry_after, self._policy.bound) if retry_after else self.interval

    def _open(self, since: float, probe_at: float) -> None:
        self.state, self.since, self.probe_at = BreakerState.OPEN, since, probe_at
