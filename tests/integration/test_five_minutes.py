"""The README's first five minutes: its commands are run in their order as they stand there, and show what it says."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.browser import unavailable
from tests.support.ports import lasting_port

ROOT = Path(__file__).parents[2]
FIVE_MINUTES = 300.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "=== step "


@dataclass(frozen=True, slots=True)
class Step:
    """A block of commands, and the lines that the README shows behind it; `…` is anything, or nothing."""

    commands: str
    shown: tuple[str, ...] = ()


def steps() -> Sequence[Step]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found: list[Step] = []
    for kind, content in _BLOCK.findall(text.partition("\n## Five minutes\n")[2].partition("\n## ")[0]):
        if kind == "sh":
            found.append(Step(content))
        else:
            assert kind == "text", kind
            assert found[-1].shown == ()
            found[-1] = Step(found[-1].commands, tuple(content.splitlines()))
    return found


def missing(shown: Sequence[str], lines: Sequence[str]) -> str | None:
    """The first line shown that is not among `lines`, each behind the one before it."""
    place = 0
    for wanted in shown:
        parts = [part.strip() for part in wanted.split("…")]
        pattern = re.compile(".*".join(map(re.escape, parts)))
        there = next((at for at in range(place, len(lines)) if pattern.search(lines[at])), None)
        if there is None:
            return wanted
        place = there + 1 if any(parts) else place
    return None


def test_the_comparison_can_fail() -> None:
    lines = ["a 1", "b 2", "c 3"]
    assert missing(["a …", "…", "c 3"], lines) is None
    assert missing(["b 2", "a 1"], lines) == "a 1"
    assert missing(["a … 2"], lines) == "a … 2"


@asynccontextmanager
async def demonstration(command: str, port: int) -> AsyncIterator[None]:
    """The first block, with another port: `make demo`. Ended as by Ctrl-C, with all that it started."""
    assert command.strip() == "make demo"
    # What is installed is not to be installed again: the tests run in it.
    given = (
        "make",
        "-s",
        "-o",
        f"{sys.prefix}/.installed",
        f"VENV={sys.prefix}",
        "demo",
        f"ARGS=--port {port}",
    )
    process = await asyncio.create_subprocess_exec(
        *given, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env=_environment(), start_new_session=True
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            async for line in process.stdout:
                if b"all people are made up" in line:
                    break
            else:
                raise AssertionError("the demonstration did not start")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            async with asyncio.timeout(30):
                await process.communicate()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()
            raise AssertionError("Ctrl-C did not end it") from None


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CDS_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    return inherited | {"LC_ALL": "C.UTF-8", "COLUMNS": "100", "PATH": path}


async def typed(script: Path) -> tuple[list[tuple[float, list[str]]], int | None]:
    """Of each step: when it began, by the monotonic clock, and what was shown. How it ended."""
    process = await asyncio.create_subprocess_exec(
        *("bash", str(script)),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=_environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    said: list[tuple[float, list[str]]] = []
    try:
        async with asyncio.timeout(FIVE_MINUTES):
            async for raw in process.stdout:
                line = raw.decode().rstrip("\n")
                if line.startswith(_MARK):
                    said.append((time.monotonic(), []))
                elif said:
                    said[-1][1].append(line)
            await process.wait()
    except TimeoutError:
        pytest.fail(f"more than five minutes: {said}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also a listener that was left
    return said, process.returncode


@pytest.mark.timeout(FIVE_MINUTES + 60)
async def test_a_newcomer_gets_from_nothing_to_a_subscription_in_five_minutes(tmp_path: Path) -> None:
    for tool in ("make", "curl", "bash", "pgrep"):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")
    start, *rest = steps()
    whole = "\n".join(step.commands for step in rest)
    for named in (
        "cds-broker search",
        "/_history",
        "Idempotency-Key",
        "If-Match",
        "/Subscription",
        "kill -STOP",
    ):
        assert named in whole, "it is no longer what it promises"
    port, listening = lasting_port(), lasting_port()

    def here(text: str) -> str:
        return text.replace("8080", str(port)).replace("9000", str(listening))

    script = tmp_path / "typed.sh"
    marked = [f"echo\necho '{_MARK}{number}'\n{here(step.commands)}" for number, step in enumerate(rest)]
    script.write_text("\n".join([*marked, f"echo '{_MARK}end'\n"]), encoding="utf-8")
    began = time.monotonic()
    async with demonstration(start.commands, port):
        started = time.monotonic()
        said, ended = await typed(script)
    assert (len(said), ended) == (len(rest) + 1, 0), said[-1:]
    for step, (_, lines) in zip(rest, said, strict=False):
        shown = [here(line) for line in step.shown]
        assert missing(shown, lines) is None, f"{missing(shown, lines)!r} is not shown: {lines}"
    took = [round(after - at, 1) for (at, _), (after, _) in pairwise(said)]
    print(f"\nstart {started - began:.1f} s, then {said[-1][0] - started:.1f} s: {took}")
    assert said[-1][0] - began < FIVE_MINUTES / 2
