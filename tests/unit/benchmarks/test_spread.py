"""Statistics of rounds."""

from __future__ import annotations

import random
import statistics

import pytest

from tests.benchmarks import spread


@pytest.mark.parametrize(
    ("part", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_a_quantile_is_one_of_the_values(part: float, expected: float) -> None:
    values = [float(one) for one in range(1, 101)]
    random.Random(1).shuffle(values)
    assert spread.quantile(values, part) == expected


def test_of_one_value_every_quantile_is_that_value() -> None:
    assert spread.p99([7.0]) == 7.0


def test_of_nothing_there_is_no_quantile() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread.quantile([], 0.5)


def test_the_median_lies_within_its_bounds_and_they_narrow_with_rounds() -> None:
    dice = random.Random(2)
    many = [dice.gauss(10.0, 1.0) for _ in range(200)]
    few = many[:8]
    low, high = spread.of_median(many)
    assert low <= statistics.median(many) <= high
    wide_low, wide_high = spread.of_median(few)
    assert high - low < wide_high - wide_low


def test_bounds_are_the_same_each_time() -> None:
    values = [1.0, 1.5, 1.2, 2.0, 1.1]
    assert spread.of_median(values) == spread.of_median(values)


def test_a_ratio_draws_whole_pairs_of_rounds() -> None:
    """A round that was slow on both sides says nothing about their ratio."""
    ours = [[2.0] * 5, [20.0] * 5, [2.0] * 5]
    theirs = [[1.0] * 5, [10.0] * 5, [1.0] * 5]
    assert spread.of_ratio(ours, theirs, statistics.fmean) == (2.0, 2.0)


def test_a_change_that_is_there_leaves_out_zero() -> None:
    before = [1.00, 1.02, 0.98, 1.01, 0.99, 1.00]
    low, high = spread.of_change(before, [one * 1.2 for one in before])
    assert 0.1 < low <= 0.2 <= high < 0.3
    low, high = spread.of_change(before, list(reversed(before)))
    assert low <= 0 <= high
