"""How long managers took, and what follows: quantiles are right within a bucket, old times fade, no deadline shuts out."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.latency import GROWTH, HIGHEST, LOWEST, LatencySketch
from broker.core.latency_rule import HEDGE_HIGH, HEDGE_LOW, Pace, PaceRule
from tests.support.examples import examples

seconds = st.floats(LOWEST, HIGHEST)
shares = st.floats(0.01, 1.0)
RULE = PaceRule(enough=20.0, floor=0.5, times=3.0)


def true_quantile(values: list[float], share: float) -> float:
    return sorted(values)[max(0, math.ceil(share * len(values) - 1e-9) - 1)]


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(seconds, min_size=1, max_size=200), shares)
def test_a_quantile_is_right_within_one_bucket(values: list[float], share: float) -> None:
    sketch = LatencySketch(0.0)
    for value in values:
        sketch.add(value, 0.0)
    found = sketch.quantile(share)
    true = true_quantile(values, share)
    assert found is not None
    assert true * (1 - 1e-9) <= found <= true * GROWTH * (1 + 1e-9)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.lists(shares, min_size=2, max_size=5))
def test_quantiles_grow_with_the_share_and_stay_in_range(values: list[float], asked: list[float]) -> None:
    sketch = LatencySketch(0.0)
    for value in values:
        sketch.add(value, 0.0)
    found = [sketch.quantile(share) or 0.0 for share in sorted(asked)]
    assert found == sorted(found)
    assert all(LOWEST <= one <= HIGHEST for one in found)


@given(st.integers(1, 100), st.floats(0, 5000))
def test_a_weight_halves_with_each_half_life(count: int, later: float) -> None:
    sketch = LatencySketch(100.0, half_life=60.0)
    for _ in range(count):
        sketch.add(0.1, 100.0)
    assert math.isclose(sketch.weight(100.0 + later), count * 2 ** -(later / 60), rel_tol=1e-9)


@given(st.lists(st.tuples(st.floats(0, 50_000), seconds), max_size=80), shares)
def test_it_does_not_matter_when_it_sets_its_weights_back(
    steps: list[tuple[float, float]], share: float
) -> None:
    """Gaps of hours make it set back, and of days empty it: the result is that of exact weights."""
    sketch, now = LatencySketch(0.0), 0.0
    exact: list[tuple[float, float]] = []
    for gap, value in steps:
        now += gap
        sketch.add(value, now)
        exact.append((value, now))
    weight = sum(2 ** -((now - at) / 60) for _, at in exact)
    assert math.isclose(sketch.weight(now), weight, rel_tol=1e-6, abs_tol=1e-9)
    found = sketch.quantile(share)
    assert (found is None) == (not steps)
    if found is not None:
        passed = sum(2 ** -((now - at) / 60) for value, at in exact if value <= found * (1 + 1e-9))
        assert passed >= weight * share * (1 - 1e-6)


def fed(value: float, count: int = 100, now: float = 0.0, rule: PaceRule = RULE) -> Pace:
    pace = Pace(now, rule)
    for _ in range(count):
        pace.answered(value, now)
    return pace


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["answered", "gave-up", "missed"]), st.floats(0, 100), st.floats(0, 30)),
        max_size=60,
    ),
    st.floats(0.6, 30),
)
def test_a_deadline_is_never_beyond_its_own_time_nor_below_the_floor(
    steps: list[tuple[str, float, float]], own: float
) -> None:
    pace, now = Pace(0.0, RULE), 0.0
    for what, value, gap in steps:
        now += gap
        match what:
            case "answered":
                pace.answered(value, now)
            case "gave-up":
                pace.gave_up(value, now)
            case _:
                pace.missed()
        assert min(own, RULE.floor) <= pace.deadline(own, now) <= own
        assert HEDGE_LOW <= pace.hedge_after(now) <= HEDGE_HIGH


@given(st.integers(0, 19), st.floats(0.001, 1))
def test_without_enough_experience_there_is_no_rule(count: int, value: float) -> None:
    pace = fed(value, count)
    assert pace.deadline(5.0, 0.0) == 5.0
    assert pace.hedge_after(0.0) == HEDGE_HIGH
    for _ in range(100):
        pace.gave_up(0.1, 0.0)
    assert pace.deadline(5.0, 2.0) == 5.0, "what was given up is no experience"


def test_experience_is_forgotten_where_nobody_asks() -> None:
    pace = fed(0.02)
    assert pace.deadline(5.0, 0.0) < 1.0
    assert pace.deadline(5.0, 300.0) == 5.0


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.floats(0.001, 2), min_size=20, max_size=100),
    st.lists(st.tuples(st.floats(0, 20), st.booleans()), min_size=1, max_size=40),
)
def test_giving_up_never_makes_the_next_deadline_shorter(
    answers: list[float], given_up: list[tuple[float, bool]]
) -> None:
    pace = Pace(0.0, RULE)
    for value in answers:
        pace.answered(value, 0.0)
    last = pace.deadline(10.0, 0.0)
    now = 0.0
    for value, missed in given_up:
        pace.gave_up(value, now)
        if missed:
            pace.missed()
        now += 1.0
        assert pace.deadline(10.0, now) >= last * (1 - 1e-9)
        last = pace.deadline(10.0, now)


def lived(
    pace: Pace, takes: float, *, own: float, every: float, count: int, now: float
) -> tuple[float, list[bool]]:
    """So many requests to a manager that takes so long, each given up at its deadline: whether they were answered."""
    answered = []
    for _ in range(count):
        now += every
        deadline = pace.deadline(own, now)
        answered.append(takes <= deadline)
        if takes <= deadline:
            pace.answered(takes, now)
        else:
            pace.gave_up(deadline, now)
            pace.missed()
    return now, answered


@settings(max_examples=examples(60), deadline=None)
@given(st.floats(0.005, 0.5), st.floats(0.05, 4.9), st.sampled_from([0.01, 0.1, 1.0]))
def test_a_manager_that_became_slower_is_heard_again_at_once(
    before: float, after: float, every: float
) -> None:
    own = 5.0
    pace = Pace(0.0, RULE)
    now, _ = lived(pace, before, own=own, every=every, count=300, now=0.0)
    now, answered = lived(pace, after, own=own, every=every, count=300, now=now)
    lost = answered.count(False)
    assert lost <= math.log2(own / RULE.floor) + 1, "four doublings, and it has all its own time"
    assert all(answered[lost:]), "once heard, never lost again"


@settings(max_examples=examples(60), deadline=None)
@given(st.floats(0.005, 0.3), st.floats(0.5, 4.0))
def test_a_manager_that_became_quicker_is_given_less_again(quick: float, slow: float) -> None:
    pace = Pace(0.0, RULE)
    now, _ = lived(pace, quick, own=5.0, every=0.1, count=300, now=0.0)
    usual = pace.deadline(5.0, now)
    now, _ = lived(pace, slow, own=5.0, every=0.1, count=100, now=now)
    now, answered = lived(pace, quick, own=5.0, every=0.1, count=4200, now=now)
    assert all(answered)
    assert pace.stretch == 0
    assert pace.deadline(5.0, now + 1) <= usual * GROWTH**2


def test_the_hedge_is_at_the_ninety_fifth_percentile() -> None:
    pace = Pace(0.0, RULE)
    for number in range(1000):
        pace.answered(0.05 if number % 100 < 94 else 0.6, 0.0)
    assert 0.6 <= pace.hedge_after(0.0) <= 0.6 * GROWTH
    pace = Pace(0.0, RULE)
    for number in range(1000):
        pace.answered(0.05 if number % 100 < 96 else 0.6, 0.0)
    assert 0.05 <= pace.hedge_after(0.0) <= 0.05 * GROWTH
