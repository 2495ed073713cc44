"""The backup of deploy/operations.md, taken of a broker at work; everything destroyed; restored: what is there again.

Real parts: `cds-broker serve`, a Valkey server with its files, managers and a subscriber over HTTP. The managers and the
subscriber outlive the disaster, as they would.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from adapters.sandbox.app import RunningSandbox, running_sandbox
from broker.core import topics
from broker.core.change_event import decode_headers
from tests.support.broker_process import Program, broker_program
from tests.support.cli_process import CliProcess, cli
from tests.support.logs import opened
from tests.support.plain_valkey import PlainValkey
from tests.support.subscription_world import Subscriber, subscriber
from tests.support.sync_world import subscription
from tests.support.waiting import until
from tests.support.write_world import PUBLIC, REGION, Json, Managers, Node, Person, circle, client, new_person

pytestmark = pytest.mark.timeout(240)

SECRETS = ("locator", "federation", "audit")
FRESHNESS = 3.0  # seconds; shorter than the default, so that the wait for it is
HOOK_SECRET = "a-shared-secret-of-some-forty-characters"


@dataclass(repr=False)
class Platform:
    """`boxes`: the managers; `occ` is registered by the API, the others by the file."""

    directory: Path
    store: PlainValkey
    broker: Program
    http: aiohttp.ClientSession
    boxes: dict[str, RunningSandbox]
    hook: Subscriber
    saved_at: float = 0.0

    @property
    def node(self) -> Node:
        return Node(self.http, self.broker.base_url)

    @property
    def managers(self) -> Managers:
        return Managers(self.http, {slug: box.base_url for slug, box in self.boxes.items()})

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def audit(self) -> Path:
        return self.directory / "node" / "audit"

    @property
    def saved(self) -> Path:
        return self.directory / "backup"

    async def sent(self, method: str, path: str, body: Json | None = None, **headers: str) -> Json:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answered = await self.node.send(method, path, body, named)
        assert answered.status in (200, 201), answered.body
        return answered.json

    async def covered(self) -> None:
        """Wait until the index covers every manager that is asked, and so can say who holds nothing."""

        async def knows_all() -> bool:
            answered = await self.node.tried("GET", "../registry/locator")
            if answered is None or answered.status != 200:
                return False
            return [one["fresh"] for one in answered.json["managers"]] == [True] * len(REGION)

        await until(knows_all, seconds=40)

    def heard_of(self, circle: Json) -> bool:
        """Whether the subscriber was told of a circle's version."""
        return any(
            (told["id"], told["meta"]["versionId"]) == (circle["id"], circle["meta"]["versionId"])
            for body in self.hook.of("event-notification")
            for told in (entry["resource"] for entry in body["entry"][1:])
        )

    async def numbers(self, circle_id: str) -> list[int]:
        """Of the changes of a circle, as the subscriber's topic tells them."""
        async with opened("valkey", self.store.url, "cds") as log:
            found = []
            async for batch in log.read(topics.replication("idf")):
                found += [decode_headers(one.headers)[0] for one in batch.records]
            return [one.sequence for one in found if one.public_id == circle_id]

    # --- as operations.md says

    async def backed_up(self) -> None:
        """The store first, then the trail: what is written meanwhile is in the trail, and the store does not know of it."""
        self.saved.mkdir()
        self.saved_at = time.monotonic()
        await asyncio.to_thread(append_only_file_saved, self.store, self.saved)
        shutil.copytree(self.audit, self.saved / "audit")
        shutil.copytree(self.secrets, self.saved / "secrets")
        shutil.copy(self.directory / "g.toml", self.saved)

    async def destroyed(self) -> None:
        self.broker.kill()
        await self.broker.gone()
        await asyncio.to_thread(self.store.kill)
        for path in (self.store.directory, self.directory / "node", self.secrets):
            shutil.rmtree(path)
        (self.directory / "g.toml").unlink()

    async def restored(self) -> None:
        shutil.copytree(self.saved / "secrets", self.secrets)
        shutil.copytree(self.saved / "audit", self.audit)
        shutil.copy(self.saved / "g.toml", self.directory)
        shutil.copytree(self.saved / "appendonlydir", self.store.directory / "appendonlydir")
        await asyncio.to_thread(self.store.start)
        # What the index knew of the managers when it was saved is to be stale: then they are asked until it is filled.
        await until(lambda: time.monotonic() > self.saved_at + FRESHNESS + 1, seconds=FRESHNESS + 2)
        await self.broker.start()


