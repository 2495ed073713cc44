"""Everything that may hold or pass on a person's data, as processes: a broker under `CDS_AUTH=oidc` at debug level, its
store, managers behind proxies that see every request, one that is hostile, a region's agent, a subscriber, a collector of
traces.

    async with leak_world(directory) as world:
        await world.send("POST", "CareTeam/_search", form)
        sources = await evidence(world)     # `leak_evidence`
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.clock import SystemClock
from adapters.sandbox.app import RunningSandbox, build_app, running_sandbox
from adapters.sandbox.store import Store
from tests.support.broker_process import Program, broker_program
from tests.support.collector import Collector, collector
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.federation import Answered
from tests.support.issuer import AUDIENCE, Issuer, issuer
from tests.support.leak_people import Cast, carer_of, circle_of, patient_of, relative_of, structure_of, word
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

Json = dict[str, Any]

REGION = {"bre": "53", "occ": "76", "cor": "94"}
HOSTILE = "cor"
LOOPBACK = "127.0.0.0/8"
FHIR_JSON = "application/fhir+json"
SCOPES = (
    "user/*.cruds cds/registry.read cds/registry.write cds/sync.read cds/sync.write cds/audit.read cds/metrics "
    "cds/console"
)


@dataclass(frozen=True)
class Asked:
    """`body`: as it was sent."""

    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]
    answered: Answered


@dataclass
class Hostile:
    """A manager that says of people what nobody asked. `mode`: see `_answer`; empty: it is a good one."""

    secret: Mapping[str, str]
    mode: str = ""

    @web.middleware
    async def instead(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request) if not self.mode else self._answer()

    def _answer(self) -> web.Response:
        said = " ".join(self.secret.values())
        issue = {"severity": "error", "code": "exception", "diagnostics": said, "details": {"text": said}}
        match self.mode:
            case "html":
                return web.Response(status=500, text=f"<html>{said}</html>", content_type="text/html")
            case "outcome":
                return self._json({"resourceType": "OperationOutcome", "issue": [issue]}, 422)
            case "unauthorized":
                return web.Response(
                    status=401, headers={"WWW-Authenticate": f'Bearer realm="{word()}"'}, text=said
                )
            case "broken":
                return web.Response(
                    body=b'{"resourceType":"Bundle","entry":[' + said.encode(), content_type=FHIR_JSON
                )
            case "type":
                return self._json({"resourceType": said, "id": said, "entry": [said]}, 200)
            case "entries":
                circle = {
                    "resourceType": "CareTeam",
                    "id": said,
                    "status": said,
                    "subject": {"reference": said},
                }
                entry = {"fullUrl": said, "resource": circle, "search": {"mode": "match"}}
                return self._json({"resourceType": "Bundle", "type": "searchset", "entry": [entry]}, 200)
            case "next":
                link = {
                    "relation": "next",
                    "url": f"http://elsewhere.example/{next(iter(self.secret.values()))}",
                }
                made = {"resourceType": "Bundle", "type": "searchset", "link": [link], "entry": []}
                return self._json(made, 200)
            case "redirect":
                place = "/fhir/Patient?family=" + next(iter(self.secret.values()))
                return web.Response(status=302, headers={"Location": place})
            case "headers":
                some = next(iter(self.secret.values())).encode("ascii", "ignore").decode()
                headers = {"ETag": f'W/"{some}"', "Location": some, "Content-Type": some, "Server": some}
                return web.Response(status=200, body=said.encode(), headers=headers)
            case _:
                return web.Response(
                    status=404, body=b"\xff\xfe" + said.encode("utf-16"), content_type=FHIR_JSON
                )

    @staticmethod
    def _json(body: Json, status: int) -> web.Response:
        return web.Response(status=status, body=orjson.dumps(body), content_type=FHIR_JSON)


MODES = (
    "html", "outcome", "unauthorized", "broken", "type", "entries", "next", "redirect", "headers", "bytes",
)  # fmt: skip


@dataclass
class Told:
    """What came to a subscriber, or to the hostile manager: `line` and headers as text, and the body."""

    line: bytes
    body: bytes


@dataclass
class Hook:
    url: str = ""
    told: list[Told] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        headers = [
            f"{name}: {value}" for name, value in request.headers.items() if name != "X-Key"
        ]  # its own
        lines = [request.raw_path, *headers]
        self.told.append(Told("\n".join(lines).encode(), await request.read()))
        return web.Response()


@dataclass
class LeakWorld:
    """`token`: of a user who may do everything; `little`: of one who may read structures."""

    cast: Cast
    directory: Path
    http: aiohttp.ClientSession
    issuer: Issuer
    valkey: ValkeyServer
    boxes: Mapping[str, RunningSandbox]
    hostile: Hostile
    proxies: Mapping[str, FaultyProxy]
    hook: Hook
    collector: Collector
    broker: Program
    agent: Program
    token: str
    little: str
    asked: list[Asked] = field(default_factory=list)
    pages: list[Answered] = field(default_factory=list)
    """Of health and metrics."""
    titles: set[bytes] = field(default_factory=set)

    @property
    def root(self) -> str:
        return self.broker.base_url.removesuffix("/fhir")

    async def send(
        self,
        method: str,
        target: str,
        body: Json | str | bytes | None = None,
        *,
        token: str | None = "",
        **headers: str,
    ) -> Answered:
        """`target`: below the FHIR base, or from the root where it begins with `/`. A text body is a form. `token`: None
        for none. Header names with `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        if isinstance(body, dict):
            body = orjson.dumps(body)
        elif isinstance(body, str):
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        if body is not None:
            sent.setdefault("Content-Type", FHIR_JSON)
        data = body.encode() if isinstance(body, str) else body
        url = self.root + target if target.startswith("/") else f"{self.broker.base_url}/{target}".rstrip("/")
        async with self.http.request(method, url, data=data, headers=sent, allow_redirects=False) as answer:
            answered = Answered(answer.status, answer.headers, await answer.read())
            path = answer.request_info.url.raw_path_qs
        self.asked.append(Asked(method, path, data or b"", sent, answered))
        return answered

    async def raw(self, request: bytes) -> Answered:
        """What no client sends: bytes, and what comes back until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.root.rpartition(":")[2]))
        writer.write(request)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(20):
            body = await reader.read()
        writer.close()
        answered = Answered(int(body.split(b" ", 2)[1]) if body else 0, {}, body)
        self.asked.append(Asked("", "", request, {}, answered))
        return answered

    async def look(self) -> None:
        """Note what shows while it runs: process titles, health pages, metrics."""
        self.titles |= await asyncio.to_thread(_titles)
        for page in ("/health/live", "/health/ready", "/metrics", "/registry/openapi.json", "/fhir/metadata"):
            headers = {"Authorization": f"Bearer {self.token}"}
            async with self.http.get(self.root + page, headers=headers) as answer:
                self.pages.append(Answered(answer.status, answer.headers, await answer.read()))

    async def covered(self) -> None:
        """Wait until the broker has crawled all managers that are no enemies."""

        async def knows_all() -> bool:
            headers = {"Authorization": f"Bearer {self.token}"}
            async with self.http.get(f"{self.root}/registry/locator", headers=headers) as answer:
                if answer.status != 200:
                    return False
                found = (await answer.json())["managers"]
            return [one["state"] for one in found] == ["complete"] * len(REGION)

        await until(knows_all, seconds=30.0)

    async def restart_store(self) -> None:
        await asyncio.to_thread(self.valkey.kill)
        await asyncio.to_thread(self.valkey.restart)


def _titles() -> set[bytes]:
    """Command lines and names of all processes and threads (Linux)."""
    found = set()
    for pattern in ("[0-9]*/cmdline", "[0-9]*/comm", "[0-9]*/task/*/comm"):
        for path in Path("/proc").glob(pattern):
            try:
                found.add(path.read_bytes())
            except OSError:
                continue  # it ended meanwhile
    return found


def held_by(cast: Cast) -> list[Json]:
    """At Brittany from the beginning."""
    return [
        {"id": "p1", **patient_of(cast.held)},
        {"id": "d1", **carer_of(cast.carer)},
        {"id": "o1", **structure_of(cast.structure)},
        {"id": "r1", **relative_of(cast.relative, "Patient/p1")},
        {
            "resourceType": "PractitionerRole",
            "id": "x1",
            "practitioner": {"reference": "Practitioner/d1"},
            "organization": {"reference": "Organization/o1"},
            "telecom": cast.carer.contact["telecom"],
        },
        {
            "id": "c1",
            **circle_of(
                cast.circles["held"],
                "Patient/p1",
                ["PractitionerRole/x1", "RelatedPerson/r1", "Organization/o1"],
                cast.numbers["held"],
            ),
        },
    ]


@asynccontextmanager
async def leak_world(directory: Path, *, module: str = "broker", **settings: str) -> AsyncIterator[LeakWorld]:
    """Everything runs, but for the agent. `module`: what the broker is run as."""
    cast = Cast()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        one = await stack.enter_async_context(issuer())
        valkey = ValkeyServer(directory / "store")
        stack.callback(valkey.stop)
        hostile = Hostile(cast.held.seeds)
        boxes = {
            "bre": await stack.enter_async_context(running_sandbox(held_by(cast))),
            "occ": await stack.enter_async_context(running_sandbox()),
            HOSTILE: await stack.enter_async_context(_turncoat(hostile)),
        }
        proxies = {
            slug: await stack.enter_async_context(faulty_proxy(box.base_url)) for slug, box in boxes.items()
        }
        hook = Hook()
        await stack.enter_async_context(_listening(hook))
        taken = await stack.enter_async_context(collector())
        file = directory / "gestionnaires.toml"
        file.write_text(_declared(proxies), encoding="utf-8")
        cast.secrets = {
            name: word(40) for name in ("locator", "federation", "audit", "previous", "manager", "hook")
        }
        (directory / "tmp").mkdir()
        (directory / "audit.secret").write_text(cast.secrets["audit"])
        broker = broker_program(
            file,
            valkey.url,
            directory / "data",
            **(_settings(cast, one, directory) | settings),
        )
        broker.module = module
        broker.environment = {
            **broker.environment,
            "BRE_TOKEN": cast.secrets["manager"],
            "CDS_OTEL_ENDPOINT": taken.url,
            "TMPDIR": str(directory / "tmp"),
        }
        agent = Program(
            ("sync", "agent", "--gestionnaire", "occ", "--gestionnaires", str(file), "--report", "1"),
            {
                "CDS_REDIS_URL": valkey.url,
                "CDS_LOG_LEVEL": "debug",
                "CDS_MANAGER_NETWORKS": LOOPBACK,
                "CDS_LOCATOR_SECRET": cast.secrets["locator"],
                "CDS_OTEL_ENDPOINT": taken.url,
                "TMPDIR": str(directory / "tmp"),
            },
            "agent of occ: topic",
            base_url="-",
        )
        for program in (broker, agent):
            stack.push_async_callback(program.gone)
        tokens = _tokens(cast, one)
        await broker.start()
        yield LeakWorld(
            cast, directory, http, one, valkey, boxes, hostile, proxies, hook, taken, broker, agent, *tokens
        )


def _settings(cast: Cast, one: Issuer, directory: Path) -> dict[str, str]:
    return {
        "auth": "oidc",
        "oidc_issuer": one.url,
        "oidc_audience": AUDIENCE,
        "oidc_networks": LOOPBACK,
        "manager_networks": LOOPBACK,
        "hook_networks": LOOPBACK,
        "log_level": "debug",
        "log_format": "json",
        "audit": "file,log",
        "locator_secret": cast.secrets["locator"],
        "locator_previous_secret": cast.secrets["previous"],
        "federation_secret": cast.secrets["federation"],
        "audit_secret_file": str(directory / "audit.secret"),
        "locator_poll": "0.3",
        "locator_overlap": "1",
        "write_settle": "0.4",
        "write_deadline": "3",
        "search_deadline": "3",
        "probe_interval": "0.5",
        "topic_partitions": "3",
    }


def _tokens(cast: Cast, one: Issuer) -> tuple[str, str]:
    user = cast.user
    person = {
        "sub": user.number,
        "SubjectNameID": f"8{user.number}",
        "given_name": user.given,
        "family_name": user.family,
        "email": user.email,
        "act": {"sub": "dmp"},
    }
    made = (
        one.token(scope=SCOPES, **person),
        one.token(scope="system/Organization.r", client_id="little", sub="little"),
    )
    cast.secrets |= {"token": made[0].rpartition(".")[2], "little token": made[1].rpartition(".")[2]}
    return made


def _declared(proxies: Mapping[str, FaultyProxy]) -> str:
    made = []
    for slug, proxy in proxies.items():
        auth = 'auth = { type = "bearer", token_env = "BRE_TOKEN" }\n' if slug == "bre" else ""
        made.append(
            f'[[gestionnaire]]\nid = "{slug}"\nname = "Gestionnaire {slug}"\nregion = "{REGION[slug]}"\n'
            f'base_url = "{proxy.base_url}"\ndialect = "gestionnaire"\ntimeout = 1.5\n{auth}'
        )
    return "\n".join(made)


@asynccontextmanager
async def _turncoat(hostile: Hostile) -> AsyncIterator[RunningSandbox]:
    """A sandbox that may turn hostile."""
    store = Store(SystemClock())
    app = build_app(store)
    app.middlewares.insert(0, hostile.instead)
    async with _served(app) as address:
        yield RunningSandbox(f"{address}/fhir", store)


@asynccontextmanager
async def _listening(hook: Hook) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/cds", hook.take)
    async with _served(app) as address:
        hook.url = f"{address}/cds"
        yield


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
