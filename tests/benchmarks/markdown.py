"""deploy/benchmarks.md: the figures as a run gives them, between marks, and beside them what people wrote.

Only what is between the marks is written anew. For each number that is not reached there is a place for the profile that
shows why (`### name`); what stands there stays, and where nothing does, the table says that the explanation is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tests.benchmarks.goals import BESIDE, GOALS, Goal, Measured
from tests.benchmarks.report import Report

BEGIN = "<!-- figures: written by make bench-report -->"
END = "<!-- figures end -->"

_FRAME = f"""\
# Benchmarks

What the broker costs, measured by `make bench` and written here by `make bench-report`. Every figure stands beside a
baseline that ran in turn with it, in the same run, on the same machine; so the figures are ratios. How each is measured is
said in `tests/benchmarks`, at the head of the part that is named. `make bench ARGS='PART'` gives them on your machine.

{BEGIN}
{END}

## What is not reached, and why

For each number above that is not reached: the profile (`make bench ARGS='PART --profile'`) that shows where the time goes.
"""


def rendered(report: Report, existing: str | None) -> str:
    """The page, with what people wrote in `existing`. Raises `ValueError` where its marks are gone."""
    page = _FRAME if existing is None else existing
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"the marks are missing: {BEGIN} and {END}")
    missed = [goal for goal in (*GOALS, *BESIDE) if _is_missed(goal, report)]
    after = _with_places(after, missed)
    lines = "\n".join(_lines(report, after))
    return f"{before}{BEGIN}\n{lines}\n{END}{after}"


def explained(page: str, key: str) -> bool:
    """Whether somebody wrote something under this heading."""
    found = re.search(rf"^### {re.escape(key)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    return found is not None and found[1].strip() not in ("", _NOTHING)


_NOTHING = "Not explained yet."


def _is_missed(goal: Goal, report: Report) -> bool:
    found = goal.find(report)
    return found is not None and not goal.met(found.value)


def _with_places(after: str, missed: Sequence[Goal]) -> str:
    for goal in missed:
        if not re.search(rf"^### {re.escape(goal.key)}$", after, re.MULTILINE):
            after = f"{after.rstrip()}\n\n### {goal.key}\n\n{_NOTHING}\n"
    return after


def _lines(report: Report, after: str) -> Iterator[str]:
    kind = "A smoke: these figures mean nothing. " if report.smoke else "Few rounds. " if report.quick else ""
    minutes = sum(report.seconds.values()) / 60
    yield ""
    yield f"{kind}Measured {report.made_at}, in {minutes:.0f} minutes, on:"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in report.machine.items():
        yield f"| {name} | {value} |"
    yield ""
    yield "## Numbers asked for"
    yield ""
    yield from _table(GOALS, report, after)
    yield ""
    yield "## Asked for in words"
    yield ""
    yield from _table(BESIDE, report, after)
    yield ""
    yield "Between: where the median lies with 95 %, by resampling the rounds. A step is what one task does without letting"
    yield "others run; time for which the kernel gave the processor to somebody else is not in it."
    yield ""


def _table(goals: Sequence[Goal], report: Report, after: str) -> Iterator[str]:
    yield "| | asked | measured | between | made of | part | |"
    yield "|---|--:|--:|--:|---|---|---|"
    for goal in goals:
        found = goal.find(report)
        asked = f"{'≥' if goal.at_least else '≤'} {_number(goal.limit, goal.unit)}"
        if found is None:
            yield f"| {goal.text} | {asked} | – | | not measured | `{goal.part}` | |"
            continue
        yield (
            f"| {goal.text} | {asked} | **{_number(found.value, goal.unit)}** | {_between(found)} | {_cell(found.of)} | "
            f"`{goal.part}` | {_verdict(goal, found, after)} |"
        )


def _verdict(goal: Goal, found: Measured, after: str) -> str:
    if goal.met(found.value):
        return "reached"
    return (
        f"[why](#{goal.key})" if explained(after, goal.key) else f"not reached, [not explained](#{goal.key})"
    )


def _between(found: Measured) -> str:
    return "" if found.low is None or found.high is None else f"{found.low:.2f}–{found.high:.2f}"


def _number(value: float, unit: str) -> str:
    digits = 0 if unit in ("MB", "ms") else 2
    text = f"{value:.{digits}f}"
    return f"{text} {unit}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
