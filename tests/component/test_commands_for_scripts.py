"""Every command beside a broker that runs: JSON on standard output and nothing else, exit codes, colours, bars."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import pytest
import pytest_asyncio

import broker.__main__ as root
from tests.support.cli_process import cli
from tests.support.ports import lasting_port
from tests.unit.commands.test_every_command import ALL, SERVING

BOUND = 60.0
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

BY_API = {
    "gestionnaires list": (),
    "gestionnaires show": ("bre",),
    "gestionnaires add": ("--id", "new", "--name", "New", "--region", "53", "--base-url", "{manager}/other"),
    "gestionnaires suspend": ("bre",),
    "gestionnaires resume": ("bre",),
    "gestionnaires check": ("bre",),
    "gestionnaires remove": ("new", "--yes"),
    "search": ("CareTeam?status=active",),
    "explain": ("CareTeam?status=active",),
    "locator status": (),
    "locator crawl": ("bre",),
    "locator rotate-key": ("--no-wait",),
    "sync conflicts": (),
}
"""What is asked of the running broker, in this order; with `--url`."""

BY_ITSELF = {
    "sync status": (),
    "sync agent": ("--gestionnaire", "bre", "--manager-url", "{manager}", "--once"),
    "sync dead-letters list": ("--gestionnaire", "bre"),
    "sync dead-letters replay": ("--gestionnaire", "bre"),
    "audit tail": (),
    "audit verify": (),
}
"""What reads the log or the files of the node, by its settings."""

AFTER_SUBSCRIBING = {"sync bootstrap": ("--gestionnaire", "bre")}
REFUSED = {"sync dead-letters discard": ("--gestionnaire", "bre", "1-1-none")}
"""With nothing there to be discarded: 1, and still JSON."""

SERVES = {"sandbox", "demo"}


@dataclass(frozen=True)
class Beside:
    """A broker's settings and addresses."""

    environment: Mapping[str, str]
    url: str
    manager: str

    def words(self, name: str, arguments: tuple[str, ...], *, api: bool) -> list[str]:
        given = [one.format(manager=self.manager) for one in arguments]
        return [*name.split(), *given, "--json", *(("--url", self.url) if api else ())]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def beside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Beside]:
    directory = tmp_path_factory.mktemp("commands")
    async with cli("sandbox", "--port", "0", "--region", "53", "--seed", "3", "--json") as manager:
        told = json.loads(await manager.line("base_url"))
        assert told["circles"] == 3
        file = directory / "g.toml"
        file.write_text(
            f'[[gestionnaire]]\nid = "bre"\nname = "Bretagne"\nregion = "53"\nbase_url = "{told["base_url"]}"\n'
        )
        port = lasting_port()
        environment = {"CDS_AUTH": "none", "CDS_DATA_DIR": str(directory / "data"), "CDS_LOCATOR_POLL": "0.2"}
        arguments = ("serve", "--port", str(port), "--gestionnaires", str(file))
        async with cli(*arguments, environment=environment) as process:
            await process.line("serving http")
            yield Beside(environment, f"http://127.0.0.1:{port}", told["base_url"])
            process.signal(signal.SIGTERM)  # killed, it would leave its store behind
            assert await process.ended() == 0


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, beside: Beside) -> None:
    for name in [name for name in os.environ if name.startswith("CDS_")]:
        monkeypatch.delenv(name)
    for name, value in beside.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def run(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> int:
    monkeypatch.setattr(sys, "argv", ["cds-broker", *words])
    with pytest.raises(SystemExit) as ended:
        root.main()
    return int(ended.value.code or 0)


def documents(shown: str, name: str) -> list[object]:
    """All of standard output as JSON: one document, or one a line where the command goes on."""
    if name == "audit tail":
        return [json.loads(line) for line in shown.splitlines()]
    return [json.loads(shown)]


def test_no_command_is_left_out() -> None:
    assert {*BY_API, *BY_ITSELF, *AFTER_SUBSCRIBING, *REFUSED, *SERVES, *SERVING} == ALL.keys()


@pytest.mark.parametrize("name", [*BY_API, *BY_ITSELF])
def test_json_is_all_there_is_on_standard_output(
    name: str, beside: Beside, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (BY_API | BY_ITSELF)[name]
    code = run(monkeypatch, beside.words(name, arguments, api=name in BY_API))
    shown = capsys.readouterr()
    assert code == 0, shown
    assert documents(shown.out, name)
    assert not COLOUR.search(shown.out + shown.err)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_done_is_1_and_json_too(
    name: str, beside: Beside, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, beside.words(name, REFUSED[name], api=False)) == 1
    shown = capsys.readouterr()
    assert documents(shown.out, name)
    assert shown.err


@pytest.mark.parametrize("name", [*BY_API, *AFTER_SUBSCRIBING])
def test_where_nobody_answers_it_is_1_and_one_sentence(
    name: str, beside: Beside, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [one.format(manager=beside.manager) for one in (BY_API | AFTER_SUBSCRIBING)[name]]
    nobody = f"http://127.0.0.1:{lasting_port()}"
    assert run(monkeypatch, [*name.split(), *arguments, "--json", "--url", nobody]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    assert nobody in shown.err


@pytest.mark.parametrize("name", ALL)
def test_wrong_use_is_2(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, [*name.split(), "--no-such-option"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "--no-such-option" in shown.err


# --- those that go on


@pytest.mark.asyncio(loop_scope="module")
async def test_a_demonstration_tells_a_script_where_it_is() -> None:
    async with cli("demo", "--managers", "2", "--port", "0", "--json") as process:
        told = json.loads(await process.line("base_url"))
        assert told["base_url"] == f"{told['url']}/fhir"
        assert [one["id"] for one in told["managers"]] == ["bre", "nor"]
        process.signal(signal.SIGINT)
        assert await process.ended() == 0
    assert len(process.stdout) == 1


# --- colours


def in_a_terminal(words: list[str], environment: Mapping[str, str]) -> str:
    """What a command writes where its standard output and error are a terminal."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "broker", *words],
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        env=inherited | {"TERM": "xterm-256color"} | environment,
    ) as process:
        os.close(theirs)
        shown, bound = b"", time.monotonic() + BOUND
        while time.monotonic() < bound:
            if not select.select([ours], [], [], 1.0)[0]:
                continue
            with suppress(OSError):  # of a terminal whose last writer is gone
                if part := os.read(ours, 65_536):
                    shown += part
                    continue
            break
        process.wait(timeout=BOUND)
    os.close(ours)
    return shown.decode()


@pytest.fixture(params=[{}, {"NO_COLOR": "1"}], ids=["colours", "NO_COLOR"])
def wish(request: pytest.FixtureRequest) -> Mapping[str, str]:
    found: Mapping[str, str] = request.param
    return found


def test_colours_are_for_terminals_that_want_them(wish: Mapping[str, str]) -> None:
    shown = in_a_terminal(["locator", "--help"], wish)
    assert "rotate-key" in shown
    coloured = re.search(r"\x1b\[[0-9;]*[349][0-7]m", shown)  # bold and the like are no colours
    assert bool(coloured) is not bool(wish)


def test_a_bar_is_shown_on_a_terminal_alone(beside: Beside) -> None:
    words = ["gestionnaires", "check", "bre", "--url", beside.url]
    assert "0/1" in in_a_terminal(words, beside.environment)
    run = subprocess.run(
        [sys.executable, "-m", "broker", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=BOUND,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    assert (run.returncode, run.stderr) == (0, "")
