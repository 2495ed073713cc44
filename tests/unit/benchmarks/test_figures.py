"""What changed between two runs."""

from __future__ import annotations

from tests.benchmarks.comparing import Cost, Outcome
from tests.benchmarks.figures import Change, Figure, Verdict, changes, of_report

STEADY = (1.00, 1.01, 0.99, 1.02, 0.98, 1.00, 1.01, 0.99)


def ratio(name: str, times: float, *, more_is_better: bool = False) -> Figure:
    rounds = tuple(one * times for one in STEADY)
    return Figure(name, times, "×", rounds, more_is_better)


def only(before: Figure, now: Figure) -> Change:
    (found,) = changes([before], [now])
    return found


def test_more_than_the_rounds_explain_is_worse_or_better() -> None:
    assert only(ratio("a", 1.0), ratio("a", 1.2)).verdict is Verdict.WORSE
    assert only(ratio("a", 1.2), ratio("a", 1.0)).verdict is Verdict.BETTER


def test_of_throughput_more_is_better() -> None:
    more = only(ratio("a", 1.0, more_is_better=True), ratio("a", 1.2, more_is_better=True))
    assert more.verdict is Verdict.BETTER


def test_what_rounds_differ_by_anyway_is_the_same() -> None:
    noisy = Figure("a", 1.3, "×", (0.8, 1.3, 1.9, 1.0, 1.6, 0.9))
    assert only(noisy, ratio("a", 1.2)).verdict is Verdict.SAME


def test_a_change_too_small_to_matter_is_the_same_however_steady_the_rounds() -> None:
    exact = Figure("a", 1.0, "×", (1.0,) * 10)
    assert only(exact, Figure("a", 1.02, "×", (1.02,) * 10)).verdict is Verdict.SAME


def test_without_rounds_nothing_is_judged() -> None:
    change = only(Figure("a", 10.0, "ms"), Figure("a", 30.0, "ms"))
    assert (change.verdict, change.change) == (Verdict.UNSURE, 2.0)
    one = only(Figure("a", 1.0, "×", (1.0,)), Figure("a", 2.0, "×", (2.0,)))
    assert one.verdict is Verdict.UNSURE


def test_of_few_rounds_none_may_lie_among_those_of_the_other_run() -> None:
    before = Figure("a", 1.0, "×", (1.0, 1.1, 0.9, 1.3))
    assert only(before, Figure("a", 1.4, "×", (1.4, 1.5, 1.35, 1.45))).verdict is Verdict.WORSE
    assert only(before, Figure("a", 1.4, "×", (1.4, 1.5, 1.25, 1.45))).verdict is Verdict.SAME


def test_bounds_of_a_median_are_compared_where_the_rounds_are_gone() -> None:
    before = Figure("a", 1.0, "×", bounds=(0.98, 1.02))
    assert only(before, Figure("a", 1.2, "×", bounds=(1.18, 1.22))).verdict is Verdict.WORSE
    assert only(before, Figure("a", 1.05, "×", bounds=(1.00, 1.10))).verdict is Verdict.SAME


def test_what_is_new_and_what_is_gone_is_said() -> None:
    found = {one.name: one.verdict for one in changes([ratio("old", 1.0)], [ratio("new", 1.0)])}
    assert found == {"new": Verdict.NEW, "old": Verdict.GONE}


def test_nothing_was_before() -> None:
    change = only(Figure("partial", 0.0, "%"), Figure("partial", 3.0, "%"))
    assert (change.verdict, change.change) == (Verdict.UNSURE, None)


def test_figures_are_named_by_part_case_and_clients() -> None:
    cost = Cost("bare proxy", 0.5, 0.4, 0.6, 1.0, 2.0, 3.0, 900.0, 10)
    outcome = Outcome("read by id", 16, cost, cost, 1.0, 0.9, 1.1, (0.9, 1.0, 1.1))
    merge = {"ratio_median": 1.0, "ratio_low": 0.9, "ratio_high": 1.1, "bytes": 577_000.0}
    found = {one.name: one for one in of_report({"read": [outcome], "merge": merge, "crawl": {}})}
    assert found["read: read by id, 16 clients: CPU over bare proxy"].rounds == (0.9, 1.0, 1.1)
    assert found["merge: ratio_median"].bounds == (0.9, 1.1)
    assert not any(name.startswith(("crawl", "merge: bytes", "merge: ratio_low")) for name in found)
