"""deploy/sizing: what the model says of a size is what a simulation of the same load finds, and what the document says."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.sizing import inputs, taking
from deploy.sizing.__main__ import DOCUMENT, TABLE, markdown, marks, put, table
from deploy.sizing.model import KAFKA, MANAGER, PUBLISHING, REDIS, Sized, peak, per_day, sized
from deploy.sizing.simulation import Seen, Simulation
from registry.model import REGIONS

OF, GIVEN = inputs.measured(), inputs.assumptions()
BUSIEST = GIVEN.day.index(max(GIVEN.day))
ALL = "eighteen regions"

NOBODY_LOOKS = dataclasses.replace(
    GIVEN, looks_per_active_circle_and_day=0.0, looks_per_other_circle_and_day=0.0
)
"""Changes alone: what they need is played through in no time."""


def busy(told: Sized) -> Mapping[str, float]:
    return {"workers": told.processors / told.workers} | {one.part: one.busy for one in told.limits}


# --- against the simulation


@pytest.mark.parametrize(
    ("size", "factor", "seconds"), [("one region", 10.0, 20.0), ("five regions", 4.0, 12.0), (ALL, 1.0, 12.0)]
)
def test_the_simulation_finds_each_part_as_busy_as_the_model_says(
    size: str, factor: float, seconds: float
) -> None:
    """But for what chance does in so short a time, and for regions overseas, whose peak is at another hour. What managers
    have to do must not be more than they can: then nothing would come back."""
    given = dataclasses.replace(
        GIVEN, manager_per_second_and_million=GIVEN.manager_per_second_and_million * factor
    )
    regions = given.of(size)
    told = sized(regions, OF, given, factor)
    seen = Simulation(regions, OF, given, told.workers, factor).play(BUSIEST, seconds)
    for part, wanted in busy(told).items():
        if not part.startswith(MANAGER):
            assert seen.busy[part] == pytest.approx(wanted, rel=0.2, abs=0.004), part
    assert seen.requests / seconds == pytest.approx(told.peak.requests, rel=0.08)
    assert seen.p99_ms(seen.own) == pytest.approx(told.own_p99_ms, rel=0.35)
    assert seen.p99_ms(seen.searches) == pytest.approx(told.p99_ms, rel=0.15)


def test_each_manager_is_as_busy_in_the_simulation() -> None:
    regions = GIVEN.of(ALL)
    told = sized(regions, OF, GIVEN)
    seen = Simulation(regions, OF, GIVEN, told.workers).play(BUSIEST, 12.0)
    for one in (limit for limit in told.limits if limit.part.startswith(MANAGER)):
        if "Guyane" in one.part:  # it is 05:00 there
            assert seen.busy[one.part] < one.busy
        else:
            assert seen.busy[one.part] == pytest.approx(one.busy, rel=0.15)


@pytest.mark.parametrize(
    ("part", "of", "given"),
    [
        (PUBLISHING, OF, NOBODY_LOOKS),
        (REDIS, dataclasses.replace(OF, redis_change_ms=2 * OF.publish_ms), NOBODY_LOOKS),
        (KAFKA, OF, dataclasses.replace(NOBODY_LOOKS, kafka_mbit=5.0)),
    ],
    ids=[PUBLISHING, REDIS, KAFKA],
)
def test_the_part_that_is_named_is_the_one_that_breaks(
    part: str, of: inputs.Measured, given: inputs.Assumptions
) -> None:
    """At a little less than it can do, all goes on; at a little more, it alone falls ever further behind."""
    regions, seconds = given.of("five regions"), 20.0
    first = sized(regions, of, given).first_own
    assert first.part == part

    def play(whole: float) -> Seen:
        factor = whole / first.busy
        managers = dataclasses.replace(given, manager_least_per_second=1e6)
        return Simulation(regions, of, managers, 8, factor).play(BUSIEST, seconds)

    below, above = play(0.8), play(1.25)
    assert below.worst_wait[part] < 0.5
    assert above.worst_wait[part] > 0.1 * seconds
    others = [wait for name, wait in above.worst_wait.items() if name != part]
    assert max(others) < 0.2 * above.worst_wait[part]


def test_the_night_is_quiet_and_the_same_seed_plays_the_same() -> None:
    regions = GIVEN.of("five regions")
    one, other = (Simulation(regions, OF, GIVEN, 2, seed=7).play(BUSIEST, 4.0) for _ in range(2))
    assert one == other
    night = Simulation(regions, OF, GIVEN, 2, seed=7).play(GIVEN.day.index(min(GIVEN.day)), 4.0)
    assert night.requests < one.requests / 10


# --- the model by itself


def test_twice_the_load_is_twice_as_busy_and_no_part_becomes_less() -> None:
    regions = GIVEN.of("five regions")
    one, two = (sized(regions, OF, GIVEN, factor) for factor in (1.0, 2.0))
    assert two.processors == pytest.approx(2 * one.processors)
    assert two.workers >= one.workers
    assert two.own_p99_ms >= one.own_p99_ms
    for limit, double in zip(one.limits, two.limits, strict=True):
        assert double.busy == pytest.approx(2 * limit.busy)
        assert double.headroom == pytest.approx(limit.headroom / 2)


def test_half_of_the_workers_may_be_away_at_the_peak() -> None:
    for size in GIVEN.sizes:
        for factor in (1.0, 10.0, 30.0):
            told = sized(GIVEN.of(size), OF, GIVEN, factor)
            assert told.processors <= GIVEN.most_busy * (told.workers - 1)
            assert told.nodes >= 2


def test_the_peak_is_what_the_assumptions_say() -> None:
    regions = [dataclasses.replace(GIVEN.regions["53"], people=1_000_000)]
    day = per_day(1_000_000, GIVEN)
    assert day.located == pytest.approx(170_000 * 0.5 + 830_000 * 0.01)
    assert day.changes == pytest.approx(170_000 * 0.03)
    assert peak(regions, GIVEN).located == pytest.approx(day.located * 0.12 * 1.5 / 3600)


def test_a_worker_that_is_asked_for_more_than_it_can_never_answers() -> None:
    told = sized(GIVEN.of("one region"), dataclasses.replace(OF, redis_located_ms=100.0), GIVEN, 20.0)
    assert told.own_p99_ms == float("inf")


# --- what it is given


def test_the_eighteen_regions_are_those_of_the_registry() -> None:
    assert {*GIVEN.regions} == {*GIVEN.sizes[ALL]} == {*REGIONS}
    assert {code: one.name for code, one in GIVEN.regions.items()} == dict(REGIONS)
    assert sum(one.people for one in GIVEN.regions.values()) == pytest.approx(68e6, rel=0.01)
    assert sum(GIVEN.day) == pytest.approx(1.0)


def test_every_figure_and_every_assumption_says_where_it_is_from() -> None:
    assumed = json.loads(inputs.ASSUMPTIONS.read_text(encoding="utf-8"))
    measured = json.loads(inputs.MEASURED.read_text(encoding="utf-8"))["figures"]
    for name, one in [*assumed.items(), *measured.items()]:
        assert name == "about" or len(one["source"]) > 5, name
    assert {one["status"] for one in measured.values()} <= {"measured", "loaded", "placeholder"}


def test_figures_are_taken_from_results_of_the_benchmarks(tmp_path: Path) -> None:
    outcomes = [
        {"case": "located search, one holder", "connections": clients, "ours": {"cpu_ms": 0.1 * clients}}
        for clients in (1, 16)
    ]
    result = tmp_path / "result.json"
    document = {"machine": {"load": "0.2", "cpus": "2"}, "access": {"outcomes": outcomes}}
    result.write_text(json.dumps(document))
    measured = tmp_path / "measured.json"
    measured.write_bytes(inputs.MEASURED.read_bytes())
    lines = list(taking.take(measured, [result]))
    assert len(lines) == 1
    assert lines[0].startswith("located_ms: ")
    assert inputs.measured(measured).located_ms == 1.6
    assert inputs.measured(measured).read_ms == OF.read_ms
    assert "located_ms" not in inputs.placeholders(measured)


def test_figures_of_a_busy_machine_are_said_to_be(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text(
        json.dumps({"machine": {"load": "3", "cpus": "2"}, "crawl": {"broker_cpu_us_per_circle": 250}})
    )
    measured = tmp_path / "measured.json"
    measured.write_bytes(inputs.MEASURED.read_bytes())
    assert len(list(taking.take(measured, [result]))) == 1
    assert inputs.placeholders(measured)["follow_ms"] == "loaded"
    assert inputs.measured(measured).follow_ms == 0.25


def test_a_figure_that_is_none_is_refused(tmp_path: Path) -> None:
    told = json.loads(inputs.MEASURED.read_text(encoding="utf-8"))
    told["figures"]["read_ms"]["value"] = 0
    file = tmp_path / "measured.json"
    file.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="read_ms"):
        inputs.measured(file)


# --- the document


def test_the_document_has_the_table_that_the_model_makes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    begin, end = marks(TABLE)
    shown = text.partition(begin)[2].partition(end)[0].strip()
    assert shown == markdown(table(GIVEN, OF)), "run: .venv/bin/python -m deploy.sizing --document"
    with pytest.raises(ValueError, match="no place"):
        put("nothing", TABLE, [["a"]])


def test_the_document_names_every_figure_that_is_not_measured_on_a_quiet_machine_as_such() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert links
    assert [one for one in links if not (DOCUMENT.parent / one).exists()] == []
    assert ("Not measured on a quiet machine" in text) == bool(inputs.placeholders())
