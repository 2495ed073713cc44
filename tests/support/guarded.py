"""A whole broker over two managers that wants tokens and keeps its trail: what a test of all of access control asks.

async with guarded(valkey, tmp_path) as world:
    asked = await world.ask(world.token(scopes("CareTeam.s")), "GET", "/fhir/CareTeam")
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from adapters.audit.verification import Report, verify_files
from adapters.sandbox.app import RunningSandbox, running_sandbox
from broker.core.access.principal import Scopes
from broker.core.audit.chain import ChainKey
from broker.settings import Settings
from broker.wiring import RunningBroker, running_broker
from registry.model import REGIONS, Gestionnaire
from tests.support import audited
from tests.support.entitled import FHIR_JSON, FORM, REGION, Json, held
from tests.support.federation import SECRET, Answered
from tests.support.issuer import AUDIENCE, Issuer, ec_key, issuer
from tests.support.valkey import Valkey

CLIENTS = """
[[client]]
id = "dmp"

[[client]]
id = "everywhere"

[[client]]
id = "bretagne"
managers = ["bre"]

[[client]]
id = "occitanie"
regions = ["76"]

[[client]]
id = "nowhere"
managers = []

[[client]]
id = "narrow"
scopes = ["system/CareTeam.s"]

[[client]]
id = "slow"
rate = 2
"""

UNHURRIED: Mapping[str, Any] = {"limit_rate": 100_000, "limit_address_rate": 100_000}


def scope_text(granted: Scopes, level: str = "system") -> str:
    """As a token has it."""
    letters = "cruds"
    fhir = [
        f"{level}/{kind}.{''.join(sorted(granted.fhir[kind], key=letters.index))}"
        for kind in sorted(granted.fhir)
        if granted.fhir[kind]
    ]
    return " ".join([*fhir, *(f"cds/{role}" for role in sorted(granted.roles))])


@dataclass(frozen=True)
class Asked:
    """`number`: the X-Request-Id."""

    number: str
    answered: Answered


@dataclass
class GuardedWorld:
    """`brokers`: the first is asked unless another is named; all write their trails into one directory."""

    issuer: Issuer
    brokers: Mapping[str, RunningBroker]
    boxes: Mapping[str, RunningSandbox]
    http: aiohttp.ClientSession
    directory: Path
    _tokens: dict[str, str] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def token(self, granted: Scopes, client: str = "everywhere", **claims: Any) -> str:
        """The same for the same rights: as a client does, until it expires."""
        text = claims.pop("scope", None) or scope_text(granted)
        key = f"{client} {text} {sorted(claims.items())!r}"
        if key not in self._tokens:
            given: dict[str, Any] = {
                "kid": "fast",
                "client_id": client,
                "sub": client,
                "scope": text,
            } | claims
            self._tokens[key] = self.issuer.token(**given)
        return self._tokens[key]

    async def ask(
        self,
        token: str | None,
        method: str,
        target: str,
        body: Json | str | None = None,
        *,
        broker: str = "usual",
        headers: Mapping[str, str] | None = None,
    ) -> Asked:
        """`body`: JSON, or a form where it is text."""
        sent = {"X-Request-Id": f"r{next(self._numbers)}", **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data: bytes | str | None = None
        if isinstance(body, dict):
            kind = "application/json" if target.startswith("/registry") else FHIR_JSON
            data, sent = orjson.dumps(body), {"Content-Type": kind, **sent}
        elif body is not None:
            data, sent = body, {"Content-Type": FORM, **sent}
        url = f"http://127.0.0.1:{self.brokers[broker].settings.port}{target}"
        async with self.http.request(method, url, data=data, headers=sent) as answer:
            return Asked(sent["X-Request-Id"], Answered(answer.status, answer.headers, await answer.read()))

    def trail(self) -> dict[str, list[Json]]:
        """AuditEvents by the request that they are of, as they stand in the files."""
        found = defaultdict(list)
        for event in audited.events(self.directory / "audit"):
            found[audited.request_entity(event)["what"]["identifier"]["value"]].append(event)
        return dict(found)

    def verified(self) -> Report:
        key = ChainKey.of(SECRET)
        return verify_files(self.directory / "audit", {key.id: key}, None)


@asynccontextmanager
async def guarded(valkey: Valkey, directory: Path, **others: dict[str, Any]) -> AsyncIterator[GuardedWorld]:
    """`others`: further brokers of the same federation, by name, with the settings in which they differ."""
    clients = directory / "clients.toml"
    clients.write_text(CLIENTS, encoding="utf-8")
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(issuer())
        one.publish("fast", ec_key(), "ES256")
        boxes = {slug: await stack.enter_async_context(running_sandbox(held(slug))) for slug in REGION}
        http = await stack.enter_async_context(aiohttp.ClientSession())
        usual: dict[str, Any] = {
            "port": 0,
            "redis_prefix": valkey.keys.prefix,
            "auth": "oidc",
            "oidc_issuer": one.url,
            "oidc_audience": AUDIENCE,
            "oidc_networks": "127.0.0.0/8",
            "manager_networks": "127.0.0.0/8",
            "clients": clients,
            "data_dir": directory,
            "audit": "file",
            "locator_poll": 0.2,
            **UNHURRIED,
        }
        brokers: dict[str, RunningBroker] = {}
        for name in ("usual", *others):
            settings = Settings.load(**(usual | others.get(name, {})))
            brokers[name] = await stack.enter_async_context(
                running_broker(settings, redis_url=valkey.url, secret=SECRET)
            )
        first = brokers["usual"]
        for slug, code in REGION.items():
            await first.store.put(Gestionnaire(slug, REGIONS[code], code, boxes[slug].base_url, territory=()))
        for running in brokers.values():
            await running.managers.refresh()
        for slug in REGION:
            await first.registry.check(slug)
        for running in brokers.values():
            await running.managers.refresh()
        yield GuardedWorld(one, brokers, boxes, http, directory)
