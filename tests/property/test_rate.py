"""The rate of a client, on made-up clocks: never more than the rate and its burst, never less for who keeps to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.access.rates import Bounds, Rates
from broker.core.rate import Rate, a_second_at_once
from broker.errors import LimitError, StoreError
from tests.support.fake_clock import FakeClock

_rates = st.builds(
    Rate,
    per_second=st.floats(0.1, 5_000, allow_nan=False),
    burst=st.floats(1, 500, allow_nan=False),
)
_gaps = st.lists(st.one_of(st.just(0.0), st.floats(0, 3, allow_nan=False)), min_size=1, max_size=300)


@given(_rates, _gaps)
def test_no_span_of_time_lets_through_more_than_the_rate_and_its_burst(rate: Rate, gaps: list[float]) -> None:
    now, paid_until = 1_000.0, 0.0
    through: list[float] = []
    for gap in gaps:
        now += gap
        if rate.wait(paid_until, now) == 0:
            paid_until = rate.spent(paid_until, now)
            through.append(now)
    for place, begun in enumerate(through):
        for count, ended in enumerate(through[place:], start=1):
            assert count <= rate.burst + (ended - begun) * rate.per_second + 1e-3


@given(_rates, st.lists(st.floats(1, 4, allow_nan=False), max_size=100))
def test_whoever_keeps_to_the_rate_is_never_refused(rate: Rate, slack: list[float]) -> None:
    now, paid_until = 1_000.0, 0.0
    for factor in slack:
        assert rate.wait(paid_until, now) <= 1e-6
        paid_until = rate.spent(paid_until, now)
        now += rate.interval * factor


@given(_rates, _gaps)
def test_the_wait_that_is_told_is_the_one_that_is_needed(rate: Rate, gaps: list[float]) -> None:
    now, paid_until = 1_000.0, 0.0
    for gap in gaps:
        now += gap
        wait = rate.wait(paid_until, now)
        if wait > 1e-5:
            assert rate.wait(paid_until, now + wait * 0.9) > 0
            assert rate.wait(paid_until, now + wait) <= 1e-6
        else:
            paid_until = rate.spent(paid_until, now)


class Moved(FakeClock):
    """Nobody sleeps by it: moving it wakes nobody."""

    def move(self, seconds: float) -> None:
        self._elapsed += seconds


class OnePot:
    """What all workers let through, as the store counts it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.away = False
        self.paid_until = 0.0
        self.calls = 0

    async def spend(self, client: str, rate: Rate, count: int) -> float:
        if self.away:
            raise StoreError("federation.store")
        self.calls += 1
        now = self.clock.monotonic()
        self.paid_until = rate.spent(self.paid_until, now, count)
        return rate.wait(self.paid_until, now)


def through(rates: Rates, client: str = "c") -> bool:
    account = rates.account(client)
    try:
        rates.admit(client, account)
    except LimitError:
        return False
    rates.done(account)
    return True


@pytest.mark.parametrize("workers", [1, 4])
async def test_workers_together_keep_to_one_rate(workers: int) -> None:
    clock = Moved()
    pot = OnePot(clock)
    each = [Rates(Bounds(a_second_at_once(100), 1000), clock, pot) for _ in range(workers)]
    passed = 0
    for step in range(10_000):  # ten seconds in milliseconds; each worker is asked ten times what is due
        for rates in each:
            passed += through(rates)
        if step % 5 == 4:
            for rates in each:
                await rates.tell()
        clock.move(0.001)
    assert 1_000 <= passed <= 100 + 10 * 100 + workers * 10, "the rate, its burst, and what is on its way"
    assert pot.calls < 10_000, "told in batches"


async def test_without_the_store_each_worker_keeps_to_the_rate_by_itself() -> None:
    clock = Moved()
    pot = OnePot(clock)
    rates = Rates(Bounds(a_second_at_once(10), 1000), clock, pot)
    pot.away = True
    passed = 0
    for _ in range(1_000):
        passed += through(rates)
        await rates.tell()
        clock.move(0.01)
    assert 100 <= passed <= 111
    pot.away = False
    clock.move(60)
    assert through(rates)


async def test_clients_do_not_pay_for_one_another_and_are_forgotten_when_they_are_many() -> None:
    clock = Moved()
    rates = Rates(Bounds(a_second_at_once(1), 1), clock)
    assert through(rates, "one")
    assert not through(rates, "one")
    busy = rates.account("busy")
    rates.admit("busy", busy)
    for number in range(10_100):
        assert through(rates, f"client {number}")
    assert len(rates._accounts) <= 10_000
    assert rates.account("busy") is busy, "not one with something in progress"
    assert through(rates, "one")


async def test_a_client_may_have_a_rate_of_its_own() -> None:
    clock = Moved()
    rates = Rates(Bounds(a_second_at_once(1), 100), clock)
    account = rates.account("c", 5)
    for _ in range(5):
        rates.admit("c", account)
    with pytest.raises(LimitError) as caught:
        rates.admit("c", account)
    assert caught.value.retry_after == 1
    assert caught.value.params == {"limit": "5"}