def append_only_file_saved(store: PlainValkey, to: Path) -> None:
    """No rewriting while it is copied."""
    with redis.Redis.from_url(store.url) as server:
        percentage = server.config_get("auto-aof-rewrite-percentage")
        server.config_set("auto-aof-rewrite-percentage", 0)
        store.wait("aof_rewrite_in_progress", 0)
        shutil.copytree(store.directory / "appendonlydir", to / "appendonlydir")
        server.config_set(*percentage.popitem())


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    async with AsyncExitStack() as stack:
        store = PlainValkey(tmp_path / "store")
        await asyncio.to_thread(store.start)
        stack.callback(store.kill)
        boxes = {slug: await stack.enter_async_context(running_sandbox()) for slug in REGION}
        (tmp_path / "secrets").mkdir()
        for name in SECRETS:
            (tmp_path / "secrets" / name).write_text(f"the secret {name} of a platform")
        file = tmp_path / "g.toml"
        file.write_text(
            "".join(
                f'[[gestionnaire]]\nid = "{slug}"\nname = "{slug}"\nregion = "{REGION[slug]}"\n'
                f'base_url = "{boxes[slug].base_url}"\ndialect = "gestionnaire"\n'
                for slug in ("bre", "idf")
            )
        )
        broker = _broker(tmp_path, store, file)
        stack.push_async_callback(broker.gone)
        made = Platform(
            tmp_path,
            store,
            broker,
            await stack.enter_async_context(client()),
            boxes,
            await stack.enter_async_context(subscriber()),
        )
        await broker.start()
        yield made


def _broker(directory: Path, store: PlainValkey, file: Path) -> Program:
    made = broker_program(
        file,
        store.url,
        directory / "node",
        public_url=PUBLIC,
        audit_fsync="always",
        write_settle="0.4",
        locator_poll="0.25",
        locator_overlap="0.5",
        locator_freshness=str(FRESHNESS),
        probe_interval="0.5",
        background="process",
    )
    kept = {name: value for name, value in made.environment.items() if name != "CDS_LOCATOR_SECRET"}
    made.environment = kept | {
        f"CDS_{name.upper()}_SECRET_FILE": str(directory / "secrets" / name) for name in SECRETS
    }
    return made


@asynccontextmanager
async def command(platform: Platform, *words: str, code: int | None = None) -> AsyncIterator[CliProcess]:
    """A command beside the broker, with its settings. `code`: what it is to end with."""
    async with cli(*words, environment=platform.broker.environment) as process:
        yield process
        if code is not None:
            assert await process.ended() == code, process.stderr


async def told_whole(platform: Platform) -> tuple[int, Any]:
    """Exit code and report of `audit verify`."""
    async with command(platform, "audit", "verify", "--json") as process:
        code = await process.ended()
    return code, json.loads("".join(process.stdout))


async def a_circle(platform: Platform, person: Person, mark: str, **headers: str) -> Json:
    await platform.managers.know(person)
    return await platform.sent("POST", "CareTeam", circle(person.subject("bre"), mark), **headers)


