"""The console's pages that show personal data: a purpose first, a trace of each access, no identity in an address."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.sandbox.app import RunningSandbox, running_sandbox
from broker.console.purpose import REFERENCE_SYSTEM, SYSTEM
from registry.model import REGIONS, Gestionnaire
from tests.support.audited import Json, client, code, codes, events, objects, persons, query
from tests.support.console_visitor import Visitor, visitor
from tests.support.federation import Broker, federation
from tests.support.fhir_builders import INS, INS_TEST, care_team, circles, patient, related_person
from tests.support.scripted_manager import scripted_manager
from tests.support.valkey import Valkey
from tests.support.waiting import until

SEARCH, AUDIT = "/console/search", "/console/audit"
CIRCLE = "/console/circle/bre.c1"
HELD = {"ins": INS[0], "ins_kind": "test"}


@dataclass
class World:
    broker: Broker
    box: RunningSandbox
    visitor: Visitor
    directory: Path

    @property
    def events(self) -> list[Json]:
        return events(self.directory / "audit")


def held() -> list[Json]:
    members = [{"member": {"reference": "RelatedPerson/r1"}, "period": {"start": "2025-02-01"}}]
    return [
        patient("p1"),
        related_person("r1"),
        care_team("c1", identifier="1", participant=members),
        *circles(12, prefix="x", subject="Patient/p1"),
    ]


@pytest.fixture
async def world(valkey: Valkey, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(running_sandbox(held()))
        managers = [
            Gestionnaire("bre", REGIONS["53"], "53", box.base_url),
            Gestionnaire("occ", REGIONS["76"], "76", "http://127.0.0.1:9/fhir", timeout=0.5),
        ]
        given: dict[str, Any] = {"audit": "file", "data_dir": tmp_path, "locator": True, "locator_poll": 0.2}
        broker = await stack.enter_async_context(federation(valkey, *managers, **given))
        one = await stack.enter_async_context(visitor(broker.base_url.removesuffix("/fhir")))
        yield World(broker, box, one, tmp_path)


@pytest.mark.parametrize("path", [SEARCH, CIRCLE, AUDIT])
async def test_nothing_is_shown_before_a_purpose_is_stated(world: World, path: str) -> None:
    answered = await world.visitor.get(path, follow=False)
    assert (answered.status, answered.headers["Location"]) == (303, f"/console/purpose?next={path}")
    assert "EXEMPLE" not in world.visitor.page
    await world.visitor.state(back=path)
    assert world.visitor.urls[-1].endswith(path)


async def test_a_search_without_a_purpose_is_not_made(world: World) -> None:
    await world.visitor.get("/console/purpose")
    world.visitor.stop_at = SEARCH
    answered = await world.visitor.post(SEARCH, **HELD)
    assert answered.status == 303
    (refused,) = [one for one in world.events if code(one) == "search-type"]
    assert (refused["outcome"], refused["outcomeDesc"]) == ("4", "console.purpose")
    assert persons(refused) == []


async def test_a_purpose_that_is_none_is_said_to_be_wrong_and_opens_nothing(world: World) -> None:
    assert (await world.visitor.state("BILL")).status == 422
    assert (await world.visitor.state("TREAT", INS[0])).status == 422
    assert "cds_purpose" not in world.visitor.cookies
    assert (await world.visitor.get(SEARCH, follow=False)).status == 303


async def test_a_purpose_that_somebody_made_up_opens_nothing(world: World) -> None:
    await world.visitor.state()
    sealed = world.visitor.cookies["cds_purpose"]
    forged = sealed[:-2] + ("AA" if sealed[-2:] != "AA" else "BB")
    world.visitor.http.cookie_jar.clear()
    world.visitor.headers["Cookie"] = f"cds_purpose={forged}"
    assert (await world.visitor.get(SEARCH, follow=False)).status == 303
    world.visitor.headers["Cookie"] = f"cds_purpose={sealed}"
    assert (await world.visitor.get(SEARCH, follow=False)).status == 200


@pytest.mark.parametrize(
    "back", ["https://elsewhere.example", "//elsewhere.example", "/registry/audit", "/console/x"]
)
async def test_a_purpose_leads_to_pages_of_the_console_alone(world: World, back: str) -> None:
    await world.visitor.state(back=back)
    assert world.visitor.urls[-1].endswith(SEARCH)


async def test_a_search_shows_circles_and_how_each_manager_fared(world: World) -> None:
    await world.visitor.state()
    answered = await world.visitor.post(SEARCH, size="50", **HELD)
    assert answered.status == 200
    told = world.visitor.text
    for expected in ("Dominique EXEMPLE", "PROCHE", "Cercle c1", "since 1 February 2025", "Bretagne"):
        assert expected in told
    assert "Occitanie (Occitanie) cannot be reached." in told
    assert "did not answer" in told
    line = told.partition("Circles shown ")[2]
    assert re.search(r"Bretagne bre Bretagne answered .+? [\d.]+ m?s \d+ 13 Occitanie", line)
    assert world.visitor.page.count('<article class="circle"') == 13
    assert f"--data-urlencode 'patient.identifier={INS_TEST}|{INS[0]}'" in told
    assert "_search" in told


async def test_a_search_and_its_pages_are_traced_with_their_purpose(world: World) -> None:
    await world.visitor.state("HSYSADMIN", "INC-42")
    await world.visitor.post(SEARCH, **HELD)
    await world.visitor.press("Next page")
    assert world.visitor.page.count('<article class="circle"') == 3
    await world.visitor.press("Previous page")
    assert world.visitor.page.count('<article class="circle"') == 10
    searches = [one for one in world.events if code(one) == "search-type"]
    assert len(searches) == 3
    for one in searches:
        assert persons(one) == [f"{world.broker.base_url}/Patient/bre.p1"]
        assert client(one) == "local"
        codings = [coding for concept in one["purposeOfEvent"] for coding in concept["coding"]]
        assert codings == [
            {"system": SYSTEM, "code": "HSYSADMIN"},
            {"system": REFERENCE_SYSTEM, "code": "INC-42"},
        ]
    asked = query(searches[0])
    assert asked is not None
    assert f"ins={INS[0]}" in asked
    assert "csrf=&" in asked or asked.endswith("csrf=")


async def test_no_identity_is_in_an_address_a_cookie_a_title_or_a_link(world: World) -> None:
    await world.visitor.state()
    await world.visitor.post(SEARCH, **HELD)
    assert INS[0] in world.visitor.page  # it was shown at all
    parts = world.visitor.page.split("<title>")[1].split("</title>")
    links = [one.split('"')[0] for one in world.visitor.page.split('href="')[1:]]
    links += [one.split('"')[0] for one in world.visitor.page.split('action="')[1:]]
    await world.visitor.press("Next page")
    await world.visitor.get(CIRCLE)
    for place in (parts[0], *links, *world.visitor.urls, *world.visitor.cookies.values()):
        assert INS[0] not in place
        assert "EXEMPLE" not in place


async def test_pages_with_personal_data_are_kept_by_nobody(world: World) -> None:
    await world.visitor.state()
    answered = await world.visitor.post(SEARCH, **HELD)
    assert answered.headers["Cache-Control"] == "no-store"
    assert answered.headers["Referrer-Policy"] == "no-referrer"
    assert "unsafe" not in answered.headers["Content-Security-Policy"]
    assert "style=" not in world.visitor.page


async def test_what_is_wrong_in_a_form_is_said_and_nobody_is_asked(world: World) -> None:
    await world.visitor.state()
    answered = await world.visitor.post(SEARCH, ins="12", family="EXEMPLE")
    assert answered.status == 422
    assert 'role="alert"' in world.visitor.page
    assert 'aria-invalid="true"' in world.visitor.page
    assert "An INS has 13 characters and a key of two digits." in world.visitor.text
    assert 'value="EXEMPLE"' in world.visitor.page
    assert world.visitor.page.count('<article class="circle"') == 0


async def test_a_form_of_somebody_else_is_refused(world: World) -> None:
    await world.visitor.state()
    assert (await world.visitor.post(SEARCH, csrf="x", **HELD)).status == 400


async def test_a_circle_shows_its_versions_what_changed_and_who_holds_it(world: World) -> None:
    now = {"status": "inactive", "participant": []}
    body = care_team("c1", identifier="1") | now
    async with world.broker.http.put(f"{world.box.base_url}/CareTeam/c1", json=body) as answer:
        assert answer.status == 200
    await world.visitor.state("PATRQT", back=CIRCLE)

    async def indexed() -> bool:
        await world.visitor.get(CIRCLE)
        return "home" in world.visitor.text and "Held as" in world.visitor.text

    await until(indexed)
    told = world.visitor.text
    for expected in ("Version 2", "Version 1", "Status: active → inactive", "Member removed: PROCHE"):
        assert expected in told
    assert "The index does not cover: Occitanie." in told
    traced = [one for one in world.events if code(one) == "history-instance"]
    assert objects(traced[-1]) == [f"{world.broker.base_url}/CareTeam/bre.c1"]
    assert persons(traced[-1]) == [f"{world.broker.base_url}/Patient/bre.p1"]
    assert traced[-1]["purposeOfEvent"]


@pytest.mark.parametrize(
    "path", ["/console/circle/bre.none", "/console/circle/xyz.1", "/console/circle/nothing"]
)
async def test_a_circle_that_is_not_there_is_a_page_that_says_so(world: World, path: str) -> None:
    await world.visitor.state(back=path)
    assert (await world.visitor.get(path)).status == 404


async def test_the_audit_tells_who_looked_and_to_look_at_it_is_told_too(world: World) -> None:
    await world.visitor.state("HCOMPL", "", back=AUDIT)
    await world.visitor.post(SEARCH, **HELD)
    await world.visitor.get(AUDIT)
    answered = await world.visitor.post(AUDIT, person="Patient/bre.p1", client="local")
    assert answered.status == 200
    told = world.visitor.text
    assert "search" in told
    assert "HCOMPL" in told
    assert "criteria: ins" in told
    assert INS[0] not in told
    assert codes(world.events)[-1] == "audit"


async def test_what_is_wrong_in_the_audits_form_is_said(world: World) -> None:
    await world.visitor.state(back=AUDIT)
    answered = await world.visitor.post(AUDIT, person=INS[0])
    assert answered.status == 422
    assert "Expected: Patient/…" in world.visitor.text


async def test_everything_is_said_in_french_too(world: World) -> None:
    world.visitor.headers["Accept-Language"] = "fr"
    await world.visitor.state()
    await world.visitor.post(SEARCH, size="50", **HELD)
    for expected in ("Recherche de cercles de soins", "depuis le 1er février 2025", "est injoignable"):
        assert expected in world.visitor.text
    await world.visitor.get(CIRCLE)
    assert "Où il est détenu" in world.visitor.text


async def test_without_a_trail_to_read_and_without_an_index_pages_say_so(valkey: Valkey) -> None:
    async with (
        scripted_manager([patient("p1"), care_team("c1")]) as manager,
        federation(valkey, manager.gestionnaire("bre")) as broker,
        visitor(broker.base_url.removesuffix("/fhir")) as one,
    ):
        await one.state(back=AUDIT)
        assert "keeps no trail" in one.text
        await one.get(SEARCH)
        assert (await one.post(SEARCH, family="EXEMPLE")).status == 200


async def test_when_nobody_answers_the_page_says_who_and_why(valkey: Valkey) -> None:
    async with (
        scripted_manager(listening=False) as manager,
        federation(valkey, manager.gestionnaire("bre", timeout=0.5)) as broker,
        visitor(broker.base_url.removesuffix("/fhir")) as one,
    ):
        await one.state()
        answered = await one.post(SEARCH, family="EXEMPLE")
        assert answered.status == 502
        assert "Gestionnaire bre (Bretagne) cannot be reached." in one.text
        assert "No circle meets" not in one.text
