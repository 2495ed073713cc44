"""An issuer of tokens on 127.0.0.1: discovery, keys that are rotated, introspection; and the ways in which one may fail.

async with issuer() as one:
    token = one.token(scope="system/CareTeam.rs")
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

Json = dict[str, Any]

AUDIENCE = "https://broker.example/fhir"


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Making one takes a while: each name has one for the whole run."""
    del name
    return rsa.generate_private_key(65537, bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def public_jwk(key: Any, alg: str, **members: Any) -> Json:
    """The public key as a JWK, `alg` told only by the members that are given."""
    made: Json = get_default_algorithms()[alg].to_jwk(key.public_key(), as_dict=True)
    made.pop("key_ops", None)
    return made | members


def b64(data: bytes | Json) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class Issuer:
    """`mode`: ok, down (503), slow, huge, redirect, html, deep, other-issuer or inward (discovery names an address that is
    not to be called). `keys`: what signs, by kid, with its algorithm; `published`: the set as it is served."""

    url: str = ""
    mode: str = "ok"
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    published: list[Json] = field(default_factory=list)
    told: Json = field(default_factory=dict)
    """What the discovery document says beside."""
    opaque: dict[str, Json] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Paths, in order."""
    introspected: list[tuple[str, Json]] = field(default_factory=list)
    """Authorization header and form of each question."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, kid: str, key: Any = None, alg: str = "RS256", **members: Any) -> None:
        """A key that signs from now on, and is in the set."""
        key = rsa_key(kid) if key is None else key
        self.keys[kid] = (key, alg)
        self.published.append(public_jwk(key, alg, kid=kid, **members))

    def withdraw(self, kid: str) -> None:
        self.published = [one for one in self.published if one.get("kid") != kid]

    def claims(self, **given: Any) -> Json:
        """Good ones; None takes a claim away."""
        now = int(time.time())
        usual = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "dmp",
            "client_id": "dmp",
            "iat": now,
            "exp": now + 300,
            "scope": "system/*.cruds cds/registry.read",
        }
        return {name: value for name, value in (usual | given).items() if value is not None}

    def token(self, *, kid: str = "k1", headers: Json | None = None, **claims: Any) -> str:
        key, alg = self.keys[kid]
        return jwt.encode(self.claims(**claims), key, alg, headers={"kid": kid, **(headers or {})})


@asynccontextmanager
async def issuer(
    more: Callable[[Issuer], Iterable[web.RouteDef]] = lambda _: (), *, name: str = "127.0.0.1"
) -> AsyncIterator[Issuer]:
    """With one RSA key, `k1`. `more`: that it serves. `name`: of this machine, in its addresses."""
    one = Issuer()
    one.publish("k1")
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", partial(_served, one))
    app.router.add_get("/keys", partial(_served, one))
    app.router.add_post("/introspect", partial(_introspection, one))
    app.add_routes(more(one))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://{name}:{runner.addresses[0][1]}"
    try:
        yield one
    finally:
        one.gate.set()
        await runner.cleanup()


async def _served(one: Issuer, request: web.Request) -> web.StreamResponse:
    one.asked.append(request.path)
    failed = await _failure(one)
    if failed is not None:
        return failed
    if request.path == "/keys":
        return web.json_response({"keys": one.published})
    says = "https://elsewhere.example" if one.mode == "other-issuer" else one.url
    keys = "http://10.0.0.1/keys" if one.mode == "inward" else f"{one.url}/keys"
    return web.json_response({**one.told, "issuer": says, "jwks_uri": keys})


async def _failure(one: Issuer) -> web.StreamResponse | None:
    match one.mode:
        case "down":
            return web.Response(status=503)
        case "slow":
            await one.gate.wait()
        case "huge":
            return web.Response(body=b'{"keys":[' + b" " * 1_000_000 + b"]}", content_type="application/json")
        case "redirect":
            return web.Response(status=302, headers={"Location": f"{one.url}/keys"})
        case "html":
            return web.Response(text="<html>maintenance</html>", content_type="text/html")
        case "deep":
            return web.Response(body=b'{"keys":' + b"[" * 100_000, content_type="application/json")
    return None


async def _introspection(one: Issuer, request: web.Request) -> web.StreamResponse:
    form = dict(await request.post())
    one.introspected.append((request.headers.get("Authorization", ""), form))
    failed = await _failure(one)
    if failed is not None:
        return failed
    return web.json_response(one.opaque.get(str(form.get("token")), {"active": False}))


def edwards_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()
