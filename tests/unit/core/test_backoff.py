"""Waiting times: they grow, are shortened at random, and end."""

from __future__ import annotations

import pytest

from broker.core.backoff import AGENT, DAY, REST_HOOK, Backoff


def test_they_grow_up_to_the_most() -> None:
    waits = [Backoff(1, 10, factor=3).delay(n) for n in range(1, 6)]
    assert waits == [1, 3, 9, 10, 10]


def test_the_jitter_shortens() -> None:
    backoff = Backoff(8, 8, spread=0.5)
    assert backoff.delay(1, 0.0) == 8
    assert backoff.delay(1, 0.5) == 6
    assert 4 < (backoff.delay(1, 0.999) or 0) < 4.1


def test_a_subscriber_is_tried_for_days() -> None:
    elapsed, tries = 0.0, 0
    while (wait := REST_HOOK.delay(tries + 1, since_first=elapsed)) is not None:
        elapsed += wait
        tries += 1
    assert elapsed == 4 * DAY  # the last try is made at the very end
    assert 25 < tries < 45
    assert REST_HOOK.delay(1, 0.999, since_first=0) == pytest.approx(5, abs=0.1)


def test_an_agent_never_gives_up() -> None:
    assert AGENT.delay(10_000, since_first=1e9) == 30


@pytest.mark.parametrize(("failures", "jitter"), [(0, 0.0), (1, 1.0), (1, -0.1)])
def test_what_makes_no_sense(failures: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="one failure"):
        AGENT.delay(failures, jitter)
    with pytest.raises(ValueError, match="growing"):
        Backoff(2, 1)
