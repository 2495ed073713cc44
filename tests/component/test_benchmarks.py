"""Every part of the benchmarks does a little of what it does, and what it gives can be written, read, compared and told.

No time is judged here. Children are forked from one process that has loaded the broker (`tests.benchmarks.zygote`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from tests.benchmarks.comparing import SMOKE
from tests.benchmarks.goals import BESIDE, GOALS
from tests.benchmarks.markdown import rendered
from tests.benchmarks.parts import PARTS
from tests.benchmarks.report import Report, load, save, show, show_changes
from tests.benchmarks.zygote import forking
from tests.support.kafka_server import KafkaServer

COST = {
    *("name", "cpu_ms", "cpu_min_ms", "cpu_max_ms", "p50_ms", "p95_ms", "p99_ms"),
    *("per_second", "answer_bytes", "watched"),
}
OUTCOME = {"case", "connections", "ours", "theirs", "ratio", "ratio_min", "ratio_max", "ratios"}

SHAPES: dict[str, set[str]] = {
    "merge": {"bytes", "merge_median_ms", "orjson_median_ms", "ratio_median", "ratio_low", "ratio_high"},
    "located": {"outcomes", "upstream", "upstream_without", "feeding_ms"},
    "write": {"outcomes", "parts", "exchanges", "upstream"},
    "managers": {"sizes", "deadlines"},
    "workers": {"scaling", "exchanges"},
    "tails": {"tails", "upstream"},
    "idle": {"states", "bare"},
    "steps": {"stretches"},
    "locator-memory": {"bytes_per_circle", "holders_median_us", "nation_gib"},
    "crawl": {"circles_per_second", "broker_cpu_us_per_circle", "resident_most_mb", "longest_step_ms"},
    "publish": {"kafka", "ours_us", "bare_us", "ratio", "ratios", "event_bytes", "watched"},
    "agent": {"changes_per_second", "change_cpu_us", "bare_change_cpu_us", "ratio_change", "longest_step_ms"},
    "sync": {"load", "shares", "journey"},
    "access": {"outcomes", "records"},
}
"""Keys that a part has at least; `search` and `read` are lists of outcomes."""

SLOW = {"workers"}
WITHOUT_KAFKA = [
    pytest.param(name, marks=[pytest.mark.soak] if name in SLOW else []) for name in PARTS if name != "sync"
]


@pytest.fixture(scope="module", autouse=True)
def children() -> Iterator[None]:
    with forking():
        yield


def done(name: str, directory: Path) -> tuple[Report, Any]:
    """The part alone, as a result that was written and read again; and its part of the JSON."""
    field = name.replace("-", "_")
    heard: list[str] = []
    measured = PARTS[name].measured(SMOKE, heard.append)
    made = Report(
        "2026-11-23T10:00:00+00:00",
        False,
        {"cpus": "2", "load": "0.10"},
        True,
        {field: 1.0},
        **{field: measured},
    )
    path = directory / f"{name}.json"
    save(made, path)
    assert load(path) == made
    return made, orjson.loads(path.read_bytes())[field]


@pytest.mark.parametrize("name", WITHOUT_KAFKA)
def test_a_part_measures_what_it_says(name: str, tmp_path: Path) -> None:
    made, told = done(name, tmp_path)
    if isinstance(told, dict):
        assert SHAPES[name] <= {*told}
    outcomes = told if isinstance(told, list) else told.get("outcomes", [])
    for one in outcomes:
        assert {*one} == OUTCOME
        assert {*one["ours"]} == {*one["theirs"]} == COST
        assert len(one["ratios"]) == SMOKE.rounds
        assert all(side["cpu_ms"] > 0 and side["answer_bytes"] > 0 for side in (one["ours"], one["theirs"]))
        assert one["ours"]["watched"]["steps"] > 0
    for goal in (*GOALS, *BESIDE):
        found = goal.find(made)
        assert (found is not None) == (goal.part == name), goal.key
    console = Console(record=True, width=100)
    show(made, console)
    show_changes(made, made, console)
    assert "mean nothing" in rendered(made, None)


@pytest.mark.kafka
@pytest.mark.soak
@pytest.mark.timeout(240)
def test_synchronisation_too(
    kafka_server: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDS_TEST_KAFKA", kafka_server.bootstrap)
    made, told = done("sync", tmp_path)
    assert {*told} == SHAPES["sync"]
    assert [one["write"] for one in told["shares"]][:2] == ["CareTeam created", "CareTeam updated"]
    show(made, Console(record=True, width=100))
