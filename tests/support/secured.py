"""A broker that wants to know who asks, and a client of it that says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from broker.settings import Settings
from broker.wiring import RunningBroker, running_broker
from tests.support.federation import SECRET, Answered
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.valkey import Valkey

GUARDED = "registry/gestionnaires"
"""What takes the role registry.read, and asks no manager."""


@dataclass(frozen=True)
class Secured:
    running: RunningBroker
    http: aiohttp.ClientSession

    @property
    def root(self) -> str:
        return self.running.base_url.removesuffix("/fhir")

    async def get(
        self,
        token: str | None = None,
        target: str = GUARDED,
        *,
        headers: list[tuple[str, str]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Answered:
        sent = list(headers or [])
        if token is not None:
            sent.append(("Authorization", f"Bearer {token}"))
        async with self.http.get(f"{self.root}/{target}", headers=sent, ssl=tls or True) as response:
            return Answered(response.status, response.headers, await response.read())


@asynccontextmanager
async def secured(valkey: Valkey, one: Issuer | None = None, **settings: Any) -> AsyncIterator[Secured]:
    """Over no managers; with an issuer, under `CDS_AUTH=oidc`. `settings`: names of `Settings`."""
    given: dict[str, Any] = {"locator": False, "sync": False}
    if one is not None:
        given |= {
            "auth": "oidc",
            "oidc_issuer": one.url,
            "oidc_audience": AUDIENCE,
            "oidc_networks": "127.0.0.0/8",
        }
    made = Settings.load(port=0, redis_prefix=valkey.keys.prefix, **(given | settings))
    async with (
        running_broker(made, redis_url=valkey.url, secret=SECRET) as running,
        aiohttp.ClientSession() as http,
    ):
        yield Secured(running, http)


def clients_file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
