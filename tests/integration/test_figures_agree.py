"""The console, `/metrics`, the registry's API and `cds-broker … --json` tell the same figures, of a broker with one process
and with several, of which each answers some of the requests. Only real parts, and nothing but what they answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.seed import seed_region
from broker.commands.demo_cast import second_circle
from broker.commands.demo_people import circle, patient
from tests.support.broker_process import Program, broker_program
from tests.support.cli_process import cli
from tests.support.faulty_proxy import FaultyProxy, Seen, Stage, faulty_proxy
from tests.support.sync_world import subscription
from tests.support.valkey import ValkeyServer

BOUND = 150.0
"""Seconds: some figures are looked at once a minute."""
NOBODY = "http://127.0.0.1:9/fhir"
_FIGURE = re.compile(r'<data value="([^"]*)" data-metric="([^"]*)"(?: data-manager="([^"]*)")?>')
_STATE = re.compile(r'<tr id="manager-([\w-]+)" data-live data-state="(\w+)"')

Figures = dict[tuple[str, str], float]
"""By name and the value of the only label, which is empty where there is none."""


_MOMENTARY = frozenset({"cds_manager_in_flight"})
"""What may be another between two looks: a probe is under way."""


@dataclass
class Site:
    """`bre` is the home; `nor` takes its circles but for one; `occ` has no agent; `ges` is nobody's; `pac` is suspended."""

    program: Program
    http: aiohttp.ClientSession
    bre: FaultyProxy
    nor: str
    cut: bool = False

    @property
    def root(self) -> str:
        return self.program.base_url.removesuffix("/fhir")

    async def text(self, path: str) -> str:
        async with self.http.get(self.root + path, headers={"Accept": "text/html, */*;q=0.5"}) as answer:
            assert answer.status == 200, (path, answer.status)
            return await answer.text()

    async def json(self, path: str) -> Any:
        return json.loads(await self.text(path))

    async def send(self, method: str, url: str, body: Any) -> Any:
        headers = {"Content-Type": "application/fhir+json"}
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            content = await answer.read()
            assert answer.status < 400, (method, url, answer.status, content)
            return json.loads(content)

    async def until(self, path: str, holds: Callable[[Any], bool]) -> None:
        async with asyncio.timeout(BOUND):
            while not holds(told := await self.json(path)):
                await asyncio.sleep(0.3)
                assert told

    async def at_command(self, *arguments: str) -> Any:
        """What `cds-broker` prints."""
        async with cli(*arguments, "--url", self.root, "--json") as process:
            assert await process.ended() == 0, process.stderr
            await asyncio.sleep(0)
        return json.loads("\n".join(process.stdout))

    def watch(self, stage: Stage, seen: Seen) -> None:
        """The home answers one more write, and then nobody."""
        if self.cut and stage is Stage.CAME:
            raise ConnectionResetError
        self.cut = self.cut or (stage is Stage.ANSWERED and seen.method == "PUT")


@asynccontextmanager
async def site(valkey: ValkeyServer, directory: Path, workers: int) -> AsyncIterator[Site]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(running_sandbox(seed_region("53", 6, clock=clock)))
        other = await stack.enter_async_context(running_sandbox(seed_region("28", 3, clock=clock)))
        third = await stack.enter_async_context(running_sandbox([]))
        bre = await stack.enter_async_context(faulty_proxy(home.base_url))
        stack.push_async_callback(bre.aclose)
        file = directory / "g.toml"
        rows = {
            "bre": bre.base_url,
            "nor": other.base_url,
            "occ": third.base_url,
            "ges": NOBODY,
            "pac": NOBODY + "/2",
        }
        regions = {"bre": "53", "nor": "28", "occ": "76", "ges": "44", "pac": "93"}
        file.write_text(
            "\n".join(_row(slug, regions[slug], url) for slug, url in rows.items()), encoding="utf-8"
        )
        more = {"workers": str(workers), "locator_poll": "1"}
        program = broker_program(file, valkey.url, directory, **more)
        stack.push_async_callback(program.gone)
        await program.start()
        http = await stack.enter_async_context(aiohttp.ClientSession())
        agent = cli(
            *("sync", "agent", "--gestionnaire", "nor", "--manager-url", other.base_url),
            environment=program.environment,
        )
        await stack.enter_async_context(agent)
        yield Site(program, http, bre, other.base_url)


def _row(slug: str, region: str, url: str) -> str:
    status = "suspended" if slug == "pac" else "active"
    return (
        f'[[gestionnaire]]\nid = "{slug}"\nname = "{slug}"\nregion = "{region}"\n'
        f'base_url = "{url}"\nstatus = "{status}"\n'
    )


