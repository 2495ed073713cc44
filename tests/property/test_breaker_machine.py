"""The breaker under any sequence of requests, results, probes, cancellations and passing time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from broker.core.breaker import BREAKING, Breaker, BreakerPolicy, BreakerState
from broker.errors import FailureKind
from tests.support.examples import examples

POLICY = BreakerPolicy(threshold=2, probe_interval=5.0, max_interval=30.0)
# Quarters of a second add up exactly: bounds are checked to the last bit.
quarters = st.integers(0, 240).map(lambda n: n / 4)
retry_afters = st.none() | quarters | st.just(1e6)


class BreakerMachine(RuleBasedStateMachine):
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(POLICY, self.now)
        self.probes = 0
        self.streak = 0  # a model of the consecutive failures of the present epoch

    @rule(target=requests)
    def ask(self) -> int | None:
        epoch = self.breaker.admit()
        assert (epoch is None) == (self.breaker.state is not BreakerState.CLOSED)
        return epoch

    @rule(epoch=consumes(requests), kind=st.sampled_from(FailureKind), retry_after=retry_afters)
    def fail(self, epoch: int | None, kind: FailureKind, retry_after: float | None) -> None:
        if epoch is None:
            return
        heard = epoch == self.breaker.epoch and self.breaker.state is BreakerState.CLOSED
        opened = self.breaker.failure(epoch, kind, self.now, retry_after=retry_after)
        if heard and kind in BREAKING:
            self.streak += 1
            assert opened == (self.streak >= POLICY.threshold or bool(retry_after))
        else:
            assert not opened
        if opened:
            self.streak = 0

    @rule(epoch=consumes(requests))
    def succeed(self, epoch: int | None) -> None:
        if epoch is not None:
            if epoch == self.breaker.epoch and self.breaker.state is BreakerState.CLOSED:
                self.streak = 0
            self.breaker.success(epoch)

    @rule(epoch=consumes(requests))
    def cancel(self, epoch: int | None) -> None:
        """The caller gave up: nothing is reported, and nothing may depend on it."""

    @rule(seconds=quarters)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def try_to_probe(self) -> None:
        due = self.breaker.probe_at
        begun = self.breaker.begin_probe(self.now)
        assert begun == (due is not None and self.now >= due)
        self.probes += begun

    @precondition(lambda self: self.probes)
    @rule(kind=st.sampled_from(FailureKind), retry_after=retry_afters)
    def probe_fails(self, kind: FailureKind, retry_after: float | None) -> None:
        self.breaker.probe_failed(self.now, kind, retry_after=retry_after)
        self.probes -= 1
        assert self.breaker.state is BreakerState.OPEN

    @precondition(lambda self: self.probes)
    @rule()
    def probe_is_cancelled(self) -> None:
        self.breaker.probe_abandoned(self.now)
        self.probes -= 1
        assert self.breaker.state is BreakerState.OPEN

    @precondition(lambda self: self.probes)
    @rule()
    def probe_succeeds(self) -> None:
        self.breaker.probe_succeeded(self.now)
        self.probes -= 1
        assert self.breaker.state is BreakerState.CLOSED
        assert self.breaker.admit() is not None

    @invariant()
    def one_probe_at_most(self) -> None:
        assert self.probes == (self.breaker.state is BreakerState.HALF_OPEN)

    @invariant()
    def open_has_a_way_back_within_the_bound(self) -> None:
        scheduled = self.breaker.probe_at is not None
        assert scheduled == (self.breaker.state is BreakerState.OPEN)
        if self.breaker.probe_at is not None:
            assert self.breaker.probe_at - self.now <= POLICY.bound
        assert POLICY.probe_interval <= self.breaker.interval <= POLICY.bound

    def teardown(self) -> None:
        """Whatever happened: let the bound pass, let one probe succeed, and it is closed."""
        if self.breaker.state is BreakerState.OPEN:
            self.now += POLICY.bound
            assert self.breaker.begin_probe(self.now)
        self.breaker.probe_succeeded(self.now)
        assert self.breaker.state is BreakerState.CLOSED


BreakerMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestBreaker = BreakerMachine.TestCase
