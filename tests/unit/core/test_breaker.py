"""The breaker, step by step."""

from __future__ import annotations

import itertools

import pytest

from broker.core.breaker import BREAKING, Breaker, BreakerPolicy, BreakerState
from broker.core.manager_failure import failed, kind_of_status
from broker.core.outcome import Language, issue_of, outcome
from broker.errors import FailureKind
from tests.support.gestionnaires import gestionnaire

POLICY = BreakerPolicy(threshold=2, probe_interval=5.0, max_interval=30.0)


def opened(now: float = 0.0, kind: FailureKind = FailureKind.TIMEOUT) -> Breaker:
    breaker = Breaker(POLICY, now)
    for _ in range(POLICY.threshold):
        breaker.failure(breaker.epoch, kind, now)
    assert breaker.state is BreakerState.OPEN
    return breaker


@pytest.mark.parametrize("kind", sorted(BREAKING))
def test_two_breaking_failures_in_a_row_open_it(kind: FailureKind) -> None:
    breaker = Breaker(POLICY, 0.0)
    assert breaker.failure(0, kind, 1.0) is False
    assert breaker.admit() == 0
    assert breaker.failure(0, kind, 2.0) is True
    assert breaker.admit() is None
    assert (breaker.since, breaker.failures, breaker.last_kind, breaker.probe_at) == (2.0, 2, kind, 7.0)


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - BREAKING))
def test_what_only_a_living_manager_says_is_no_failure(kind: FailureKind) -> None:
    breaker = Breaker(POLICY, 0.0)
    for _ in range(10):
        assert breaker.failure(0, kind, 1.0) is False
    assert breaker.admit() == 0
    assert breaker.failures == 0


def test_a_success_between_two_failures_keeps_it_closed() -> None:
    breaker = Breaker(POLICY, 0.0)
    for _ in range(5):
        breaker.failure(0, FailureKind.ERROR, 1.0)
        breaker.success(0)
    assert breaker.admit() == 0


def test_late_results_of_an_earlier_epoch_are_not_heard() -> None:
    breaker = opened()
    breaker.success(0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.begin_probe(5.0)
    breaker.probe_succeeded(5.1)
    for _ in range(3):  # sent before it opened, timed out after it was found back
        assert breaker.failure(0, FailureKind.TIMEOUT, 6.0) is False
    assert breaker.admit() == breaker.epoch == 1


def test_the_probe_is_one_and_not_before_its_time() -> None:
    breaker = opened()
    assert not breaker.begin_probe(4.9)
    assert breaker.begin_probe(5.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.begin_probe(100.0)
    assert breaker.admit() is None


def test_intervals_double_to_the_bound_and_count_from_the_start_of_the_probe() -> None:
    breaker = opened()
    starts = []
    now = 0.0
    for _ in range(6):
        assert breaker.probe_at is not None
        now = breaker.probe_at
        starts.append(now)
        assert breaker.begin_probe(now)
        breaker.probe_failed(now + 3.0, FailureKind.TIMEOUT)
    assert [b - a for a, b in itertools.pairwise(starts)] == [10.0, 20.0, 30.0, 30.0, 30.0]
    assert breaker.since == 0.0  # open since then, whatever was probed
    breaker.begin_probe(now + 30.0)
    breaker.probe_succeeded(now + 30.5)
    assert (breaker.state, breaker.interval, breaker.failures) == (BreakerState.CLOSED, 5.0, 0)
    assert breaker.last_kind is FailureKind.TIMEOUT


def test_a_probe_that_outlasts_its_interval_is_followed_at_once_not_in_the_past() -> None:
    breaker = opened()
    breaker.begin_probe(5.0)
    breaker.probe_failed(40.0, FailureKind.TIMEOUT)
    assert breaker.probe_at == 40.0


def test_an_abandoned_probe_teaches_nothing() -> None:
    breaker = opened()
    breaker.begin_probe(5.0)
    breaker.probe_abandoned(6.0)
    assert (breaker.state, breaker.interval, breaker.probe_at) == (BreakerState.OPEN, 5.0, 11.0)


@pytest.mark.parametrize(("asked", "waited"), [(1.0, 1.0), (12.0, 12.0), (3600.0, 30.0)])
def test_retry_after_opens_at_once_and_is_kept_within_the_bound(asked: float, waited: float) -> None:
    breaker = Breaker(POLICY, 0.0)
    assert breaker.failure(0, FailureKind.BUSY, 100.0, retry_after=asked) is True
    assert breaker.probe_at == 100.0 + waited
    breaker.begin_probe(200.0)
    breaker.probe_failed(201.0, FailureKind.BUSY, retry_after=asked)
    assert breaker.probe_at == 201.0 + waited


def test_retry_after_zero_asks_for_nothing() -> None:
    breaker = Breaker(POLICY, 0.0)
    assert breaker.failure(0, FailureKind.BUSY, 0.0, retry_after=0.0) is False


def test_the_bound_follows_the_interval_unless_it_is_said() -> None:
    assert BreakerPolicy().bound == 30.0
    assert BreakerPolicy(probe_interval=0.2).bound == pytest.approx(1.2)
    assert BreakerPolicy(probe_interval=60.0, max_interval=60.0).bound == 60.0


@pytest.mark.parametrize("values", [{"threshold": 0}, {"probe_interval": 0.0}, {"max_interval": 4.0}])
def test_a_policy_that_cannot_work_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="required"):
        BreakerPolicy(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, None),
        (304, None),
        (302, FailureKind.REDIRECT),
        (400, FailureKind.REJECTED),
        (401, FailureKind.REFUSED),
        (403, FailureKind.REFUSED),
        (404, FailureKind.REJECTED),
        (408, FailureKind.TIMEOUT),
        (429, FailureKind.BUSY),
        (500, FailureKind.ERROR),
        (501, FailureKind.NOT_SUPPORTED),
        (503, FailureKind.BUSY),
        (504, FailureKind.TIMEOUT),
        (508, FailureKind.LOOP),
    ],
)
def test_kind_of_status(status: int, kind: FailureKind | None) -> None:
    assert kind_of_status(status) is kind


@pytest.mark.parametrize("kind", FailureKind)
def test_every_failure_has_its_texts_with_name_and_region(kind: FailureKind) -> None:
    languages: tuple[Language, ...] = ("fr", "en")
    for language in languages:
        said = outcome([issue_of(failed(gestionnaire("bre"), kind))], language=language)["issue"][0]
        assert "GCS e-Santé Bretagne (Bretagne)" in said["details"]["text"]
        assert said["details"]["coding"][0]["code"] == f"manager.{kind}"