async def test_what_was_saved_is_there_again_and_what_came_after_is_found_out(
    platform: Platform,
) -> None:
    node = platform.node
    base_url = platform.boxes["occ"].base_url
    declared = {
        "id": "occ",
        "name": "occ",
        "region": REGION["occ"],
        "base_url": base_url,
        "dialect": "gestionnaire",
    }
    await platform.sent("POST", "../registry/gestionnaires", declared)
    await platform.covered()
    stated = subscription("idf")
    stated["channel"] |= {"type": "rest-hook", "endpoint": platform.hook.url}
    stated["channel"]["extension"] = [
        {"url": "urn:cds-broker:subscription-secret", "valueString": HOOK_SECRET}
    ]
    hooked = await platform.sent("POST", "Subscription", stated)
    on_a_topic = await platform.sent("POST", "Subscription", subscription("idf"))
    one, two = new_person("bre"), new_person("bre")
    made = await a_circle(platform, one, "before", Idempotency_Key='"before"')
    await until(lambda: platform.heard_of(made), seconds=20)
    assert (await told_whole(platform))[0] == 0

    await platform.backed_up()

    changed = await platform.sent("PUT", f"CareTeam/{made['id']}", made | {"status": "suspended"})
    late = await a_circle(platform, two, "after", Idempotency_Key='"after"')
    await until(lambda: platform.heard_of(late) and platform.heard_of(changed), seconds=20)

    async def numbered_twice() -> bool:
        return len({*await platform.numbers(made["id"])}) == 2

    await until(numbered_twice, seconds=20)
    numbers = {*await platform.numbers(made["id"])}
    await platform.destroyed()
    await platform.restored()

    # The registry, and who is told.
    listed = await platform.sent("GET", "../registry/gestionnaires")
    assert {found["gestionnaire"]["id"] for found in listed["gestionnaires"]} == {*REGION}
    for name in (hooked["id"], on_a_topic["id"]):
        assert (await platform.sent("GET", f"Subscription/{name}"))["status"] == "active"
    # What was written after the backup is found, before the index has caught up as after that.
    for person, expected in ((one, changed), (two, late)):
        assert [found["id"] for found in await node.circles_of(person)] == [expected["id"]]
    await platform.covered()
    for person, expected in ((one, changed), (two, late)):
        assert [found["id"] for found in await node.circles_of(person)] == [expected["id"]]
        second = await node.send("POST", "CareTeam", circle(person.subject("bre"), "second"))
        assert second.status == 409, second.body
    # What was answered is answered again; what the store forgot makes no second one.
    again = await node.send(
        "POST", "CareTeam", circle(one.subject("bre"), "before"), {"Idempotency-Key": '"before"'}
    )
    assert (again.status, again.json["id"]) == (201, made["id"])
    forgotten = await node.send(
        "POST", "CareTeam", circle(two.subject("bre"), "after"), {"Idempotency-Key": '"after"'}
    )
    assert forgotten.status == 409
    assert await platform.managers.circles_of(two) == [late["id"]]
    # Events go on, signed as before, and no number of a change is given twice.
    last = await platform.sent("PUT", f"CareTeam/{made['id']}", changed | {"status": "active"})
    await until(lambda: platform.heard_of(last), seconds=20)
    assert platform.hook.forged == 0
    assert len({*platform.hook.numbers}) < len(platform.hook.numbers), (
        "of events by HTTP, as documented, they are"
    )

    async def numbered() -> bool:
        return max(await platform.numbers(made["id"])) > max(numbers)

    await until(numbered, seconds=20)
    assert min({*await platform.numbers(made["id"])} - numbers) > max(numbers)
    # The trail of before is whole, and goes on.
    code, report = await told_whole(platform)
    assert (code, report["intact"], report["findings"]) == (0, True, []), report
    assert report["heads_compared"]
    # What the documentation has one do then.
    url = platform.broker.base_url.removesuffix("/fhir")
    words = (("locator", "crawl"), ("sync", "bootstrap", "--gestionnaire", "idf"), ("sync", "conflicts"))
    async with AsyncExitStack() as stack:
        for one in words:
            await stack.enter_async_context(command(platform, *one, "--json", "--url", url, code=0))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PlainValkey]:
    made = PlainValkey(tmp_path / "store")
    made.start()
    with redis.Redis.from_url(made.url) as server:
        server.set("kept", "1")
        server.bgsave()
        made.wait("rdb_bgsave_in_progress", 0)
    made.kill()
    shutil.rmtree(made.directory / "appendonlydir")  # the snapshot alone was saved
    yield made
    made.kill()


def kept(store: PlainValkey) -> bytes | None:
    with redis.Redis.from_url(store.url, decode_responses=False) as server:
        found: bytes | None = server.get("kept")
        return found


def test_a_snapshot_is_restored_without_an_append_only_file_first(store: PlainValkey) -> None:
    store.start(appendonly=False)
    with redis.Redis.from_url(store.url) as server:
        server.config_set("appendonly", "yes")
    store.wait("aof_rewrite_scheduled", 0)
    store.wait("aof_rewrite_in_progress", 0)
    store.stop()
    store.start()
    assert kept(store) == b"1"


def test_a_snapshot_is_not_read_by_a_store_that_keeps_an_append_only_file(store: PlainValkey) -> None:
    """Why the documentation has it started without one first."""
    store.start()
    assert kept(store) is None
