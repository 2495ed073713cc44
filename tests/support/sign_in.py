"""An issuer at which people sign in, scripted: authorization, tokens for codes, renewal, revocation, the end of its session.

async with desk() as people:
    async with secured(valkey, people.one, **people.settings()) as broker, visitor(broker.root) as guest:
        await guest.get("/console")
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlencode

from aiohttp import web

from tests.support.issuer import Issuer, issuer

Json = dict[str, Any]

CLIENT = "console"
SECRET = "a secret: + %"
EVERYTHING = "cds/console cds/registry.read cds/registry.write cds/sync.read cds/audit.read user/*.rs"


@dataclass
class Desk:
    """`person`: claims of whoever signs in. `scope`: what they are granted. `silent`: they are signed in there already;
    else a page asks them. `identity`, `access`: claims put in the place of good ones, None takes one away. `answer`: the
    same of the token answer. `back`: the same of what the browser is sent back with. `seconds`: for which access tokens are
    said to be good.
    """

    one: Issuer
    person: Json = field(default_factory=lambda: {"sub": "u-1", "name": "Camille EXEMPLE"})
    scope: str = EVERYTHING
    secret: str | None = SECRET
    silent: bool = True
    mode: str = "ok"
    identity: Json = field(default_factory=dict)
    access: Json = field(default_factory=dict)
    answer: Json = field(default_factory=dict)
    back: Json = field(default_factory=dict)
    seconds: int = 300
    authorized: list[Json] = field(default_factory=list)
    tokens: list[Json] = field(default_factory=list)
    """Forms of the questions for tokens."""
    issued: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    left: list[Json] = field(default_factory=list)
    codes: dict[str, Json] = field(default_factory=dict)
    refresh: set[str] = field(default_factory=set)
    number: Any = field(default_factory=lambda: itertools.count(1))

    def settings(self, **more: Any) -> Json:
        given: Json = {"console_client_id": CLIENT}
        if self.secret is not None:
            given["console_client_secret"] = self.secret
        return given | more

    def granted(self, asked: Json) -> Json:
        number = next(self.number)
        # A number of its own: two tokens of one second are two.
        usual = {"sub": self.person["sub"], "client_id": CLIENT, "scope": self.scope, "jti": f"t{number}"}
        access = self.one.token(**(usual | self.access))
        identity = {
            "aud": CLIENT,
            "client_id": None,
            "scope": None,
            "nonce": asked.get("nonce"),
            **self.person,
        }
        half = hashlib.sha256(access.encode()).digest()[:16]
        identity["at_hash"] = base64.urlsafe_b64encode(half).decode().rstrip("=")
        refresh = f"refresh-{number}"
        self.refresh.add(refresh)
        self.issued.append(access)
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.seconds,
            "refresh_token": refresh,
            "id_token": self.one.token(**(identity | self.identity)),
        } | self.answer
        return {name: value for name, value in answer.items() if value is not None}


@asynccontextmanager
async def desk(name: str = "127.0.0.1", **given: Any) -> AsyncIterator[Desk]:
    made: list[Desk] = []

    def routes(one: Issuer) -> Iterable[web.RouteDef]:
        people = Desk(one, **given)
        made.append(people)

        async def authorize(request: web.Request) -> web.Response:
            return _authorize(people, request)

        async def token(request: web.Request) -> web.Response:
            return await _token(people, request)

        async def revoke(request: web.Request) -> web.Response:
            people.revoked.append(str((await request.post())["token"]))
            return web.Response()

        async def leave(request: web.Request) -> web.Response:
            people.left.append(dict(request.query))
            raise web.HTTPFound(request.query["post_logout_redirect_uri"])

        yield web.get("/authorize", authorize)
        yield web.post("/token", token)
        yield web.post("/revoke", revoke)
        yield web.get("/logout", leave)

    async with issuer(routes, name=name) as one:
        one.told = {
            "authorization_endpoint": f"{one.url}/authorize",
            "token_endpoint": f"{one.url}/token",
            "revocation_endpoint": f"{one.url}/revoke",
            "end_session_endpoint": f"{one.url}/logout",
            "authorization_response_iss_parameter_supported": True,
        }
        yield made[0]


def _authorize(people: Desk, request: web.Request) -> web.Response:
    asked = dict(request.query)
    if "yes" not in asked:
        people.authorized.append(asked)
    assert asked["response_type"] == "code"
    assert asked["client_id"] == CLIENT
    assert asked["code_challenge_method"] == "S256"
    if not people.silent and "yes" not in asked:
        action = html.escape(f"/authorize?{urlencode(asked)}&yes=1")
        head = "<!doctype html><html lang=en><title>Issuer</title><link rel=icon href='data:,'>"
        page = f"{head}<p><a href='{action}'>Sign in as Camille</a></p>"
        return web.Response(text=page, content_type="text/html")
    code = f"code-{next(people.number)}"
    people.codes[code] = asked
    back = {"code": code, "state": asked["state"], "iss": people.one.url}
    if people.mode == "denied":
        back = {"error": "access_denied", "state": asked["state"], "iss": people.one.url}
    back |= people.back
    sent = urlencode({name: value for name, value in back.items() if value is not None})
    raise web.HTTPFound(f"{asked['redirect_uri']}?{sent}")


async def _token(people: Desk, request: web.Request) -> web.Response:
    form = {name: str(value) for name, value in (await request.post()).items()}
    people.tokens.append(form)
    if people.mode == "down":
        return web.Response(status=503)
    if not _proven(people, request, form):
        return web.json_response({"error": "invalid_client"}, status=401)
    asked = _redeemed(people, form)
    if asked is None:
        return web.json_response({"error": "invalid_grant"}, status=400)
    return web.json_response(people.granted(asked), headers={"Cache-Control": "no-store"})


def _proven(people: Desk, request: web.Request, form: Json) -> bool:
    given = request.headers.get("Authorization", "")
    if people.secret is None:
        return form.get("client_id") == CLIENT and not given
    if form.get("client_secret") is not None:
        return (form["client_id"], form["client_secret"]) == (CLIENT, people.secret)
    client, _, secret = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
    return (unquote_plus(client), unquote_plus(secret)) == (CLIENT, people.secret)


def _redeemed(people: Desk, form: Json) -> Json | None:
    """What was asked for with the code, or nothing again with a refresh token: either serves once."""
    if form["grant_type"] == "refresh_token":
        if form["refresh_token"] not in people.refresh:
            return None
        people.refresh.discard(form["refresh_token"])
        return {}
    asked = people.codes.pop(form["code"], None)
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    proof = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    if asked is None or asked["code_challenge"] != proof or asked["redirect_uri"] != form["redirect_uri"]:
        return None
    return asked