async def something_of_everything(made: Site) -> None:
    """A person with two homes, events that nobody fetches, one that cannot be applied, a change that cannot be published."""
    base, there = made.program.base_url, made.nor
    query = "_id=cercle-3&_include=*&_include:iterate=*&_count=50"
    async with made.http.get(f"{made.bre.base_url}/CareTeam?{query}") as answer:
        whole = [entry["resource"] for entry in (await answer.json(content_type=None))["entry"]]
    identifier = {"system": "https://example.org/cercles", "value": "second"}
    for resource in second_circle(whole, slug="bre", identifier=identifier):
        await made.send("PUT", f"{there}/{resource['resourceType']}/{resource['id']}", resource)
    async with made.http.get(f"{made.bre.base_url}/CareTeam/cercle-5") as answer:
        taken = (await answer.json(content_type=None))["identifier"]
    person = await made.send("POST", f"{there}/Patient", patient("14000"))
    await made.send("POST", f"{there}/CareTeam", circle(f"Patient/{person['id']}") | {"identifier": taken})
    criteria = "CareTeam?_tag=https://mos.esante.gouv.fr/NOS/TRE_R30-RegionOM/FHIR/TRE-R30-RegionOM|53"
    for slug in ("nor", "occ"):
        await made.send("POST", f"{base}/Subscription", subscription(slug, criteria))
    await made.until("/registry/synchronisation", _settled)
    await made.until("/registry/conflicts", lambda told: told["total"] == 1)
    made.bre.watch = made.watch
    held = await made.json("/fhir/CareTeam/bre.cercle-6")
    await made.send(
        "PUT", f"{base}/CareTeam/bre.cercle-6", held | {"name": "Cercle que personne ne peut relire"}
    )
    await made.until("/registry/synchronisation", lambda told: told["outbox_depth"] == 1)


def _settled(told: Any) -> bool:
    by_slug = {one["id"]: one for one in told["subscribers"]}
    return (
        by_slug.keys() == {"nor", "occ"}
        and by_slug["nor"]["backlog_events"] == 0
        and by_slug["nor"]["dead_letters"] == 1
        and by_slug["occ"]["backlog_events"] >= 6
        and told["outbox_depth"] == 0
    )


@dataclass
class Told:
    """The same at four places. `states`: of managers, at the console."""

    shown: Figures
    states: Mapping[str, str]
    exposed: Figures
    commands: Figures

    @property
    def differing(self) -> Mapping[tuple[str, str], tuple[float | None, ...]]:
        """What is shown at the console and not the same elsewhere; and what a command says that others do not."""
        names = self.shown.keys() | self.commands.keys()
        told = {
            name: (
                self.shown.get(name),
                self.exposed.get(name),
                self.commands.get(name, self.shown.get(name)),
            )
            for name in names
        }
        return {
            name: values for name, values in told.items() if name[0] not in _MOMENTARY and len({*values}) > 1
        }


async def looked_at(made: Site) -> Told:
    federation, synchronisation = await made.text("/console"), await made.text("/console/synchronisation")
    status, index, conflicts = await asyncio.gather(
        made.at_command("sync", "status"),
        made.at_command("locator", "status"),
        made.at_command("sync", "conflicts"),
    )
    commands: Figures = {
        ("cds_outbox_depth", ""): status["outbox_depth"],
        ("cds_conflicts", ""): conflicts["total"],
    }
    for one in status["subscribers"]:
        commands["cds_subscriber_lag_events", one["id"]] = one["backlog_events"]
        commands["cds_dead_letters", one["id"]] = one["dead_letters"]
    commands |= {("cds_subscriptions", name): count for name, count in status["subscriptions"].items()}
    commands |= {("cds_locator_circles", one["id"]): one["circles"] for one in index["managers"]}
    return Told(
        shown={(name, label): float(value) for value, name, label in _found(federation, synchronisation)},
        states=dict(_STATE.findall(federation)),
        exposed=_exposed(await made.text("/metrics")),
        commands=commands,
    )


def _found(*pages: str) -> Iterable[tuple[str, str, str]]:
    return (figure for page in pages for figure in _FIGURE.findall(page))


def _exposed(text: str) -> Figures:
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if len(sample.labels) <= 1
    }


@pytest.mark.timeout(420)
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
async def test_all_places_tell_the_same(own_valkey: ValkeyServer, tmp_path: Path, workers: int) -> None:
    if workers > 1 and not sys.platform.startswith("linux"):
        pytest.skip("several processes on one port: Linux")
    async with site(own_valkey, tmp_path, workers) as made:
        await something_of_everything(made)
        seen: list[Told] = []
        try:
            async with asyncio.timeout(BOUND):
                while not seen or seen[-1].differing or seen[-1].states.get("bre") != "failing":
                    seen.append(await looked_at(made))
        except TimeoutError:
            pytest.fail(f"{seen[-1].differing if seen else ''} {seen[-1].states if seen else ''}")
        last = seen[-1]
        # Again and again: every process that may answer says so.
        for _ in range(4 if workers > 1 else 1):
            again = await looked_at(made)
            assert again.differing == {}
            assert again.states == last.states
    assert last.states == {"bre": "failing", "ges": "failing", "nor": "up", "occ": "up", "pac": "suspended"}
    for slug, state in last.states.items():
        assert last.exposed["cds_manager_active", slug] == (state != "suspended")
        if state != "suspended":
            assert last.exposed["cds_manager_breaker_closed", slug] == (state == "up"), slug
            assert last.shown["cds_manager_breaker_closed", slug] == (state == "up"), slug
    assert last.shown["cds_outbox_depth", ""] == 1
    assert last.shown["cds_conflicts", ""] == 1
    assert last.shown["cds_dead_letters", "nor"] == 1
    assert last.shown["cds_subscriber_lag_events", "occ"] >= 6
    assert last.shown["cds_locator_circles", "bre"] == 6
    assert last.shown["cds_locator_circles", "ges"] == 0
