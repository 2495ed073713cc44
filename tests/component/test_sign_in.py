"""People sign in to the console over real HTTP, at a scripted issuer: what is honest goes through, and no forgery does."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest

from broker.core.messages import text
from broker.errors import ConfigurationError
from broker.settings import Settings
from registry.model import Gestionnaire
from tests.support.audited import client, code, codes, events, query, request_entity
from tests.support.certificates import Authority
from tests.support.console_visitor import Visitor, visitor
from tests.support.secured import Secured, clients_file, secured
from tests.support.sign_in import CLIENT, Desk, desk
from tests.support.valkey import Valkey
from tests.support.waiting import until

NOBODY = "http://127.0.0.1:9/fhir"


@pytest.fixture
async def people() -> AsyncIterator[Desk]:
    async with desk() as made:
        yield made


@asynccontextmanager
async def console(valkey: Valkey, people: Desk, **settings: Any) -> AsyncIterator[tuple[Secured, Visitor]]:
    async with (
        secured(valkey, people.one, **people.settings(**settings)) as broker,
        visitor(broker.root) as guest,
    ):
        await broker.running.store.put(Gestionnaire("bre", "Bretagne", "53", NOBODY))
        await broker.running.managers.refresh()
        yield broker, guest


async def came_back(guest: Visitor, page: str = "/console") -> str:
    """The address at which the issuer sends the browser back, not followed."""
    begun = await guest.get(f"/console/login?next={page}", follow=False)
    assert begun.status == 303
    async with guest.http.get(begun.headers["Location"], allow_redirects=False) as answer:
        return answer.headers["Location"].removeprefix(guest.root)


def changed(address: str, **values: str | None) -> str:
    path, _, asked = address.partition("?")
    found = {name: value[0] for name, value in parse_qs(asked).items()}
    found |= {name: value for name, value in values.items() if value is not None}
    return f"{path}?{urlencode({name: found[name] for name in found if name not in values or values[name] is not None})}"


async def test_somebody_signs_in_and_is_led_to_the_page_that_they_asked_for(
    valkey: Valkey, people: Desk
) -> None:
    async with console(valkey, people) as (broker, guest):
        first = await guest.get("/console/registry", follow=False)
        assert first.status == 302
        assert first.headers["Location"] == "/console/login?next=/console/registry"
        assert first.headers["Cache-Control"] == "no-store"
        assert (await guest.get("/console/registry")).status == 200
        assert guest.urls[-1] == f"{broker.root}/console/registry"
        assert "Signed in: Camille EXEMPLE" in guest.text
        (asked,) = people.authorized
        assert asked["redirect_uri"] == f"{broker.root}/console/callback"
        assert asked["scope"].startswith("openid profile ")
        assert len(asked["code_challenge"]) == 43
        assert (await guest.get("/console/synchronisation")).status == 200
        assert len(people.authorized) == 1, "and stays signed in"


async def test_a_public_client_has_pkce_alone(valkey: Valkey, people: Desk) -> None:
    people.secret = None
    async with console(valkey, people) as (_, guest):
        assert (await guest.get("/console")).status == 200
        assert people.tokens[0]["client_id"] == CLIENT
        assert len(people.tokens[0]["code_verifier"]) == 43


async def test_a_secret_goes_as_the_issuer_takes_it(valkey: Valkey, people: Desk, tmp_path: Path) -> None:
    people.one.told["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    file = tmp_path / "secret"
    file.write_text(f"{people.secret}\n")
    settings = people.settings()
    del settings["console_client_secret"]
    async with (
        secured(valkey, people.one, **settings, console_client_secret_file=file) as broker,
        visitor(broker.root) as guest,
    ):
        assert (await guest.get("/console")).status == 200
        assert people.tokens[0]["client_secret"] == people.secret


async def test_the_cookie_holds_a_name_and_scripts_do_not_see_it(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        done = await guest.get(await came_back(guest), follow=False)
        assert done.status == 303
        (kept,) = [one for one in done.headers.getall("Set-Cookie") if one.startswith("cds_session=")]  # type: ignore[attr-defined]  # a multidict
        assert re.fullmatch(r"cds_session=[\w-]{43}; HttpOnly; Path=/console; SameSite=Lax", kept), kept
        everything = " ".join(guest.cookies.values())
        for token in people.issued:
            assert token.split(".")[1] not in everything


async def test_what_lies_in_the_store_tells_nothing(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (broker, guest):
        await guest.get("/console")
        held = broker.running.store._client  # type: ignore[attr-defined]  # the same server
        keys = [key async for key in held.scan_iter(match=f"{valkey.keys.prefix}:session:*")]
        (key,) = keys
        assert guest.cookies["cds_session"].encode() not in key
        blob = await held.get(key)
        for secret in (people.issued[0], "Camille", "u-1", "refresh-"):
            assert secret.encode() not in blob
        assert 0 < await held.ttl(key) <= 1_800


async def test_the_cookie_counts_under_the_console_alone(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        assert (await guest.get("/console/registry")).status == 200
        kept = f"cds_session={guest.cookies['cds_session']}"
        guest.headers["Cookie"] = kept
        for path in ("/registry/gestionnaires", "/fhir/CareTeam", "/metrics", "/consoles"):
            assert (await guest.get(path, follow=False)).status == 401, path
        async with aiohttp.ClientSession() as bare:
            async with bare.get(f"{guest.root}/console/events", headers={"Cookie": kept}) as stream:
                assert (stream.status, stream.content_type) == (200, "text/event-stream")
            async with bare.get(f"{guest.root}/console/events") as stream:
                assert stream.status == 401, "a stream is never led anywhere"


async def test_only_whoever_goes_to_a_page_is_led_to_sign_in(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        assert (await guest.post("/console/registry/bre/suspend")).status == 401
        assert 'href="/console/login"' in guest.page
        guest.headers["Sec-Fetch-Mode"] = "cors"
        assert (await guest.get("/console", follow=False)).status == 401
        guest.headers["Sec-Fetch-Mode"] = "navigate"
        assert (await guest.get("/console", follow=False)).status == 302
        guest.headers["Accept"] = "application/json"
        assert (await guest.get("/console", follow=False)).status == 401
        guest.headers["Accept"] = "text/html"
        guest.headers["Authorization"] = "Bearer nonsense"
        assert (await guest.get("/console", follow=False)).status == 401, (
            "a proxy's token: no sign-in mends it"
        )


ELSEWHERE = [
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "/console//evil.example",
    "/console/../fhir",
    "/console/logout",
    "/console/login",
    "/fhir/metadata",
    "/console/x%0d%0aSet-Cookie:%20a=b",
    "javascript:alert(1)",
]


async def test_nobody_is_led_out_of_the_console(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        for wanted in ELSEWHERE:
            done = await guest.get(await came_back(guest, wanted), follow=False)
            assert (done.status, done.headers["Location"]) == (303, "/console"), wanted


# --- forged


@dataclass(frozen=True)
class Refused:
    status: int
    text: str
    page: str


async def refused(guest: Visitor, address: str) -> Refused:
    """Not signed in by it."""
    answered = await guest.get(address, follow=False)
    assert answered.status >= 400, answered.status
    told = Refused(answered.status, guest.text, guest.page)
    assert 'href="/console/login"' in told.page, "one may begin again"
    assert "cds_session" not in guest.cookies
    assert (await guest.get("/console", follow=False)).status == 302
    return told


async def test_a_sign_in_ends_in_the_browser_that_began_it(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (broker, guest), visitor(broker.root) as other:
        theirs = await came_back(other)
        assert (await refused(guest, theirs)).status == 400
        await came_back(guest)
        assert (await refused(guest, theirs)).status == 400, "nor with a sign-in of one's own under way"
        assert people.tokens == [], "nobody asked for a token"
        assert (await other.get(theirs)).status == 200


async def test_another_state_is_refused(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        address = await came_back(guest)
        state = parse_qs(urlsplit(address).query)["state"][0]
        for forged in ("x" * 43, state[:-1] + ("A" if state[-1] != "A" else "B"), state[:12], f"{state}x"):
            assert (await refused(guest, changed(address, state=forged))).status == 400
        for missing in (
            changed(address, state=None),
            changed(address, code=None),
            f"{address}&state={state}",
        ):
            assert (await refused(guest, missing)).status == 400
        assert people.tokens == []


async def test_a_code_comes_back_once(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        address = await came_back(guest)
        kept = "; ".join(f"{name}={value}" for name, value in guest.cookies.items())
        assert (await guest.get(address, follow=False)).status == 303
        first = guest.cookies["cds_session"]
        again = await guest.get(address, follow=False)
        assert again.status == 400
        assert guest.cookies["cds_session"] == first, "who was signed in stays so"
        async with (
            aiohttp.ClientSession() as thief,
            thief.get(guest.root + address, headers={"Cookie": kept}, allow_redirects=False) as answer,
        ):
            assert answer.status == 400, "nor with a copy of the cookie"
            assert "Set-Cookie" not in answer.headers or "cds_session" not in answer.headers["Set-Cookie"]
        assert len(people.tokens) == 1


async def test_a_cookie_that_was_changed_is_none(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        address = await came_back(guest)
        (name,) = [one for one in guest.cookies if one.startswith("cds_sign_in_")]
        good = guest.cookies[name]
        async with aiohttp.ClientSession() as bare:
            for value in (good[:-2] + "AA", good[:60], "", "é", "x" * 5_000, "A" + good[1:]):
                headers = {"Cookie": f"{name}={value}"}
                async with bare.get(guest.root + address, headers=headers, allow_redirects=False) as answer:
                    assert answer.status == 400, value
        assert people.tokens == []
        assert (await guest.get(address, follow=False)).status == 303


async def test_an_issuer_that_names_itself_is_the_one_or_refused(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        for other in ("https://else.example", people.one.url + "/", None):
            people.back = {"iss": other}
            answered = await refused(guest, await came_back(guest))
            assert answered.status == 400, other
            assert "does not come from the expected identity provider" in answered.text
        people.back = {"code": None, "error": "access_denied", "iss": "https://else.example"}
        assert (await refused(guest, await came_back(guest))).status == 400
        assert people.tokens == []


async def test_an_issuer_that_does_not_say_so_need_not_name_itself(valkey: Valkey, people: Desk) -> None:
    del people.one.told["authorization_response_iss_parameter_supported"]
    people.back = {"iss": None}
    async with console(valkey, people) as (_, guest):
        assert (await guest.get("/console")).status == 200


IDENTITIES: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "x" * 43},
    "no nonce": {"nonce": None},
    "for somebody else": {"aud": "another"},
    "for somebody else too, and nobody says who asked": {"aud": [CLIENT, "another"]},
    "asked for by somebody else": {"azp": "another"},
    "of another issuer": {"iss": "https://else.example"},
    "expired": {"exp": 1_000_000},
    "without an end": {"exp": None},
    "of tomorrow": {"iat": 9_999_999_999},
    "of nobody": {"sub": None},
    "beside another access token": {"at_hash": "A" * 22},
}


async def test_an_identity_that_is_not_good_is_refused(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        for name, claims in IDENTITIES.items():
            people.identity = claims
            assert (await refused(guest, await came_back(guest))).status == 401, name
        people.identity = {}
        assert (await guest.get("/console")).status == 200


async def test_an_identity_that_is_not_signed_by_the_issuer_is_refused(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        good = people.one.token(aud=CLIENT)
        head, _, signature = good.split(".")
        access = people.one.token(aud=CLIENT, headers={"typ": "at+jwt"})
        for forged in (
            f"{head}.{people.one.token(aud=CLIENT, sub='other').split('.')[1]}.{signature}",
            good.rpartition(".")[0] + ".",
            access,
            "nonsense",
            None,
        ):
            people.answer = {"id_token": forged}
            assert (await refused(guest, await came_back(guest))).status == 401


ACCESSES: list[tuple[dict[str, Any], int]] = [
    ({"aud": "https://else.example"}, 401),
    ({"iss": "https://else.example"}, 401),
    ({"exp": 1_000_000}, 401),
    ({"cnf": {"x5t#S256": "A" * 43}}, 401),
    ({"sub": "u-2"}, 403),
]


async def test_an_access_token_is_judged_as_any(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        for claims, status in ACCESSES:
            people.access = claims
            assert (await refused(guest, await came_back(guest))).status == status, claims


UNUSABLE: list[dict[str, Any]] = [
    {"token_type": "mac"},
    {"access_token": None},
    {"access_token": "a\r\nX: 1"},
    {"access_token": "x" * 20_000},
]


async def test_an_answer_that_cannot_be_used_is_the_issuers_fault(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        for answer in UNUSABLE:
            people.answer = answer
            assert (await refused(guest, await came_back(guest))).status == 503


async def test_whoever_is_denied_is_told_so(valkey: Valkey, people: Desk) -> None:
    people.mode = "denied"
    async with console(valkey, people) as (_, guest):
        answered = await guest.get("/console")
        assert answered.status == 403
        assert "did not give access, or you declined" in guest.text
        assert 'href="/console/login"' in guest.page
        people.mode, people.back = (
            "ok",
            {"code": None, "error": "x<script>", "error_description": "nobody reads this"},
        )
        assert (await guest.get("/console")).status == 502
        assert "script>" not in guest.page.partition("<main")[2]
        assert "nobody reads this" not in guest.page


async def test_an_issuer_that_is_away_is_said_to_be(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        people.mode = "down"
        assert (await guest.get("/console")).status == 503
        people.mode = "ok"
        assert (await guest.get("/console")).status == 200
    people.one.mode = "down"
    async with console(valkey, people) as (_, guest):
        assert (await guest.get("/console/login")).status == 503
        assert "gives no usable answer" in guest.text


async def test_how_people_show_who_they_are_can_be_demanded(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people, console_acr="eidas1 eidas2") as (_, guest):
        assert (await guest.get("/console")).status == 403
        assert people.authorized[0]["acr_values"] == "eidas1 eidas2"
        people.identity = {"acr": "eidas1"}
        assert (await guest.get("/console")).status == 200


# --- rights


async def test_roles_come_from_the_access_token(valkey: Valkey, people: Desk) -> None:
    people.scope = "user/CareTeam.rs"
    async with console(valkey, people) as (_, guest):
        assert (await guest.get("/console")).status == 403
        assert "The role console is needed" in guest.text
        assert "Signed in: Camille EXEMPLE" in guest.text
        assert ">Sign out<" in guest.page
    people.scope = "cds/console"
    async with console(valkey, people) as (_, guest):
        assert (await guest.get("/console")).status == 200
        assert (await guest.get("/console/registry")).status == 403


async def test_clients_are_bounded_as_any_and_taken_out_at_once(
    valkey: Valkey, people: Desk, tmp_path: Path
) -> None:
    file = clients_file(tmp_path / "clients.toml", f'[[client]]\nid = "{CLIENT}"\nscopes = ["cds/console"]\n')
    async with console(valkey, people, clients=file) as (broker, guest):
        assert (await guest.get("/console")).status == 200
        assert (await guest.get("/console/registry")).status == 403, (
            "granted by the issuer, not to this client"
        )
        clients_file(file, '[[client]]\nid = "other"\nscopes = ["cds/console"]\n')
        await broker.running.access.reread()
        assert (await guest.get("/console", follow=False)).status == 403


async def test_two_people_of_one_client_are_two(valkey: Valkey, people: Desk) -> None:
    """Also where the access token says nothing of a person."""
    people.scope = "cds/console cds/registry.read cds/registry.write"
    async with console(valkey, people) as (broker, guest), visitor(broker.root) as other:
        await guest.get("/console/registry")
        people.person = {"sub": "u-2", "name": "Alix MODÈLE"}
        await other.get("/console/registry")
        assert "Signed in: Alix MODÈLE" in other.text
        other.page = guest.page
        other.http.cookie_jar.update_cookies({"cds_visit": guest.cookies["cds_visit"]})
        assert (await other.post("/console/registry/bre/suspend")).status == 400, "a form is one person's"


# --- sessions


async def test_tokens_are_renewed_and_a_browser_notices_nothing(valkey: Valkey, people: Desk) -> None:
    people.seconds = 1
    async with console(valkey, people) as (_, guest):
        assert (await guest.get("/console")).status == 200
        assert await eventually(guest, lambda: len(people.tokens) >= 2)
        assert {form["grant_type"] for form in people.tokens[1:]} == {"refresh_token"}
        assert len(people.authorized) == 1


async def eventually(guest: Visitor, done: Any) -> bool:
    """Pages are looked at until then; each is shown."""

    async def looked() -> bool:
        assert (await guest.get("/console", follow=False)).status == 200
        return bool(done())

    await until(looked, seconds=5)
    return True


async def test_a_refresh_token_is_used_once_however_many_ask(valkey: Valkey, people: Desk) -> None:
    people.seconds = 1
    async with console(valkey, people) as (broker, guest):
        await guest.get("/console")
        people.seconds = 300
        settings = people.settings(public_url=broker.running.base_url)
        async with secured(valkey, people.one, **settings) as another:
            await asyncio.sleep(0.6)  # half of its life is over
            kept = {"Cookie": f"cds_session={guest.cookies['cds_session']}", "Accept": "text/html"}
            async with aiohttp.ClientSession() as bare:

                async def asked(root: str) -> int:
                    async with bare.get(f"{root}/console", headers=kept, allow_redirects=False) as answer:
                        return answer.status

                roots = [broker.root, another.root] * 6
                assert {*await asyncio.gather(*map(asked, roots))} == {200}
        assert len(people.tokens) == 2


async def test_what_the_issuer_revoked_ends_here(valkey: Valkey, people: Desk) -> None:
    people.seconds = 1
    async with console(valkey, people) as (_, guest):
        await guest.get("/console/registry")
        people.refresh.clear()

        async def over() -> bool:
            return (await guest.get("/console/registry", follow=False)).status == 302

        await until(over, seconds=5)
        people.seconds = 300
        assert (await guest.get("/console/registry")).status == 200, "signed in again, at the same page"
        assert guest.urls[-1].endswith("/console/registry")
        assert len(people.authorized) == 2


async def test_renewed_tokens_are_the_same_persons(valkey: Valkey, people: Desk) -> None:
    people.seconds = 1
    async with console(valkey, people) as (_, guest):
        await guest.get("/console")
        people.person = {"sub": "u-2", "name": "Alix MODÈLE"}

        async def refused() -> bool:
            return (await guest.get("/console", follow=False)).status in (302, 403)

        await until(refused, seconds=5)


async def test_a_session_ends_when_nobody_uses_it(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people, console_session_idle=1) as (_, guest):
        await guest.get("/console")

        async def over() -> bool:
            guest.headers["Sec-Fetch-Mode"] = "cors"  # what a page asks by itself keeps no session up
            return (await guest.get("/console", follow=False)).status == 401

        await until(over, seconds=4)


async def test_a_session_ends_in_any_case(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people, console_session=1) as (_, guest):
        await guest.get("/console")

        async def over() -> bool:
            return (await guest.get("/console", follow=False)).status == 302

        await until(over, seconds=4)


async def test_signing_out_ends_it_everywhere(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (broker, guest):
        await guest.get("/console")
        kept = guest.cookies["cds_session"]
        left = await guest.post("/console/logout")
        assert left.status == 200
        onward = re.search(r'http-equiv="refresh" content="0; url=([^"]*)"', guest.page)
        assert onward is not None
        assert people.revoked == ["refresh-2"]
        assert "cds_session" not in guest.cookies
        async with guest.http.get(onward[1].replace("&amp;", "&")) as answer:
            assert str(answer.url) == f"{broker.root}/console/signed-out"
            assert "Vous êtes déconnecté" in await answer.text()
        (told,) = people.left
        assert told["client_id"] == CLIENT
        assert told["id_token_hint"].count(".") == 2
        async with aiohttp.ClientSession() as bare:
            headers = {"Cookie": f"cds_session={kept}", "Accept": "text/html"}
            async with bare.get(f"{broker.root}/console", headers=headers, allow_redirects=False) as answer:
                assert answer.status == 302, "the name is nobody's any more"
        again = await guest.post("/console/logout")
        assert again.status == 200
        assert guest.urls[-1].endswith("/console/signed-out")


async def test_nobody_is_signed_out_by_another_site(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        await guest.get("/console")
        assert (await guest.post("/console/logout", csrf="x" * 60)).status == 400
        await guest.get("/console")
        guest.headers["Sec-Fetch-Site"] = "cross-site"
        assert (await guest.post("/console/logout")).status == 400
        del guest.headers["Sec-Fetch-Site"]
        assert (await guest.get("/console/logout", follow=False)).status == 405, "nor by a link"
        assert (await guest.get("/console", follow=False)).status == 200


async def test_one_signs_out_while_the_issuer_is_away(valkey: Valkey, people: Desk) -> None:
    del people.one.told["end_session_endpoint"]
    async with console(valkey, people) as (_, guest):
        await guest.get("/console")
        people.mode = "down"
        assert (await guest.post("/console/logout")).status == 200
        assert guest.urls[-1].endswith("/console/signed-out")
        assert (await guest.get("/console", follow=False)).status == 302


async def test_a_session_goes_with_the_store_from_one_broker_to_another(valkey: Valkey, people: Desk) -> None:
    """As behind a balancer: begun at one, ended at the other, a page at either."""
    async with console(valkey, people) as (broker, guest):
        settings = people.settings(public_url=broker.running.base_url)
        async with secured(valkey, people.one, **settings) as another:
            address = await came_back(guest, "/console/registry")
            guest.root = another.root
            done = await guest.get(address, follow=False)
            assert (done.status, done.headers["Location"]) == (303, "/console/registry")
            assert (await guest.get("/console/registry")).status == 200
            guest.root = broker.root
            assert (await guest.get("/console/registry")).status == 200
            assert "Signed in: Camille EXEMPLE" in guest.text
            assert (await guest.post("/console/logout")).status == 200
            guest.root = another.root
            assert (await guest.get("/console/registry", follow=False)).status == 302


async def test_a_new_sign_in_has_a_new_name(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (broker, guest):
        await guest.get("/console")
        first = guest.cookies["cds_session"]
        await guest.get("/console/login")
        assert guest.cookies["cds_session"] != first
        async with aiohttp.ClientSession() as bare:
            headers = {"Cookie": f"cds_session={first}", "Accept": "text/html"}
            async with bare.get(f"{broker.root}/console", headers=headers, allow_redirects=False) as answer:
                assert answer.status == 302
        for planted in ("x" * 43, "x", "é" * 40):
            async with aiohttp.ClientSession() as bare:
                headers = {"Cookie": f"cds_session={planted}", "Accept": "text/html"}
                async with bare.get(
                    f"{broker.root}/console", headers=headers, allow_redirects=False
                ) as answer:
                    assert answer.status == 302


async def test_several_pages_sign_in_at_a_time(valkey: Valkey, people: Desk) -> None:
    """As when a browser opens again with all of its tabs."""
    async with console(valkey, people) as (_, guest):
        one, other = (
            await came_back(guest, "/console/registry"),
            await came_back(guest, "/console/synchronisation"),
        )
        assert (await guest.get(one, follow=False)).headers["Location"] == "/console/registry"
        assert (await guest.get(other, follow=False)).headers["Location"] == "/console/synchronisation"
        for _ in range(20):
            await came_back(guest)
        assert len([name for name in guest.cookies if name.startswith("cds_sign_in")]) <= 8


# --- traces


async def test_signing_in_and_out_and_failing_to_leave_traces_and_no_code(
    valkey: Valkey, people: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    people.person["SubjectNameID"] = "899700000017"
    async with console(valkey, people, audit="file", data_dir=tmp_path) as (_, guest):
        people.mode = "denied"
        await guest.get("/console/login")
        people.mode, people.identity = "ok", {"nonce": "x"}
        await guest.get("/console/login")
        people.identity = {}
        await guest.get("/console/login")
        await guest.post("/console/logout")
        await guest.get("/console/callback?code=only")
    written = events(tmp_path / "audit")
    assert codes(written) == ["110122", "110122", "110122", "110123", "110122"]
    assert {one["type"]["code"] for one in written} == {"110114"}
    assert [one["outcome"] for one in written] == ["4", "4", "0", "0", "4"]
    assert [client(one) for one in written] == [None, None, CLIENT, CLIENT, None]
    assert [one.get("outcomeDesc") for one in written] == [
        "console.login-denied",
        "access.claim",
        None,
        None,
        "console.login-malformed",
    ]
    for one in written[2:4]:
        (person,) = [agent for agent in one["agent"] if agent["requestor"]]
        assert person["who"]["identifier"] == {
            "system": "https://rpps.esante.gouv.fr",
            "value": "99700000017",
        }
        assert person["name"] == "Camille EXEMPLE"
    assert all(query(one) is None for one in written)
    assert all(request_entity(one)["detail"] for one in written)
    logged = caplog.text
    for secret in (
        "code-",
        "refresh-",
        "Camille",
        "u-1",
        "899700000017",
        *people.issued,
        "state=",
        "id_token",
    ):
        assert secret not in logged, secret
        assert secret == "u-1" or secret not in str(written) or secret == "Camille"


async def test_what_is_done_after_is_the_persons(valkey: Valkey, people: Desk, tmp_path: Path) -> None:
    people.scope = "cds/console cds/registry.read cds/registry.write"
    async with console(valkey, people, audit="file", data_dir=tmp_path) as (_, guest):
        await guest.get("/console/registry")
        await guest.post("/console/registry/bre/suspend")
    done = next(one for one in events(tmp_path / "audit") if code(one) == "console/registry/suspend")
    assert done["outcome"] == "0"
    assert client(done) == CLIENT
    assert [agent["who"]["identifier"]["value"] for agent in done["agent"] if agent["requestor"]] == ["u-1"]


# --- by https, and where it is not to be


async def test_by_https_no_other_host_can_set_the_cookies(
    valkey: Valkey, people: Desk, tmp_path: Path
) -> None:
    authority = Authority("AC of servers")
    trust = ssl.create_default_context(cafile=authority.written(tmp_path / "ca.pem"))
    certificate = authority.server().written(tmp_path / "server.pem")
    connector = aiohttp.TCPConnector(ssl=trust)
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        secured(valkey, people.one, **people.settings(tls_cert=certificate)) as broker,
        aiohttp.ClientSession(connector=connector, cookie_jar=jar, headers={"Accept": "text/html"}) as http,
    ):
        assert broker.root.startswith("https://")
        async with http.get(f"{broker.root}/console") as page:
            assert page.status == 200
            set_at = [one for each in page.history for one in each.headers.getall("Set-Cookie", [])]
        assert people.authorized[0]["redirect_uri"] == f"{broker.root}/console/callback"
        kept = [one for one in set_at if "cds_visit" not in one]
        assert len(kept) == 3, "the sign-in, its end, the session"
        for one in kept:
            assert one.startswith("__Host-cds_"), one
            for attribute in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
                assert attribute in one.split("; "), one
            assert "Domain" not in one
        name = next(one.value for one in jar if one.key == "__Host-cds_session")
        plain = {"Cookie": f"cds_session={name}"}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as bare,
            bare.get(f"{broker.root}/console", headers=plain) as page,
        ):
            assert page.status == 401, "not by a name that another host could set"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"public_url": "http://broker.example/fhir"}, "needs an https address"),
        ({"oidc_audience": f"https://broker.example/fhir,{CLIENT}"}, "an ID token would pass"),
        ({"oidc_bound": True, "trusted_proxies": "10.0.0.0/8"}, "CDS_OIDC_BOUND=true"),
        ({"oidc_jti": "once"}, "CDS_OIDC_JTI=once"),
    ],
)
async def test_where_signing_in_would_not_be_safe_the_broker_does_not_start(
    valkey: Valkey, people: Desk, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with secured(valkey, people.one, **people.settings(**settings)):
            pass
    assert told in text(caught.value.key, "en", **caught.value.params)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"console_scopes": "cds/console"}, "openid"),
        ({"console_scopes": "openid  x"}, "openid"),
        ({"console_client_secret": "x", "console_client_secret_file": "y"}, "exclude each other"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(console_client_id=CLIENT, **settings)
    assert told in text(caught.value.key, "en", **caught.value.params)


# --- off


async def test_without_a_client_id_there_is_nothing_of_it(valkey: Valkey, people: Desk) -> None:
    async with secured(valkey, people.one) as broker, visitor(broker.root) as guest:
        assert (await guest.get("/console")).status == 401
        assert "A proxy that authenticates people may add that header" in guest.text
        assert "/console/login" not in guest.page
        for path in ("/console/login", "/console/callback?code=x&state=y", "/console/signed-out"):
            assert (await guest.get(path)).status == 404
        assert (await guest.post("/console/logout")).status == 404
        guest.headers["Cookie"] = f"cds_session={'x' * 43}"
        assert (await guest.get("/console")).status == 401


async def test_a_proxys_token_goes_on_to_serve(valkey: Valkey, people: Desk) -> None:
    async with console(valkey, people) as (_, guest):
        guest.headers["Authorization"] = f"Bearer {people.one.token(scope='cds/console')}"
        assert (await guest.get("/console", follow=False)).status == 200
        assert ">Sign out<" not in guest.page
