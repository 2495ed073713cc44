"""The console over HTTP: its frame, its forms, who may, what it tells live, and that its figures are the others' figures."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from broker.console import live
from broker.sync.change_log import Outgoing
from registry.model import Gestionnaire
from tests.support.audited import codes, events
from tests.support.console_visitor import Visitor, visitor
from tests.support.federation import Broker, federation
from tests.support.issuer import Issuer, issuer
from tests.support.secured import secured
from tests.support.sync_world import SyncWorld, replication_topic, sync_world
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_federation import address

PAGES = (
    "/console",
    "/console/registry",
    "/console/synchronisation",
    "/console/registry/bre/edit",
    "/console/registry/bre/remove",
)
NOBODY = "http://127.0.0.1:9/fhir"
_FIGURE = re.compile(r'<data value="([^"]*)" data-metric="([^"]*)"(?: data-manager="([^"]*)")?>')


@asynccontextmanager
async def console(valkey: Valkey, **settings: Any) -> AsyncIterator[tuple[Broker, Visitor]]:
    manager = Gestionnaire("bre", "Bretagne", "53", NOBODY)
    async with federation(valkey, manager, **settings) as broker, visitor(address(broker)) as guest:
        yield broker, guest


def figures(page: str) -> dict[tuple[str, str], float]:
    """What a page shows, by metric and label."""
    return {(metric, label): float(value) for value, metric, label in _FIGURE.findall(page)}


async def test_pages_are_told_to_be_strict_and_hold_nothing_inline(valkey: Valkey) -> None:
    async with console(valkey) as (_, guest):
        for path in PAGES:
            answered = await guest.get(path)
            assert answered.status == 200, path
            policy = answered.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answered.headers["Cache-Control"] == "no-store"
            assert (
                re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", guest.page)
                is None
            )
            outside = [one for one in re.findall(r'(?:src|href|action)="([^"]*)"', guest.page) if "//" in one]
            assert outside == []


async def test_files_are_kept_for_good_under_an_address_of_their_content(valkey: Valkey) -> None:
    async with console(valkey) as (broker, guest):
        await guest.get("/console")
        (path,) = re.findall(r'href="(/console/static/[^"]*console\.css)"', guest.page)
        url = address(broker) + path
        async with guest.http.get(url) as answer:
            assert "immutable" in answer.headers["Cache-Control"]
            assert answer.content_type == "text/css"
            etag = answer.headers["ETag"]
        async with guest.http.get(url, headers={"If-None-Match": etag}) as answer:
            assert answer.status == 304
        async with guest.http.get(re.sub(r"static/\w+", "static/older", url)) as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache")
        for name in ("console.py", "..%2Fframe.py", "nothing.css"):
            async with guest.http.get(f"{url.rpartition('/')[0]}/{name}") as answer:
                assert answer.status == 404


async def test_a_form_that_is_not_ours_changes_nothing(valkey: Valkey) -> None:
    async with console(valkey) as (broker, guest), visitor(address(broker)) as other:
        await other.get("/console/registry")
        theirs = other.page
        suspend = "/console/registry/bre/suspend"
        await guest.get("/console/registry")
        assert (await guest.post(suspend, csrf="")).status == 400
        assert (await guest.post(suspend, csrf="x" * 60)).status == 400
        await guest.get("/console/registry")
        guest.page = theirs  # a token of somebody else's visit
        assert (await guest.post(suspend)).status == 400
        await guest.get("/console/registry")
        guest.headers["Sec-Fetch-Site"] = "cross-site"
        assert (await guest.post(suspend)).status == 400
        del guest.headers["Sec-Fetch-Site"]
        async with guest.http.post(address(broker) + suspend, json={"csrf": "x"}) as answer:
            assert answer.status == 415
        assert broker.running.managers.get("bre").gestionnaire.status == "active"  # type: ignore[union-attr]  # registered above
        await guest.get("/console/registry")
        assert (await guest.post(suspend)).status == 200
        assert "bre is suspended." in guest.text
        assert broker.running.managers.get("bre").gestionnaire.status == "suspended"  # type: ignore[union-attr]  # registered above


async def test_the_language_is_the_chosen_one_else_the_browsers(valkey: Valkey) -> None:
    async with console(valkey) as (_, guest):
        guest.headers["Accept-Language"] = "fr-FR,en;q=0.5"
        await guest.get("/console")
        assert '<html lang="fr"' in guest.page
        await guest.post("/console/preferences", language="en", theme="dark", back="/console/registry")
        assert guest.urls[-1].endswith("/console/registry")
        assert '<html lang="en" data-theme="dark"' in guest.page
        for elsewhere in (
            "https://evil.example/",
            "//evil.example",
            "/console//evil",
            "/fhir",
            "/console/\\evil",
        ):
            await guest.post("/console/preferences", language="en", theme="dark", back=elsewhere)
            assert guest.urls[-1].endswith("/console"), elsewhere


async def test_what_a_check_cannot_reach_is_said_on_the_page(valkey: Valkey) -> None:
    async with console(valkey) as (_, guest):
        await guest.get("/console/registry")
        answered = await guest.post("/console/registry/bre/check")
        assert answered.status >= 500
        assert 'role="alert"' in guest.page
        assert "Bretagne" in guest.text
        assert (await guest.get("/console/registry/zzz/remove")).status == 404
        assert "This page cannot be shown" in guest.text
        assert (await guest.get("/console/nowhere")).status == 404


async def test_what_is_changed_leaves_a_trace_and_looking_does_not(valkey: Valkey, tmp_path: Path) -> None:
    async with console(valkey, audit="file", data_dir=tmp_path) as (_, guest):
        for path in PAGES:
            await guest.get(path)
        await guest.get("/console/registry")
        await guest.post("/console/registry/bre/suspend")
        await guest.post("/console/registry/bre/suspend", csrf="")
    written = events(tmp_path / "audit")
    assert codes(written) == ["console/registry/suspend"] * 2
    assert [one["outcome"] for one in written] == ["0", "4"]


@pytest.fixture
async def one() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        yield made


async def test_who_is_not_known_is_told_so_in_their_language(valkey: Valkey, one: Issuer) -> None:
    async with secured(valkey, one) as broker, visitor(broker.root) as guest:
        answered = await guest.get("/console")
        assert answered.status == 401
        assert answered.headers["WWW-Authenticate"].startswith("Bearer")
        assert "Signing in from the browser is not set up here" in guest.text
        guest.headers["Accept-Language"] = "fr"
        await guest.get("/console/registry")
        assert "la connexion depuis le navigateur n'est pas mise en place" in guest.text
        guest.headers["Accept"] = "application/json"
        assert (await guest.get("/console")).headers["Content-Type"].startswith("application/problem+json")


async def test_one_is_shown_and_offered_what_one_may_do(valkey: Valkey, one: Issuer) -> None:
    async with secured(valkey, one) as broker, visitor(broker.root) as guest:
        await broker.running.store.put(Gestionnaire("bre", "Bretagne", "53", NOBODY))
        await broker.running.managers.refresh()
        guest.headers["Authorization"] = f"Bearer {one.token(scope='cds/console')}"
        assert (await guest.get("/console")).status == 200
        assert "/console/registry" not in guest.page
        assert (await guest.get("/console/registry")).status == 403
        guest.headers["Authorization"] = f"Bearer {one.token(scope='cds/console cds/registry.read')}"
        assert (await guest.get("/console/registry")).status == 200
        assert "not change it" in guest.text
        assert "<button" not in guest.page.partition("<main")[2]
        assert (await guest.post("/console/registry/bre/suspend")).status == 403
        scope = "cds/console cds/registry.read cds/registry.write"
        guest.headers["Authorization"] = f"Bearer {one.token(scope=scope)}"
        await guest.get("/console/registry")
        assert (await guest.post("/console/registry/bre/suspend")).status == 200
        await guest.get("/console/registry")
        other = one.token(scope=scope, sub="other", client_id="other")
        guest.headers["Authorization"] = f"Bearer {other}"  # a form given to one is nobody else's
        assert (await guest.post("/console/registry/bre/resume")).status == 400


async def _event(stream: aiohttp.StreamReader) -> tuple[str, Any]:
    """The next one that says something."""
    name = ""
    async for raw in stream:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            return name, json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended")


async def test_what_changes_is_told_at_once(valkey: Valkey) -> None:
    async with (
        console(valkey) as (broker, guest),
        guest.http.get(f"{address(broker)}/console/events") as stream,
        asyncio.timeout(20),
    ):
        assert stream.content_type == "text/event-stream"
        while True:
            name, told = await _event(stream.content)
            if told["changed"].get("bre", {}).get("state") == "failing":
                break
        assert (name, told["urgent"]) == ("federation", True)
        await broker.running.registry.remove("bre")
        while told["changed"] != {"bre": None}:
            _, told = await _event(stream.content)
        assert told["urgent"]


async def test_streams_are_bounded_and_do_not_hold_a_shutdown_up(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST", 2)
    async with aiohttp.ClientSession() as http:
        async with console(valkey) as (broker, _):
            url = f"{address(broker)}/console/events"
            first, second = await http.get(url), await http.get(url)
            refused = await http.get(url)
            assert refused.status == 429
            second.close()
            again: list[aiohttp.ClientResponse] = []

            async def taken() -> bool:
                again.append(await http.get(url))
                return again[-1].status == 200

            await until(taken)
            begun = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begun < 5
        assert (await first.content.read()).startswith(b"retry:")


def metrics(page: str) -> dict[tuple[str, str], float]:
    """Of Prometheus' text, by name and the only label's value."""
    found = {}
    for line in page.splitlines():
        match = re.fullmatch(r'(\w+)(?:\{\w+="([^"]*)"\})? (\S+)', line)
        if match is not None:
            found[match[1], match[2] or ""] = float(match[3])
    return found


async def counted(world: SyncWorld) -> bool:
    async with world.broker.http.get(f"{address(world.broker)}/registry/locator") as answer:
        return {one["circles"] for one in (await answer.json())["managers"]} == {0, 1}


@dataclass
class Seen:
    """The same figures at four places. `shown`: on the pages."""

    shown: dict[tuple[str, str], float]
    status: Any
    index: Any
    exposed: dict[tuple[str, str], float]

    @property
    def agree(self) -> bool:
        (idf,) = self.status["subscribers"]
        return (
            self.shown == {name: self.exposed.get(name) for name in self.shown}
            and self.shown["cds_subscriber_lag_events", "idf"] == idf["backlog_events"]
            and self.shown["cds_dead_letters", "idf"] == idf["dead_letters"]
            and self.shown["cds_outbox_depth", ""] == self.status["outbox_depth"]
            and self.shown["cds_subscriptions", "active"] == self.status["subscriptions"]["active"]
            and all(
                self.shown["cds_locator_circles", one["id"]] == one["circles"]
                for one in self.index["managers"]
            )
        )


async def seen(guest: Visitor) -> Seen:
    async def text(path: str) -> str:
        async with guest.http.get(guest.root + path) as answer:
            return await answer.text()

    await guest.get("/console/synchronisation")
    shown = figures(guest.page)
    await guest.get("/console")
    shown |= figures(guest.page)
    status, index = [
        json.loads(await text(path)) for path in ("/registry/synchronisation", "/registry/locator")
    ]
    return Seen(shown, status, index, metrics(await text("/metrics")))


async def test_figures_are_those_of_the_metrics_and_of_the_status(valkey: Valkey) -> None:
    async with sync_world(valkey, regions=3) as world:
        await world.start()
        await world.subscribe("idf")
        await world.circle("bre")
        await world.at_rest()
        await world.broker.http.post(f"{address(world.broker)}/registry/locator/bre/crawl")
        await until(lambda: counted(world), seconds=20)
        await world.log.publish(Outgoing(replication_topic(world, "idf"), b"bre.c1", b"{}", ()))
        async with visitor(address(world.broker)) as guest:
            found: list[Seen] = []

            async def agree() -> bool:
                """What is under way while one place is looked at is over when the next one is."""
                found.append(await seen(guest))
                return found[-1].agree

            await until(agree, seconds=20)
    last = found[-1]
    assert last.shown["cds_subscriber_lag_events", "idf"] >= 2
    assert {last.shown["cds_locator_circles", one["id"]] for one in last.index["managers"]} == {0, 1}
    assert len(last.shown) >= 10
    assert {name for name, _ in last.shown} >= {"cds_manager_in_flight", "cds_manager_breaker_closed"}
