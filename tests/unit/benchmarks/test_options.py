"""What the suite can be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.options import Options, options
from tests.benchmarks.parts import PARTS


def test_without_a_name_everything_is_measured() -> None:
    chosen = options([])
    assert chosen.parts == tuple(PARTS)
    assert chosen.whole
    assert [chosen.quick, chosen.smoke, chosen.report, chosen.compare] == [False, False, False, True]


def test_parts_come_in_the_order_of_the_suite_whichever_way_they_are_named() -> None:
    assert options(["read", "merge", "--only", "search"]).parts == ("merge", "search", "read")
    assert not options(["read"]).whole


def test_an_unknown_part_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(["serach"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "no such part: serach" in said
    assert all(name in said for name in PARTS)


def test_a_file_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(["--against", "nowhere.json"])
    assert "no such file: nowhere.json" in capsys.readouterr().err


def test_help_says_every_part_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(part.about in said for part in PARTS.values())
    assert "make bench ARGS='located --profile'" in said


def test_results_to_tell_are_a_report(tmp_path: Path) -> None:
    one = tmp_path / "one.json"
    one.write_text("{}")
    chosen = options(["--from", str(one)])
    assert (chosen.sources, chosen.report) == ((one,), True)


def test_profiles_are_of_python_unless_said_otherwise() -> None:
    assert [options(arguments).profile for arguments in ([], ["--profile"], ["--profile", "native"])] == [
        None,
        "python",
        "native",
    ]


def test_quick_and_smoke_exclude_each_other() -> None:
    with pytest.raises(SystemExit):
        options(["--quick", "--smoke"])


def test_an_earlier_run_may_be_left_alone() -> None:
    assert options(["--no-comparison"]) == Options(parts=tuple(PARTS), compare=False)
