"""What the documents say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from broker.__main__ import app
from broker.commands import policy_table
from broker.commands.settings_table import BEGIN, END, settings_table
from broker.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "deploy/decisions").glob("*.md"))


def test_the_settings_of_the_readme_are_those_of_the_code() -> None:
    shown = README.partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == settings_table().strip(), (
        "run: .venv/bin/python -m broker.commands.settings_table README.md"
    )


def test_who_may_do_what_is_told_as_the_policy_has_it() -> None:
    shown = README.partition(policy_table.BEGIN)[2].partition(policy_table.END)[0]
    assert shown.strip() == policy_table.policy_table().strip(), (
        "run: .venv/bin/python -m broker.commands.policy_table README.md"
    )


def test_the_readme_names_the_commands_that_there_are() -> None:
    table = README.partition("## Command line")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([a-z]+)` ", table, re.MULTILINE))
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    assert named == set(commands)


def test_the_readme_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_short_and_dated(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"# {int(path.stem[:4])}\. ", text)
    assert re.search(r"^Accepted, \d{4}-\d\d-\d\d\.", text, re.MULTILINE)
    for heading in ("## Why", "## Decision", "## What follows"):
        assert heading in text
    assert len(text.splitlines()) <= 40


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 6


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_names_modules_that_exist(path: Path) -> None:
    for module in re.findall(r"`((?:broker|adapters|registry|tests)/[\w/]+\.py)`", path.read_text()):
        assert (ROOT / module).exists(), module


SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_what_is_said_to_stop_a_threat_has_a_test_that_shows_it() -> None:
    named = set(re.findall(r"`(test_\w+)`", SECURITY))
    assert len(named) > 30
    assert named - TESTS == set()
    rows = SECURITY.partition("## Threats")[2].partition("\n## ")[0].splitlines()
    threats = [row for row in rows if row.startswith("| ")][1:]
    assert [row for row in threats if "`test_" not in row.split(" | ")[-1]] == []


def test_the_settings_and_links_of_the_security_document_exist() -> None:
    known = {row.name for row in Settings.describe()}
    named = {one.rstrip("_") for one in re.findall(r"`(CDS_[A-Z_]+)(?:=\w+)?`", SECURITY)}
    assert len(named) > 15
    assert named - known == set()
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", SECURITY)
    assert [one for one in links if not (ROOT / one).exists()] == []
