"""Flux 2a → 3a over several managers: one order, exact pages, each circle once, true totals."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.options import SandboxOptions
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from registry.model import TRE_R30, Gestionnaire
from tests.support.federation import Broker, federation, ids, link, outcome_codes
from tests.support.fhir_builders import INS, INS_TEST, care_team, patient
from tests.support.valkey import Valkey

Resource = dict[str, Any]
REGION = {"bre": "53", "occ": "76", "idf": "11"}


def instant(number: int) -> str:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return (start + dt.timedelta(minutes=number)).isoformat().replace("+00:00", "Z")


def circles(slug: str, numbers: range) -> list[Resource]:
    """Circles and their persons; the number decides the place in the order."""
    made: list[Resource] = []
    for number in numbers:
        made.append(patient(f"p{number}", ins=f"{number:013d}00"))
        made.append(
            care_team(
                f"c{number}",
                last_updated=instant(number),
                identifier=f"{slug}-{number}",
                subject=f"Patient/p{number}",
            )
        )
    return made


@asynccontextmanager
async def over(
    valkey: Valkey,
    held: dict[str, list[Resource]],
    *,
    options: dict[str, SandboxOptions] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Broker, dict[str, RunningSandbox]]]:
    async with AsyncExitStack() as stack:
        boxes = {
            slug: await stack.enter_async_context(
                running_sandbox(resources, options=(options or {}).get(slug))
            )
            for slug, resources in held.items()
        }
        managers = [
            Gestionnaire(slug, f"Région {slug}", REGION[slug], box.base_url) for slug, box in boxes.items()
        ]
        broker = await stack.enter_async_context(federation(valkey, *managers, checked=True, **settings))
        yield broker, boxes


async def test_one_order_and_exact_pages_over_managers_of_other_page_sizes(valkey: Valkey) -> None:
    held = {
        "bre": circles("bre", range(0, 30, 3)),
        "occ": circles("occ", range(1, 30, 3)),
        "idf": circles("idf", range(2, 30, 3)),
    }
    options = {"bre": SandboxOptions(max_page=2), "occ": SandboxOptions(max_page=3, getpages_links=True)}
    async with over(valkey, held, options=options) as (broker, _):
        pages = await broker.pages("CareTeam?_count=4")
        given = [one for page in pages for one in ids(page)]
        slugs = ["bre", "occ", "idf"]
        assert given == [f"{slugs[number % 3]}.c{number}" for number in reversed(range(30))]
        assert [len(ids(page)) for page in pages] == [4] * 7 + [2]
        assert link(pages[0], "previous") is None
        assert link(pages[2], "previous") == link(pages[1], "self")
        back = await broker.bundle(str(link(pages[2], "previous")))
        assert ids(back) == ids(pages[1])
        assert ids(await broker.bundle(str(link(pages[5], "first")))) == ids(pages[0])
        assert given == [one for page in await broker.pages("CareTeam?_count=7") for one in ids(page)]


async def test_ascending_and_several_sort_keys(valkey: Valkey) -> None:
    held = {"bre": circles("bre", range(0, 8, 2)), "occ": circles("occ", range(1, 8, 2))}
    async with over(valkey, held) as (broker, _):
        rising = [
            one for page in await broker.pages("CareTeam?_sort=_lastUpdated&_count=3") for one in ids(page)
        ]
        assert rising == [f"{('bre', 'occ')[number % 2]}.c{number}" for number in range(8)]
        tied = [one for page in await broker.pages("CareTeam?_sort=status&_count=3") for one in ids(page)]
        assert tied == sorted(rising), "ties are broken by public id"


async def test_includes_come_on_the_page_of_their_match(valkey: Valkey) -> None:
    held = {"bre": circles("bre", range(6)), "occ": circles("occ", range(6, 12))}
    for options in (
        {},
        {"bre": SandboxOptions(ignores_include=True), "occ": SandboxOptions(ignores_include=True)},
    ):
        async with over(valkey, held, options=options) as (broker, _):
            for page in await broker.pages("CareTeam?_include=CareTeam:subject&_count=5"):
                expected = {one.replace(".c", ".p") for one in ids(page)}
                assert set(ids(page, "include")) == expected
                assert outcome_codes(page) == []


async def test_a_replica_yields_to_its_home_and_stands_in_for_it(valkey: Valkey) -> None:
    home = circles("bre", range(3))
    async with over(valkey, {"bre": home, "occ": circles("occ", range(10, 12))}) as (broker, boxes):
        copy = care_team("copy1", last_updated=instant(1), identifier="bre-1", subject="Patient/p10")
        copy["meta"]["tag"] = [{"system": REPLICA_SYSTEM, "code": REPLICA_CODE}]
        copy["meta"]["source"] = f"{boxes['bre'].base_url}/CareTeam/c1"
        boxes["occ"].store.load([copy])
        bundle = await broker.bundle("CareTeam")
        assert ids(bundle) == ["occ.c11", "occ.c10", "bre.c2", "bre.c1", "bre.c0"]
        assert bundle["total"] == 5
        await broker.running.registry.set_status("bre", "suspended")
        await broker.running.managers.refresh()
        alone = await broker.bundle("CareTeam")
        assert ids(alone) == ["occ.c11", "occ.c10", "occ.copy1"]
        assert ("merge.replica-shown", None) in outcome_codes(alone)
        assert ("manager.suspended", "bre") in outcome_codes(alone)
        shown = next(e["resource"] for e in alone["entry"] if e["resource"].get("id") == "occ.copy1")
        assert shown["meta"]["source"] == f"{broker.base_url}/CareTeam/bre.c1"


async def test_copies_without_a_mark_appear_once_also_over_pages(valkey: Valkey) -> None:
    held = {
        "bre": [care_team(f"b{n}", identifier=f"same-{n}", last_updated=instant(n)) for n in range(10)],
        "occ": [care_team(f"o{n}", identifier=f"same-{n}", last_updated=instant(50 - n)) for n in range(10)],
    }
    async with over(valkey, held) as (broker, _):
        pages = await broker.pages("CareTeam?_count=3")
        given = [one for page in pages for one in ids(page)]
        assert given == [f"occ.o{n}" for n in range(10)]
        assert (await broker.bundle("CareTeam?_summary=count"))["total"] == 10
        assert (await broker.bundle("CareTeam?_count=3&_total=accurate"))["total"] == 10
        assert "total" not in await broker.bundle("CareTeam?_count=3")


async def test_two_circles_of_one_person_are_both_shown_and_named(valkey: Valkey) -> None:
    held = {
        "bre": [patient("p", ins=INS[0]), care_team("a", subject="Patient/p", identifier="x")],
        "occ": [patient("q", ins=INS[0]), care_team("b", subject="Patient/q", identifier="y")],
        "idf": [patient("r", ins=INS[1]), care_team("c", subject="Patient/r", identifier="z")],
    }
    async with over(valkey, held) as (broker, _):
        for target in (
            "CareTeam?_include=CareTeam:subject",
            f"CareTeam?patient.identifier={INS_TEST}|{INS[0]}",
        ):
            bundle = await broker.bundle(target)
            assert {"bre.a", "occ.b"} <= set(ids(bundle))
            assert outcome_codes(bundle) == [("merge.conflict", None)]
            text = bundle["entry"][-1]["resource"]["issue"][0]["details"]["text"]
            assert "bre.a" in text
            assert "occ.b" in text
            assert "idf.c" not in text


async def test_public_ids_send_the_search_to_their_manager_alone(valkey: Valkey) -> None:
    held = {"bre": circles("bre", range(5)), "occ": circles("occ", range(5, 10))}
    async with over(valkey, held) as (broker, _boxes):
        for target, expected in (
            ("CareTeam?_id=bre.c1", ["bre.c1"]),
            ("CareTeam?_id=bre.c1,occ.c7", ["occ.c7", "bre.c1"]),
            ("CareTeam?patient=Patient/occ.p6", ["occ.c6"]),
            ("CareTeam?patient=occ.p6", ["occ.c6"]),
            (f"CareTeam?subject={broker.base_url}/Patient/bre.p2", ["bre.c2"]),
            ("CareTeam?patient._id=bre.p3", ["bre.c3"]),
            ("CareTeam?_id=nobody.c1", []),
            ("CareTeam?_id=bre.c1&patient=occ.p6", []),
            (f"CareTeam?_tag={TRE_R30}|76&_count=2", ["occ.c9", "occ.c8"]),
        ):
            bundle = await broker.bundle(target)
            assert ids(bundle) == expected, target
            assert outcome_codes(bundle) == []
        plan = await broker.get("CareTeam?_id=bre.c1")
        assert plan.json["entry"][0]["fullUrl"] == f"{broker.base_url}/CareTeam/bre.c1"


async def test_what_leaves_speaks_public_ids_and_says_where_it_came_from(valkey: Valkey) -> None:
    async with over(valkey, {"bre": circles("bre", range(1))}) as (broker, boxes):
        bundle = await broker.bundle("CareTeam?_include=*")
        circle, person = (entry["resource"] for entry in bundle["entry"])
        assert circle["subject"]["reference"] == f"Patient/{person['id']}" == "Patient/bre.p0"
        assert circle["meta"]["source"] == boxes["bre"].base_url
        assert {"system": TRE_R30, "code": "53"} in circle["meta"]["tag"]
        assert circle["meta"]["versionId"] == "1"
        read = await broker.get("CareTeam/bre.c0")
        assert read.headers["ETag"] == 'W/"1"'
        assert read.json == circle
        again = await broker.get("CareTeam/bre.c0", If_None_Match='W/"1"')
        assert (again.status, again.body) == (304, b"")
        assert (await broker.get("CareTeam/bre.nobody")).status == 404
        assert (await broker.get("CareTeam/nowhere.c0")).status == 404


async def test_elements_and_summary_are_trimmed_here_and_merging_keeps_what_it_needs(valkey: Valkey) -> None:
    held = {
        "bre": [patient("p"), care_team("b", identifier="same", subject="Patient/p")],
        "occ": [
            patient("p"),
            care_team("o", identifier="same", subject="Patient/p"),
            care_team("x", identifier="x"),
        ],
    }
    async with over(valkey, held, options={"occ": SandboxOptions(ignores_elements=True)}) as (broker, _):
        bundle = await broker.bundle("CareTeam?_elements=name&_include=CareTeam:subject")
        assert len(ids(bundle)) == 2
        for entry in bundle["entry"]:
            resource = entry["resource"]
            if resource["resourceType"] == "CareTeam":
                assert set(resource) == {"resourceType", "id", "meta", "name"}
                assert "SUBSETTED" in {tag["code"] for tag in resource["meta"]["tag"]}
            elif resource["resourceType"] == "Patient":
                assert "birthDate" in resource
        counted = await broker.bundle("CareTeam?_summary=count")
        assert counted["total"] == 2
        assert "entry" not in counted
        assert (await broker.bundle("CareTeam?_count=0"))["total"] == 2
        text = await broker.bundle("CareTeam?_summary=data")
        assert all("text" not in entry["resource"] for entry in text["entry"])


async def test_get_and_post_answer_the_same_and_pages_after_post_are_got(valkey: Valkey) -> None:
    async with over(valkey, {"bre": circles("bre", range(5)), "occ": circles("occ", range(5, 9))}) as (
        broker,
        _,
    ):
        got = await broker.bundle("CareTeam?status=active&_count=4")
        posted = (await broker.post("CareTeam/_search", {"status": "active", "_count": "4"})).json
        assert ids(got) == ids(posted)
        assert ids(await broker.bundle(str(link(posted, "next")))) == ids(
            await broker.bundle(str(link(got, "next")))
        )


async def test_the_guides_example_requests_with_their_quirks(valkey: Valkey) -> None:
    async with over(valkey, {"bre": circles("bre", range(3)), "occ": circles("occ", range(3, 6))}) as (
        broker,
        _,
    ):
        bundle = await broker.bundle(
            f"Careteam?_include:iterate=*&patient.identifier={INS_TEST}\\|{4:013d}00"
        )
        assert ids(bundle) == ["occ.c4"]
        assert ids(bundle, "include") == ["occ.p4"]
        spaced = await broker.bundle(
            "Careteam?_include:iterate%20=CareTeam:subject&participant:RelatedPerson.name:exact=Ducros"
        )
        assert ids(spaced) == []
        aliased = await broker.bundle("CareTeam?CDSCareTeamStart=ge2025-01-01&_count=2")
        assert len(ids(aliased)) == 2
        assert "start=ge2025-01-01" in str(link(aliased, "self"))


async def test_unknown_parameters_and_bad_values(valkey: Valkey) -> None:
    async with over(valkey, {"bre": circles("bre", range(2))}) as (broker, _):
        lenient = await broker.bundle("CareTeam?colour=blue")
        assert "colour" not in str(link(lenient, "self"))
        strict = await broker.get("CareTeam?colour=blue", Prefer="handling=strict")
        assert strict.status == 400
        assert outcome_codes(strict.json) == [("request.unknown-parameter", None)]
        for target, status in (
            ("CareTeam?start=yesterday", 400),
            ("CareTeam?_count=many", 400),
            ("CareTeam?status:blue=x", 400),
            ("CareTeam?_page=forged", 400),
            ("CareTeam?_format=pdf", 406),
            ("Basic?x=1", 404),
            ("CareTeam/_history?_since=yesterday", 400),
            ("nothing/at/all/here", 404),
        ):
            answered = await broker.get(target)
            assert answered.status == status, target
            assert answered.json["resourceType"] == "OperationOutcome"
            assert b"yesterday" not in answered.body
            assert b"Traceback" not in answered.body
            text = answered.json["issue"][0]["details"]
            assert text["text"]
            assert text["_text"]["extension"]


async def test_page_links_are_opaque_bound_and_expire(valkey: Valkey) -> None:
    held = {"bre": circles("bre", range(5))}
    async with over(valkey, held, page_ttl=1) as (broker, _):
        first = await broker.bundle(f"CareTeam?patient.identifier={INS_TEST}|&_count=2")
        url = str(link(first, "next"))
        assert INS_TEST not in url
        assert "patient" not in url
        assert (await broker.get(url[:-4] + ("AAAA" if url[-4:] != "AAAA" else "BBBB"))).status == 400
        assert (await broker.get(url.replace("/CareTeam?", "/Patient?"))).status == 400
        while (answered := await broker.get(url)).status == 200:
            pass  # it ends within its second of life
        assert answered.status == 410
        assert outcome_codes(answered.json) == [("page.expired", None)]


async def test_xml_gzip_and_request_ids(valkey: Valkey) -> None:
    async with over(valkey, {"bre": circles("bre", range(9))}) as (broker, _):
        xml = await broker.get("CareTeam", Accept="application/fhir+xml")
        assert xml.headers["Content-Type"].startswith("application/fhir+xml")
        assert xml.body.count(b"<CareTeam") == 9
        packed = await broker.get("CareTeam", Accept_Encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["X-Intermediary"] == "cds-broker"
        named = await broker.get("CareTeam", X_Request_Id="abc-1")
        assert named.headers["X-Request-Id"] == "abc-1"
        cleaned = await broker.get("CareTeam", X_Request_Id="a b<c")
        assert cleaned.headers["X-Request-Id"] != "a b<c"


async def test_searches_on_actors(valkey: Valkey) -> None:
    async with over(valkey, {"bre": circles("bre", range(3)), "occ": circles("occ", range(3, 6))}) as (
        broker,
        _,
    ):
        bundle = await broker.bundle("Patient?family=exemple&_count=10")
        assert len(ids(bundle)) == 6
        assert bundle["total"] == 6
        assert ids(await broker.bundle(f"Patient?identifier={INS_TEST}|{4:013d}00")) == ["occ.p4"]


def versions_of(history: Resource) -> list[str]:
    """Public id of each version of a circle, in order."""
    return [entry["resource"]["id"] for entry in history["entry"] if "resource" in entry]


async def test_history_of_one_and_of_all(valkey: Valkey) -> None:
    held = {"bre": circles("bre", range(0, 6, 2)), "occ": circles("occ", range(1, 6, 2))}
    options = {"occ": SandboxOptions(no_type_history=True)}
    async with over(valkey, held, options=options) as (broker, boxes):
        changed = dict(held["bre"][1], name="Cercle changé")
        async with broker.http.put(f"{boxes['bre'].base_url}/CareTeam/c0", json=changed) as response:
            assert response.status == 200
        pages = await broker.pages("CareTeam/_history?_count=3")
        given = [one for page in pages for one in versions_of(page)]
        assert given == ["bre.c0", "occ.c5", "bre.c4", "occ.c3", "bre.c2", "occ.c1", "bre.c0"]
        assert ("manager.no-type-history", "occ") in outcome_codes(pages[0])
        own = await broker.bundle("CareTeam/bre.c0/_history")
        assert [entry["resource"]["meta"]["versionId"] for entry in own["entry"]] == ["2", "1"]
        assert own["entry"][0]["fullUrl"] == f"{broker.base_url}/CareTeam/bre.c0"
        old = await broker.get("CareTeam/bre.c0/_history/1")
        assert old.status == 200
        assert old.json["name"] == held["bre"][1]["name"]
        since = await broker.bundle(f"CareTeam/_history?_since={instant(4)}")
        assert versions_of(since) == ["bre.c0", "occ.c5", "bre.c4"]
        for page in (*pages, since):
            assert all({"request", "response"} <= set(entry) for entry in page["entry"]), "bdl-3, bdl-4"
        assert (await broker.get("CareTeam/bre.nobody/_history")).status == 404
