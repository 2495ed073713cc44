"""A manager is changed at the console: what is kept, what is refused, who may, and that nobody's change is lost."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from registry.model import Auth, AuthType, Gestionnaire, Registered
from tests.support.audited import codes, events
from tests.support.console_visitor import Visitor, visitor
from tests.support.federation import Broker, federation
from tests.support.issuer import issuer
from tests.support.secured import secured
from tests.support.valkey import Valkey
from tests.support.write_federation import address

EDIT = "/console/registry/bre/edit"
BRE = Gestionnaire(
    "bre",
    "Bretagne",
    "53",
    "http://127.0.0.1:9/fhir",
    timeout=0.5,
    auth=Auth(AuthType.BEARER, token_env="BRE_TOKEN"),
    tls_ca="/nowhere/authority.pem",
)
NOR = Gestionnaire("nor", "Normandie", "28", "http://127.0.0.1:19/fhir")


@asynccontextmanager
async def console(valkey: Valkey, **settings: Any) -> AsyncIterator[tuple[Broker, Visitor]]:
    async with federation(valkey, BRE, NOR, **settings) as broker, visitor(address(broker)) as guest:
        yield broker, guest


def fields(page: str) -> dict[str, str]:
    """Of the form of a manager, as a browser would send them."""
    form = re.search(r'<form method="post" action="[^"]*/edit".*?</form>', page, re.DOTALL)
    assert form is not None
    found = {}
    for tag in re.findall(r"<input [^>]*>", form[0]):
        given = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if given.get("type") != "checkbox" or " checked" in tag:
            found[given["name"]] = html.unescape(given["value"])
    for name, options in re.findall(r'<select [^>]*name="(\w+)".*?>(.*?)</select>', form[0], re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return found


def registered(broker: Broker, slug: str = "bre") -> Registered:
    found = broker.running.managers.get(slug)
    assert found is not None
    return found


async def test_a_manager_is_changed_and_what_the_form_does_not_show_stays(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with console(valkey, audit="file", data_dir=tmp_path) as (broker, guest):
        await guest.get(EDIT)
        for secret in ("BRE_TOKEN", "authority.pem"):
            assert secret not in guest.page
        given = fields(guest.page)
        assert (given["name"], given["timeout"], given["revision"]) == ("Bretagne", "0.5", "1")
        changed = {"name": "Breizh", "timeout": "1,5", "max_connections": "4", "optional": "true"}
        more = {"dialect": "hapi", "search_method": "get", "territory": "22 29"}
        answered = await guest.send(EDIT, (given | changed | more))
        assert answered.status == 200
        assert "bre is changed, version 2." in guest.text
        now = registered(broker).gestionnaire
        assert (now.name, now.timeout, now.max_connections, now.optional) == ("Breizh", 1.5, 4, True)
        assert (now.dialect, now.search_method, now.territory) == ("hapi", "get", ("22", "29"))
        assert (now.auth, now.tls_ca) == (BRE.auth, BRE.tls_ca)
        await guest.get(EDIT)
        await guest.send(EDIT, fields(guest.page))
        assert "bre stayed as it was, version 2." in guest.text
    written = events(tmp_path / "audit")
    assert codes(written) == ["console/registry/edit"] * 2
    assert [one["outcome"] for one in written] == ["0", "0"]


async def test_nobody_writes_over_what_somebody_else_changed_meanwhile(valkey: Valkey) -> None:
    async with console(valkey) as (broker, guest):
        await guest.get(EDIT)
        mine = fields(guest.page)
        async with guest.http.get(f"{address(broker)}/registry/gestionnaires/bre") as answer:
            theirs = (await answer.json())["gestionnaire"]
        url = f"{address(broker)}/registry/gestionnaires/bre"
        async with guest.http.put(url, json=theirs | {"name": "Armorique", "timeout": 3}) as answer:
            assert answer.status == 200
        answered = await guest.send(EDIT, (mine | {"name": "Breizh"}))
        assert answered.status == 412
        assert registered(broker).gestionnaire.name == "Armorique"
        assert "Nothing was saved: somebody changed this manager meanwhile (version 2)" in guest.text
        assert "In the registry: Armorique" in guest.text
        again = fields(guest.page)
        assert (again["name"], again["timeout"], again["revision"]) == ("Breizh", "0.5", "2")
        assert (await guest.send(EDIT, again)).status == 200  # having seen it
        assert (registered(broker).gestionnaire.name, registered(broker).revision) == ("Breizh", 3)


async def test_of_many_that_save_the_same_version_one_does(valkey: Valkey) -> None:
    async with console(valkey) as (broker, guest):
        await guest.get(EDIT)
        mine, page = fields(guest.page), guest.page

        async def save(number: int) -> int:
            other = Visitor(guest.root, guest.http, page=page, headers=guest.headers)
            return (await other.send(EDIT, (mine | {"name": f"Bretagne {number}"}))).status

        statuses = await asyncio.gather(*(save(number) for number in range(6)))
        assert sorted(statuses) == [200, *[412] * 5]
        assert registered(broker).revision == 2


async def test_what_is_wrong_stands_at_its_field_and_nothing_is_lost(valkey: Valkey) -> None:
    async with console(valkey) as (broker, guest):
        await guest.get(EDIT)
        given = fields(guest.page)
        bad = {"name": "Breizh", "timeout": "0", "territory": "35 99", "max_connections": "0"}
        answered = await guest.send(EDIT, (given | bad))
        assert answered.status == 422
        for name in ("timeout", "territory", "max_connections"):
            assert f'id="wrong-{name}"' in guest.page, name
        assert fields(guest.page) == given | bad | {"csrf": fields(guest.page)["csrf"]}
        guest.headers["Accept-Language"] = "fr"
        await guest.send(EDIT, (given | bad | {"timeout": "bientôt"}))
        assert "nombre de secondes attendu" in guest.text
        answered = await guest.send(EDIT, (given | {"base_url": NOR.base_url}))
        assert answered.status == 409
        assert 'id="wrong-base_url"' in guest.page
        assert registered(broker).revision == 1
        for revision in ("", "-1", "x", "9" * 20):
            assert (await guest.send(EDIT, (given | {"revision": revision}))).status == 400
        assert (await guest.get("/console/registry/zzz/edit")).status == 404


async def test_one_that_was_removed_meanwhile_does_not_come_back(valkey: Valkey) -> None:
    async with console(valkey) as (broker, guest):
        await guest.get(EDIT)
        given = fields(guest.page)
        async with guest.http.delete(f"{address(broker)}/registry/gestionnaires/bre") as answer:
            assert answer.status == 204
        assert (await guest.send(EDIT, given)).status == 404
        assert broker.running.managers.get("bre") is None


async def test_who_may_only_look_at_the_registry_is_offered_no_change(valkey: Valkey) -> None:
    reads = "cds/console cds/registry.read"
    async with issuer() as one, secured(valkey, one) as broker, visitor(broker.root) as guest:
        await broker.running.store.put(BRE)
        await broker.running.managers.refresh()
        guest.headers["Authorization"] = f"Bearer {one.token(scope=reads)}"
        assert (await guest.get("/console/registry")).status == 200
        assert EDIT not in guest.page
        assert (await guest.get(EDIT)).status == 403
        assert (await guest.send(EDIT, {"revision": "1", "name": "Breizh"})).status == 403
        guest.headers["Authorization"] = f"Bearer {one.token(scope=reads + ' cds/registry.write')}"
        assert (await guest.get(EDIT)).status == 200
        assert 'value="Bretagne"' in guest.page
