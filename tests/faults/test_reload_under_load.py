"""SIGHUP with changed files while clients ask without a pause: nobody notices, and every worker has what the files say."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.seed import seed_region
from tests.support.certificates import Authority, Certified
from tests.support.cli_process import CliProcess, below, cli
from tests.support.ports import lasting_port
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(240)

ROUNDS = 8
BURST = 4  # signals of a round
HELD = {"bre": 3, "nor": 2}  # circles of each manager
AT_ONCE = 14
"""Connections that must all show the same: that all of them met one of two workers is one in 8,192."""


@dataclass(frozen=True)
class Seen:
    """What one new connection shows of the files: the server's certificate, bre's name, whether the visitor is let in."""

    certificate: bytes
    name: str
    visitor: bool


class Site:
    """The files of a broker, and a client and a visitor of it."""

    def __init__(self, directory: Path, managers: dict[str, str]) -> None:
        self.directory, self.managers = directory, managers
        self.authority, clients = Authority("of the broker"), Authority("of the clients")
        self.ca = self.authority.written(directory / "ca.pem")
        self.client_ca = clients.written(directory / "clients.pem")
        self.port = lasting_port()
        self._tls = {name: self._trust(clients.client(name), name) for name in ("client", "visitor")}
        self.now = self.written(0)

    def _trust(self, client: Certified, name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(client.written(self.directory / f"{name}.pem"))
        return context

    @property
    def environment(self) -> dict[str, str]:
        files = {"gestionnaires": "g.toml", "clients": "c.toml", "tls_cert": "server.pem"}
        return {f"CDS_{name.upper()}": str(self.directory / file) for name, file in files.items()} | {
            "CDS_AUTH": "mtls",
            "CDS_TLS_CLIENT_CA": str(self.client_ca),
            "CDS_LOCATOR_SECRET": "a secret for tests, long enough",
            "CDS_MANAGER_NETWORKS": "127.0.0.0/8",
            "CDS_DATA_DIR": str(self.directory / "data"),
            "CDS_LOG_REQUESTS": "false",
        }

    def written(self, turn: int) -> Seen:
        """All files anew: what they say then. From the third on there is a second manager; each second has a visitor."""
        server = self.authority.server()
        seen = Seen(server.der, f"Bretagne {turn}", visitor=turn % 2 == 1)
        slugs = list(self.managers)[: 1 if turn < 3 else 2]
        self.write(
            "g.toml", "".join(self._manager(slug, seen.name if slug == "bre" else slug) for slug in slugs)
        )
        self.write("c.toml", "".join(self._client(who) for who in ("client", "visitor")[: 1 + seen.visitor]))
        server.written(self.directory / "new.pem")
        (self.directory / "new.pem").replace(self.directory / "server.pem")
        return seen

    def write(self, name: str, text: str) -> None:
        """At once, as whoever edits a file that is read does."""
        draft = self.directory / f"{name}.new"
        draft.write_text(text)
        draft.replace(self.directory / name)

    def _manager(self, slug: str, name: str) -> str:
        region = {"bre": "53", "nor": "28"}[slug]
        return (
            f'[[gestionnaire]]\nid = "{slug}"\nname = "{name}"\nregion = "{region}"\n'
            f'base_url = "{self.managers[slug]}"\n'
        )

    def _client(self, who: str) -> str:
        return (
            f'[[client]]\nid = "{who}"\ncertificate_subject = "CN={who}"\nrate = 5000\n'
            'scopes = ["system/*.rs", "cds/registry.read"]\n'
        )

    async def look(self) -> Seen:
        """Two new connections: the client's, and the visitor's."""
        (certificate, _, body), (_, status, _) = await asyncio.gather(
            self._asked("client"), self._asked("visitor")
        )
        assert status in (200, 403)
        return Seen(certificate, json.loads(body)["gestionnaire"]["name"], visitor=status == 200)

    async def _asked(self, who: str) -> tuple[bytes, int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self._tls[who])
        try:
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.write(
                b"GET /registry/gestionnaires/bre HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            )
            answer = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        return certificate, int(head.split()[1]), body

    async def shows(self, expected: Seen) -> None:
        """Wait until every worker does: so many connections at once."""

        async def all_do() -> bool:
            return await self.look() == expected and {
                *await asyncio.gather(*(self.look() for _ in range(AT_ONCE)))
            } == {expected}

        await until(all_do, seconds=40)

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[Load]:
        load = Load(f"https://127.0.0.1:{self.port}/fhir/CareTeam", self._tls["client"])
        async with asyncio.TaskGroup() as tasks:
            for force_close in (False, False, False, True, True):
                tasks.create_task(load.client(force_close=force_close))
            try:
                yield load
            finally:
                load.stop.set()


@dataclass
class Load:
    """Clients that search one request after the other, some over a new connection each time."""

    url: str
    tls: ssl.SSLContext
    circles: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def client(self, *, force_close: bool) -> None:
        connector = aiohttp.TCPConnector(ssl=self.tls, force_close=force_close)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(20)) as http:
            for turn in itertools.count():
                if self.stop.is_set():
                    return
                await self._once(http, post=turn % 2 == 0)
                await asyncio.sleep(0.01)

    async def _once(self, http: aiohttp.ClientSession, *, post: bool) -> None:
        method, url = ("POST", f"{self.url}/_search") if post else ("GET", self.url)
        try:
            async with http.request(method, url) as answer:
                body = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self.wrong.append(repr(error))
            return
        if answer.status != 200:
            self.wrong.append(f"{answer.status} {body}")
            return
        modes = [one["search"]["mode"] for one in body["entry"]]
        self.circles.append(modes.count("match"))
        if "outcome" in modes:
            self.wrong.append(f"not in full: {body['entry'][-1]}")

    async def more(self, count: int) -> None:
        goal = len(self.circles) + count
        await until(lambda: len(self.circles) >= goal or bool(self.wrong), seconds=60)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with (
        running_sandbox(seed_region("53", HELD["bre"], clock=SystemClock())) as bre,
        running_sandbox(seed_region("28", HELD["nor"], clock=SystemClock())) as nor,
    ):
        yield Site(tmp_path, {"bre": bre.base_url, "nor": nor.base_url})


@asynccontextmanager
async def serving(site: Site, valkey: ValkeyServer) -> AsyncIterator[CliProcess]:
    environment = site.environment | {"CDS_REDIS_URL": valkey.url}
    arguments = ("serve", "--port", str(site.port), "--workers", "2")
    async with cli(*arguments, environment=environment) as process:
        await process.line("serving https", count=2)
        yield process
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


def ended_early(process: CliProcess) -> list[str]:
    return [line for line in process.stderr if "started again" in line or "Traceback" in line]


async def test_changed_files_are_taken_over_by_every_worker_and_no_request_fails(
    site: Site, own_valkey: ValkeyServer
) -> None:
    async with serving(site, own_valkey) as process, site.asked() as load:
        await load.more(20)
        await site.shows(site.now)
        for turn in range(1, ROUNDS + 1):
            expected = site.written(turn)
            for _ in range(BURST):
                process.signal(signal.SIGHUP)
                await load.more(1)
            await site.shows(expected)
            await load.more(10)
    assert load.wrong == []
    assert len(load.circles) > ROUNDS * 10
    first, second = HELD["bre"], HELD["bre"] + HELD["nor"]
    assert {*load.circles} == {first, second}
    assert load.circles[-1] == second
    assert ended_early(process) == [], process.stderr


async def test_a_broken_file_keeps_what_was_and_is_said_by_every_worker(
    site: Site, own_valkey: ValkeyServer
) -> None:
    broken: dict[str, tuple[str, Callable[[Seen], Seen]]] = {
        # What the other two files say is taken over all the same.
        "g.toml": ("gestionnaires file", lambda new: Seen(new.certificate, site.now.name, new.visitor)),
        "c.toml": ("clients file", lambda new: Seen(new.certificate, new.name, site.now.visitor)),
        "server.pem": ("TLS files", lambda new: Seen(site.now.certificate, new.name, new.visitor)),
    }
    async with serving(site, own_valkey) as process, site.asked() as load:
        await load.more(20)
        for turn, (name, (told, expected)) in enumerate(broken.items(), start=1):
            new = site.written(turn)
            site.write(name, "[[gestionnaire]]\nid = 'No slug'\n")
            process.signal(signal.SIGHUP)
            await process.line(f"{told} was not taken over", count=2)
            await site.shows(expected(new))
            site.now = site.written(turn + 10)
            process.signal(signal.SIGHUP)
            await site.shows(site.now)
            await load.more(10)
    assert load.wrong == []
    assert [line for line in process.stderr if "No slug" in line] == []
    assert ended_early(process) == [], process.stderr


async def test_sighup_while_it_starts_ends_nobody(site: Site, own_valkey: ValkeyServer) -> None:
    environment = site.environment | {"CDS_REDIS_URL": own_valkey.url}
    arguments = ("serve", "--port", str(site.port), "--workers", "2")
    async with cli(*arguments, environment=environment) as process:
        # From when it has workers: before, it is Python that starts, and no broker yet.
        await until(lambda: len(below(process.process.pid)) >= 2, seconds=60)
        serving_line = asyncio.create_task(process.line("serving https", count=2))
        while not serving_line.done():
            os.kill(process.process.pid, signal.SIGHUP)
            await asyncio.sleep(0.05)
        await serving_line
        await site.shows(site.now)
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert ended_early(process) == [], process.stderr
