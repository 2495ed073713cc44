"""What `search` and `explain` show, from what the broker answers."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from broker.commands.search_table import explained_plan, issues_of, searchset_table
from broker.core.outcome import outcome
from broker.errors import Issue
from registry.model import TRE_R30


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def shown(table: RenderableType) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(table)
    return console.export_text()


def entry(mode: str, **resource: Any) -> dict[str, Any]:
    return {"search": {"mode": mode}, "resource": resource}


BUNDLE: dict[str, Any] = {
    "total": 7,
    "entry": [
        entry(
            "match",
            resourceType="CareTeam",
            id="bre.1",
            name="Cercle [a]",
            status="active",
            participant=[{}, {}],
            meta={"lastUpdated": "2026-01-02T03:04:05.678Z", "tag": [{"system": TRE_R30, "code": "53"}]},
        ),
        entry("match", resourceType="Patient", id="bre.2", name=[{"family": "Moreau", "given": ["Anne"]}]),
        entry("match", resourceType="CareTeam", id="bre.3"),
        entry("include", resourceType="Patient", id="bre.4"),
        entry("outcome", **outcome([Issue("manager.timeout", {"name": "GIP", "region": "94"})])),
    ],
}


def test_matches_and_nothing_else() -> None:
    text = shown(searchset_table(BUNDLE))
    assert "Cercle [a]" in text
    assert "53 Bretagne" in text
    assert "2026-01-02T03:04:05" in text
    assert "Anne Moreau" in text
    assert "bre.4" not in text
    assert "3 of 7" in text


def test_an_empty_searchset() -> None:
    assert "0 on this page" in shown(searchset_table({"resourceType": "Bundle"}))


def test_issues_in_the_language_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(issues_of(BUNDLE)) == ["warning: GIP (Corse) did not answer in time."]
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    assert list(issues_of(BUNDLE)) == ["warning: GIP (Corse) n'a pas répondu à temps."]


def test_a_plan() -> None:
    manager = {
        "id": "occ",
        "name": "Occitanie",
        "asked": True,
        "fr": "Parce que.",
        "en": "Because.",
        "resolved_here": ["patient.family"],
        "filtered_here": ["end"],
        "includes_here": True,
        "sorted_here": True,
    }
    text = shown(explained_plan({"ignored": ["colour"], "managers": [manager]}))
    assert "Because." in text
    assert "chain patient.family, filter end, _include, _sort" in text
    assert "Ignored: colour" in text
