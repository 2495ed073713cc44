"""A token endpoint (RFC 6749, section 4.4) on 127.0.0.1, and the ways in which one may fail.

async with token_endpoint() as endpoint:
    auth = endpoint.auth(client_secret_env="SECRET")
    endpoint.mode = "hang"
    ...
    assert endpoint.asked[0].form["grant_type"] == "client_credentials"
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from registry.model import Auth, AuthType
from tests.support.scripted_manager import Received, Reply, gzip_bomb, reply


@dataclass(frozen=True)
class Asked:
    authorization: str
    form: dict[str, str]
    certificate: str | None
    """Common name of the client's certificate."""


@dataclass
class TokenEndpoint:
    """`mode`: ok, or one of `FAILURES`. `gate`: while it is clear, nothing is answered. `answer`: members of a good answer
    that are other than usual; None takes one away."""

    url: str = ""
    mode: str = "ok"
    seconds: float = 3600
    answer: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    good: set[str] = field(default_factory=set)
    """Tokens that a manager behind `guards` takes."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    most_in_flight: int = 0

    def auth(self, **more: Any) -> Auth:
        given: dict[str, Any] = {"token_url": self.url, "client_id": "broker", "scope": "system/CareTeam.rs"}
        return Auth(type=AuthType.OAUTH2, **(given | more))

    def revoke_all(self) -> None:
        self.good.clear()

    def guards(self, received: Received) -> Reply:
        """What a manager answers: 401 to whoever has no good token."""
        scheme, _, token = received.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer" and token in self.good:
            return reply({"resourceType": "Bundle", "type": "searchset"})
        return reply({"resourceType": "OperationOutcome", "issue": []}, 401)


FAILURES = {
    "down": "refused (503)",
    "refuses": "invalid_client (401)",
    "says-what-it-likes": "refused (400)",
    "hang": "timeout",
    "drip": "timeout",
    "huge": "too large",
    "bomb": "content coding",
    "redirect": "redirect (302)",
    "html": "no token in its answer",
    "deep": "no token in its answer",
    "mac": "not a bearer token",
    "splits": "a token that cannot be sent",
    "expired": "a token that has expired",
    "cut": "unreachable",
}
"""Each mode, with what is said of it."""


@asynccontextmanager
async def token_endpoint(tls: ssl.SSLContext | None = None) -> AsyncIterator[TokenEndpoint]:
    one = TokenEndpoint()
    one.gate.set()

    async def served(request: web.Request) -> web.StreamResponse:
        return await _served(one, request)

    app = web.Application()
    app.router.add_post("/token", served)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    scheme = "http" if tls is None else "https"
    one.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/token"
    try:
        yield one
    finally:
        one.gate.set()
        await runner.cleanup()


async def _served(one: TokenEndpoint, request: web.Request) -> web.StreamResponse:
    form = {name: str(value) for name, value in (await request.post()).items()}
    one.asked.append(Asked(request.headers.get("Authorization", ""), form, _certificate(request)))
    one.in_flight += 1
    one.most_in_flight = max(one.most_in_flight, one.in_flight)
    try:
        await one.gate.wait()
        return await _failure(one, request) or _granted(one)
    finally:
        one.in_flight -= 1


def _certificate(request: web.Request) -> str | None:
    peer = request.transport.get_extra_info("peercert") if request.transport is not None else None
    return dict(pair[0] for pair in peer["subject"])["commonName"] if peer else None


def _granted(one: TokenEndpoint, **changes: Any) -> web.Response:
    token = f"token-{len(one.issued) + 1}"
    usual = {"access_token": token, "token_type": "Bearer", "expires_in": one.seconds}
    body = {name: value for name, value in (usual | one.answer | changes).items() if value is not None}
    one.issued.append(token)
    one.good.add(token)
    return web.json_response(body, headers={"Cache-Control": "no-store"})


_SPOILT: dict[str, dict[str, Any]] = {
    "mac": {"token_type": "mac"},
    "splits": {"access_token": "a\r\nX-Injected: 1"},
    "expired": {"expires_in": 0},
}


async def _failure(one: TokenEndpoint, request: web.Request) -> web.StreamResponse | None:
    if one.mode in _SPOILT:
        return _granted(one, **_SPOILT[one.mode])
    match one.mode:
        case "hang":
            await asyncio.Event().wait()
        case "drip":
            return await _dripped(request)
        case "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
    return _spoilt(one)


def _spoilt(one: TokenEndpoint) -> web.Response | None:
    match one.mode:
        case "down":
            return web.Response(status=503, text="client_secret=s3cret is what you sent")
        case "refuses":
            return web.json_response({"error": "invalid_client", "error_description": "s3cret"}, status=401)
        case "says-what-it-likes":
            return web.json_response({"error": "s3cret\r\ninjected"}, status=400)
        case "huge":
            return web.Response(body=b'{"x":"' + b" " * 1_000_000 + b'"}', content_type="application/json")
        case "bomb":
            return web.Response(body=gzip_bomb(32 << 20), headers={"Content-Encoding": "gzip"})
        case "redirect":
            return web.Response(status=302, headers={"Location": one.url})
        case "html":
            return web.Response(text="<html>maintenance</html>", content_type="text/html")
        case "deep":
            return web.Response(body=b'{"x":' + b"[" * 30_000, content_type="application/json")
    return None


async def _dripped(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for byte in json.dumps({"access_token": "x" * 1000}).encode():
        await response.write(bytes((byte,)))
        await asyncio.sleep(0.05)
    return response
