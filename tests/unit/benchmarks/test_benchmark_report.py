"""Results on disk, several as one, and the page that is made of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.benchmarks.comparing import Cost, Outcome
from tests.benchmarks.goals import BESIDE, GOALS
from tests.benchmarks.markdown import BEGIN, END, explained, rendered
from tests.benchmarks.parts import PARTS
from tests.benchmarks.report import Report, load, newest, parts_of, save, show, show_changes, together

MACHINE = {"cpus": "2", "load": "0.10"}


def report(made_at: str = "2026-11-23T10:00:00+00:00", ratio: float = 1.2, **more: object) -> Report:
    cost = Cost("broker", 2.0, 1.9, 2.2, 3.0, 4.0, 5.0, 300.0, 2_000)
    ratios = tuple(ratio * one for one in (0.99, 1.0, 1.01, 1.0))
    outcome = Outcome("read by id", 1, cost, cost, ratio, min(ratios), max(ratios), ratios)
    given = {"read": [outcome], "machine": MACHINE, "quick": False, "seconds": {"read": 60.0}} | more
    return Report(made_at, **given)  # type: ignore[arg-type]  # by name, as tests give them


def test_every_part_has_a_field_and_every_goal_a_part() -> None:
    fields = {*Report.__struct_fields__}
    assert {name.replace("-", "_") for name in PARTS} <= fields
    assert {goal.part for goal in (*GOALS, *BESIDE)} <= {*PARTS}
    keys = [goal.key for goal in (*GOALS, *BESIDE)]
    assert len(keys) == len({*keys})


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    save(report(), tmp_path / "new" / "one.json")
    assert load(tmp_path / "new" / "one.json") == report()


def test_what_is_no_result_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"read": 5}')
    with pytest.raises(ValueError, match=r"one\.json: "):
        load(tmp_path / "one.json")


def test_the_newest_of_the_same_kind_is_found(tmp_path: Path) -> None:
    save(report(), tmp_path / "20261123T100000Z.json")
    save(report(quick=True), tmp_path / "20261123T110000Z.json")
    save(report(machine=MACHINE | {"cpus": "8"}), tmp_path / "20261123T120000Z.json")
    save(report(read=[], merge={"ratio_median": 1.0}), tmp_path / "20261123T130000Z.json")
    (tmp_path / "20261123T140000Z.json").write_text("half writ")
    assert newest(tmp_path, like=report()) == tmp_path / "20261123T100000Z.json"
    assert newest(tmp_path / "nowhere", like=report()) is None


def test_of_several_results_the_later_part_counts() -> None:
    first = report(ratio=1.0, merge={"ratio_median": 1.1})
    later = report("2026-11-23T12:00:00+00:00", ratio=1.3)
    found = together([later, first])
    assert found.made_at == later.made_at
    assert found.read[0].ratio == 1.3
    assert {*parts_of(found)} == {"merge", "read"}


def test_both_can_be_shown() -> None:
    console = Console(record=True, width=100)
    show(report(), console)
    show_changes(report("2026-11-24T10:00:00+00:00", ratio=1.5), report(), console)
    text = console.export_text()
    assert "read by id" in text
    assert "worse" in text
    assert "1 worse" in text


# --- the page


def test_the_page_says_what_was_asked_measured_and_missed() -> None:
    page = rendered(report(ratio=1.9), None)
    assert "| read by id, same | ≤ 1.40 × | **1.90 ×** |" in page
    assert "not reached, [not explained](#read)" in page
    assert page.index(END) < page.index("### read")
    assert "| not measured | `search` |" in page


def test_what_is_reached_needs_no_explanation() -> None:
    page = rendered(report(ratio=1.3), None)
    assert "| reached |" in page
    assert "### read" not in page


def test_what_people_wrote_stays() -> None:
    page = rendered(report(ratio=1.9), None).replace("Not explained yet.", "aiohttp's own parser: 40 %.")
    page = page.replace("# Benchmarks\n", "# Benchmarks\n\nA word before.\n")
    again = rendered(report(ratio=1.8), page)
    assert "A word before." in again
    assert "aiohttp's own parser: 40 %." in again
    assert again.count("### read") == 1
    assert "**1.80 ×**" in again
    assert "1.90" not in again
    assert "[why](#read)" in again
    assert explained(again, "read")


def test_a_page_without_marks_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="marks"):
        rendered(report(), "# Something else\n")
    with pytest.raises(ValueError, match="marks"):
        rendered(report(), f"# Cut off\n{BEGIN}\n")


@pytest.mark.parametrize(
    ("more", "said"), [({"quick": True}, "Few rounds."), ({"smoke": True}, "mean nothing")]
)
def test_a_run_that_says_little_is_said_to(more: dict[str, bool], said: str) -> None:
    assert said in rendered(msgspec.structs.replace(report(), **more), None)
