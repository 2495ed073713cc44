"""The examples under deploy/examples, run as their readers would, against a running broker over sandboxes."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from broker.commands.demo_federation import Demo, running_demo
from broker.core.access.policy import POLICY
from tests.support.http_file import Runner, requests

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy/examples"
_HTTP = (EXAMPLES / "cds-broker.http").read_text(encoding="utf-8")
_COLD = 250.0  # seconds in which Maven may fetch what it has not
_NOT_HAD = re.compile(
    r"No plugin found|Could not (resolve|transfer|find)|Cannot access|could not be resolved"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

pytestmark = pytest.mark.timeout(240)


@asynccontextmanager
async def demonstrated() -> AsyncIterator[Demo]:
    """What `make demo` runs, two regions of it, on a free port."""
    async with running_demo(2, port=0, tell=lambda _fr, _en: None) as demo:
        yield demo


@dataclass(frozen=True)
class Ran:
    """How a program ended, and what it wrote, without colours."""

    code: int
    stdout: str
    stderr: str


async def run(*command: str, directory: Path = ROOT, seconds: float = 100.0) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            written = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode or 0, *(_COLOUR.sub("", one.decode()) for one in written))


async def test_the_requests_of_the_http_file() -> None:
    sent: set[tuple[str, str]] = set()
    async with demonstrated() as demo, aiohttp.ClientSession() as http:
        runner = Runner(http, {"host": demo.url})
        for request in requests(_HTTP):
            answer = await runner.run(request)
            if answer is not None:
                path = runner.filled(request.target).removeprefix(demo.url).partition("?")[0]
                sent.add((request.method, path))
    assert len(sent) > 30
    # Every interaction of FHIR and every part of the registry's API is shown.
    shown = {one for one in POLICY if any(_takes(one, route) for route in sent)}
    left_out = {
        route
        for route in POLICY
        if route not in shown and not route[1].startswith(("/console", "/health", "/metrics", "/auth"))
    }
    assert left_out <= _NOT_SHOWN


_NOT_SHOWN = {
    ("GET", "/fhir/.well-known/smart-configuration"),  # there are no tokens here
    ("GET", "/fhir/{type}/_history"),
    ("GET", "/fhir/CareTeam/$locate"),
    ("POST", "/fhir/"),
    ("POST", "/fhir/Subscription/_search"),
    ("PUT", "/fhir/Subscription/{id}"),
    ("GET", "/fhir/Subscription/$status"),
    ("GET", "/fhir/Subscription/{id}/$events"),
    ("GET", "/registry/problems"),
    ("POST", "/registry/locator/{id}/crawl"),
    ("POST", "/registry/locator/rotate-key"),
    ("GET", "/registry/gestionnaires/{id}"),
    ("GET", "/registry/fhir/metadata"),
    ("GET", "/registry/fhir/{kind}/_history"),
    ("GET", "/registry/fhir/{kind}/{id}"),
    ("GET", "/registry/fhir/{kind}/{id}/_history"),
    ("GET", "/registry/fhir/{kind}/{id}/_history/{vid}"),
}
"""Those that differ little from what is shown, or that a newcomer has no use for. Whoever adds a route decides."""


def _takes(route: tuple[str, str], sent: tuple[str, str]) -> bool:
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route[1]))
    return route[0] == sent[0] and re.fullmatch(pattern, sent[1]) is not None


def test_every_request_of_the_http_file_says_what_it_answers() -> None:
    found = [one for one in requests(_HTTP) if one.method]
    assert [one.line for one in found if one.status is None] == []
    assert all(f"### {flux}." in _HTTP for flux in ("1a", "1b", "1c", "2a", "2b", "4a", "4b", "4c"))


def test_a_request_that_is_answered_otherwise_is_a_failure() -> None:
    """The runner can fail: by the status, by the text."""
    [request] = requests("### x\n# expect 200 a text\nGET http://x/y\nAccept: */*\n\nbody\n")
    assert (request.status, request.text, request.headers, request.body) == (
        200,
        "a text",
        {"Accept": "*/*"},
        "body",
    )
    with pytest.raises(ValueError, match="line 2"):
        [*requests("### x\nnothing\n")]


async def test_fhirpy() -> None:
    async with demonstrated() as demo:
        # Warnings of the interpreter as errors: a newcomer sees none.
        example = EXAMPLES / "fhirpy/care_circles.py"
        ran = await run(sys.executable, "-W", "error", str(example), demo.base_url)
    assert (ran.code, ran.stderr) == (0, ""), ran.stdout
    said = ran.stdout.splitlines()
    assert said[0].startswith("pages: ")
    circles, once = re.findall(r"\d+", said[0])
    assert circles == once
    assert int(circles) > 30, "of both regions, on several pages"
    assert "of bre, nor" in said[0]
    assert said[1:] == [
        "whole: a searchset of every region",
        "by identifier: 1 circle, 1 person",
        "read: CareTeam, version as read: True",
        "create: made once: True, at bre",
        "create: a second circle of that person: write.second-circle",
        "update: suspended, a new version: True",
        "update: from the old version: refused",
        "transaction: 201, 201",
        "subscription: requested, its status as a searchset of Bundle",
        "subscription: ended",
    ]


@pytest.mark.hapi
@pytest.mark.timeout(600)
async def test_hapi(tmp_path: Path) -> None:
    for tool in ("javac", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"HAPI (Java): {tool} is not installed")
    project = tmp_path / "hapi"
    await asyncio.to_thread(
        shutil.copytree, EXAMPLES / "hapi", project, ignore=shutil.ignore_patterns("target")
    )
    async with demonstrated() as demo:
        ran = await _with_maven(project, demo.base_url)
    assert (ran.code, ran.stderr) == (0, ""), ran.stdout
    said = ran.stdout.splitlines()
    assert re.fullmatch(r"search: \d\d circles of \[bre, nor\] on \d pages", said[1]), said
    assert [said[0], *said[2:]] == [
        "capabilities: FHIR 4.0.1",
        "by identifier: 1 circle, 1 person",
        "read: version 2 as read: true",
        "history: as many versions: true",
        "create: made now: true, and then again: false",
        "create: a second circle of that person: 409",
        "update: a new version: true",
        "update: from the old version: 412",
        "transaction: [201, 201]",
    ]


async def _with_maven(project: Path, base_url: str) -> Ran:
    """By the command that the example names. Jars and plugins stay in Maven's own repository: once they are there, nothing
    is asked of anybody. A skip where they are not to be had."""
    ran = Ran(1, "", "")
    for offline in (["-o"], []):
        command = ["mvn", *offline, "-B", "-q", "compile", "exec:java", f"-Dexec.args={base_url}"]
        try:
            ran = await run(*command, directory=project, seconds=_COLD)
        except TimeoutError:
            pytest.skip(f"HAPI (Java): Maven took over {_COLD:.0f} s")
        if ran.code == 0 or _NOT_HAD.search(ran.stdout) is None:
            return ran
    pytest.skip(f"HAPI (Java): Maven failed: {ran.stdout[-400:].strip()}")


def test_the_project_names_no_registry() -> None:
    pom = (EXAMPLES / "hapi/pom.xml").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"<]+", pom)) == {
        "http://maven.apache.org/POM/4.0.0",
        "http://127.0.0.1:8080/fhir",
    }
    assert "<repositor" not in pom


def test_the_readme_shows_them() -> None:
    clients = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Clients\n")[2].partition("\n## ")[0]
    )
    for named in ("cds-broker.http", "fhirpy", "hapi", "openapi.json"):
        assert named in clients
