"""Every command: help with examples that can be typed, `--json` where something is shown, completion by the shell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import typer.main

from broker.__main__ import app
from tests.unit.test_compose import leaf

SERVING = {"serve": "it shows nothing but its log, which CDS_LOG_FORMAT makes JSON"}
"""Commands without `--json`, and why."""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""

    def under(words: list[str], command: Any) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "list_commands"):
            yield " ".join(words), command
            return
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from under([*words, name], command.get_command(context, name))

    yield from under([], typer.main.get_command(app))


ALL = dict(commands())


def examples(command: Any) -> list[str]:
    """Those of the end of its help; what is said behind one, in brackets, is not typed."""
    shown = re.findall(r"(?:[A-Z_]+=\S+ )*cds-broker [^·\n]+", command.epilog or "")
    return [re.sub(r"^(?:[A-Z_]+=\S+ )*cds-broker ", "", one.partition(" (")[0]).strip() for one in shown]


CONTRACT = """
serve; demo; sandbox; gestionnaires list|add|show|suspend|resume|remove|check; search; explain;
locator status|crawl|rotate-key; sync status|agent|dead-letters list|dead-letters replay|conflicts; audit tail
"""
"""What scripts and acceptance checks rely on, with the options below."""

OPTIONS = {
    "serve": ("--host", "--port", "--workers", "--gestionnaires", "--config"),
    "demo": ("--managers", "--port", "--check"),
    "sandbox": ("--port", "--region", "--seed"),
}


def test_they_are_all_there() -> None:
    for group in CONTRACT.replace("\n", " ").split(";"):
        name, _, rest = group.strip().partition(" ")
        for one in rest.split("|"):
            assert f"{name} {one}".strip() in ALL


@pytest.mark.parametrize("words", OPTIONS)
def test_so_are_their_options(words: str) -> None:
    assert {*OPTIONS[words]} <= {option for one in ALL[words].params for option in one.opts}


@pytest.mark.parametrize("words", ALL)
def test_its_help_says_what_it_is_for_and_how_it_is_typed(words: str) -> None:
    command = ALL[words]
    assert command.help, "no help"
    for option in command.params:
        assert option.name == "help" or getattr(option, "help", None), f"{option.name} is not explained"
    shown = examples(command)
    assert shown, "no example"
    assert any(one.startswith(words) for one in shown)
    for example in shown:
        found, rest = leaf(shlex.split(example))
        with found.make_context("example", list(rest)) as context:  # raises where it cannot be typed so
            assert not context.args


@pytest.mark.parametrize("words", ALL)
def test_it_can_answer_a_script(words: str) -> None:
    options = {option for one in ALL[words].params for option in one.opts}
    assert ("--json" in options) != (words in SERVING)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("cds-broker s", ["serve", "sandbox", "search", "sync"]),
        ("cds-broker sync dead-letters r", ["replay"]),
        ("cds-broker locator status --j", ["--json"]),
    ],
)
def test_the_shell_completes_it(typed: str, offered: list[str]) -> None:
    asked = {"_CDS_BROKER_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    asked["COMP_CWORD"] = str(len(typed.split()) - 1)
    run = subprocess.run(
        [sys.executable, "-m", "broker"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.stdout.split() == offered
