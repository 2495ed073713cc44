"""The checks of flux 1a, 1b, 1c, 4a, 4b and 4c: what is answered, against what the managers then hold themselves.

They come last, because the others compare with what was held when the check began. Each makes people of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from broker.commands.demo_held import Resource, made_public
from broker.commands.demo_people import (
    circle,
    creation,
    entry,
    joining,
    patient,
    professional,
    structure,
    transaction,
)
from broker.commands.demo_probe import Answer, Probe, expect, expect_same, ids, issue_reasons

_JSON = {"Content-Type": "application/fhir+json"}
_COPY = {"system": "urn:cds-broker:copy", "code": "replica"}


async def create_actor(probe: Probe) -> str:
    """By the territory of its address; elsewhere where the client says so; the same person a second time is the first."""
    second = probe.demo.managers[1].slug
    made = await _created(probe, patient("35000"))
    expect_same(_slug(made), probe.home, "the home by territory")
    again = await _send(probe, "POST", "/fhir/Patient", _sent(made))
    expect_same((again.status, again.json["id"]), (200, made["id"]), "the same person again")
    elsewhere = await _created(probe, professional(), {"X-Gestionnaire": second})
    expect_same(_slug(elsewhere), second, "the home by X-Gestionnaire")
    refused = await _send(probe, "POST", "/fhir/Practitioner", professional())
    expect_same(refused.status, 422, "no home: status")
    expect(("write.home-unknown", "") in issue_reasons(refused.json), "what is missing is not told")
    return f"a person of the territory at {probe.home}, a carer at {second}, the same one twice is one"


async def create_circle(probe: Probe) -> str:
    """With a structure of another region as a member, and found by its person at once."""
    second = probe.demo.managers[1].slug
    person = await _created(probe, patient("29200"))
    made = await _created(probe, circle(_reference(person), [f"Organization/{second}.structure-1"]))
    expect_same(_slug(made), probe.home, "the home is its person's")
    member = made["participant"][0]["member"]["reference"]
    own = await _held(probe, member)
    original = probe.held[second]["Organization"]["structure-1"]
    expect(_COPY in own["meta"].get("tag", ()), "the member's copy is not marked")
    expect_same(own["identifier"], original["identifier"], "the member's identifier")
    identifier = person["identifier"][0]
    bundle = await probe.search(
        "CareTeam", ("patient.identifier", f"{identifier['system']}|{identifier['value']}")
    )
    expect_same(ids(bundle), [made["id"]], "found by INS")
    return f"at {probe.home}, its member of {second} mirrored and marked; found at once"


async def second_circle(probe: Probe) -> str:
    person = await _created(probe, patient("22000"))
    first = await _created(probe, circle(_reference(person)))
    elsewhere = {"X-Gestionnaire": probe.demo.managers[1].slug}
    for headers in ({}, elsewhere):
        answer = await _send(probe, "POST", "/fhir/CareTeam", circle(_reference(person)), headers)
        expect_same(answer.status, 409, "a second circle: status")
        expect_same(answer.headers.get("location"), f"{probe.demo.base_url}/{_reference(first)}", "Location")
    return "409, with the address of the one there is"


async def create_transaction(probe: Probe) -> str:
    """A circle and everybody in it, at one manager, in order."""
    answer = await _send(probe, "POST", "/fhir", creation("35000"))
    expect_same(answer.status, 200, f"status, {answer.body[:200]!r}")
    made = [one["resource"] for one in answer.json["entry"]]
    kinds = [one["resourceType"] for one in made]
    expect_same(kinds, ["CareTeam", "Patient", "Organization", "Practitioner", "PractitionerRole"], "order")
    expect_same({_slug(one) for one in made}, {probe.home}, "one manager")
    for one in made:
        await _same_as_held(probe, one)
    expect_same(made[0]["subject"]["reference"], _reference(made[1]), "the circle's person")
    expect_same(made[0]["participant"][0]["member"]["reference"], _reference(made[4]), "the circle's member")
    broken = creation("35000")
    del broken["entry"][0]["resource"]["name"]
    refused = await _send(probe, "POST", "/fhir", broken)
    expect_same((refused.status, refused.json["resourceType"]), (500, "OperationOutcome"), "a broken one")
    return f"{len(made)} resources at {probe.home}, linked; a broken one: 500 and an OperationOutcome"


async def update_actor(probe: Probe) -> str:
    made = await _created(probe, structure(), {"X-Gestionnaire": probe.home})
    answer = await _updated(probe, made | {"name": f"{made['name']} (nouveau nom)"})
    expect(answer.json["name"].endswith("(nouveau nom)"), "the new name")
    await _same_as_held(probe, answer.json)
    missing = made | {"id": f"{probe.home}.nobody"}
    unknown = await _send(probe, "PUT", f"/fhir/Organization/{missing['id']}", missing)
    expect_same(unknown.status, 404, "a PUT creates nothing: status")
    return f"version {answer.json['meta']['versionId']} at {probe.home}; a PUT creates nothing"


async def update_circle(probe: Probe) -> str:
    """With If-Match: the client that knows an older version is told."""
    person = await _created(probe, patient("56000"))
    made = await _created(probe, circle(_reference(person)))
    changed = await _updated(probe, made | {"status": "suspended"}, f'W/"{made["meta"]["versionId"]}"')
    await _same_as_held(probe, changed.json)
    stale = await _send(
        probe,
        "PUT",
        f"/fhir/{_reference(made)}",
        made | {"status": "inactive"},
        {"If-Match": f'W/"{made["meta"]["versionId"]}"'},
    )
    expect_same(stale.status, 412, "a stale version: status")
    own = await _held(probe, _reference(made))
    expect_same(own["status"], "suspended", "what is held after it")
    return f"version {own['meta']['versionId']} at {_slug(made)}; a stale If-Match: 412"


async def update_transaction(probe: Probe) -> str:
    """A circle is given a member who is made with it; what concerns two managers is refused."""
    second = probe.demo.managers[1].slug
    person = await _created(probe, patient("35200"))
    made = await _created(probe, circle(_reference(person)))
    answer = await _send(probe, "POST", "/fhir", joining(made, _reference(person)))
    expect_same(answer.status, 200, f"status, {answer.body[:200]!r}")
    statuses = [one["response"]["status"][:3] for one in answer.json["entry"]]
    expect_same(statuses, ["200", "201"], "statuses, in order")
    after, member = (one["resource"] for one in answer.json["entry"])
    await _same_as_held(probe, after)
    expect_same(after["participant"][0]["member"]["reference"], _reference(member), "the new member")
    foreign = made_public(probe.held[second]["Organization"]["structure-1"], second)
    foreign = foreign | {"id": f"{second}.structure-1"}
    both = transaction(
        entry("PUT", _reference(made), after), entry("PUT", f"Organization/{foreign['id']}", foreign)
    )
    refused = await _send(probe, "POST", "/fhir", both)
    expect_same(refused.status, 422, "two managers: status")
    return "a circle with its new member; one that concerns two managers is refused"


async def refused(probe: Probe) -> str:
    body = circle(f"Organization/{probe.home}.structure-1", [f"Patient/{probe.home}.patient-1"])
    del body["name"], body["period"]["start"]
    body["period"]["end"] = "2026-12-31"
    answer = await _send(probe, "POST", "/fhir/CareTeam", body)
    expect_same(answer.status, 422, "status")
    places = {place for issue in answer.json["issue"] for place in issue.get("expression", ())}
    wanted = {"CareTeam.name", "CareTeam.subject", "CareTeam.period.start", "CareTeam.participant[0].member"}
    expect_same(places, wanted, "the places of the problems")
    return f"422, {len(places)} problems at once, each with its place"


async def idempotent(probe: Probe) -> str:
    """A client that did not hear the answer asks again."""
    person = await _created(probe, patient("29000"))
    key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    body = circle(_reference(person))
    first = await _send(probe, "POST", "/fhir/CareTeam", body, key)
    again = await _send(probe, "POST", "/fhir/CareTeam", body, key)
    expect_same((first.status, again.status), (201, 201), "status")
    expect_same(
        (again.body, again.headers.get("location")), (first.body, first.headers.get("location")), "the answer"
    )
    identifier = body["identifier"][0]
    base = probe.demo.managers[0].base_url
    query = [("identifier", f"{identifier['system']}|{identifier['value']}")]
    held = await probe.send("GET", f"{base}/CareTeam", query=query)
    expect_same(len(held.json.get("entry", ())), 1, "circles at the home")
    return "the same Idempotency-Key: the same answer again, nothing written twice"


# --- asking and comparing


async def _send(
    probe: Probe, method: str, path: str, body: object, headers: Mapping[str, str] | None = None
) -> Answer:
    return await probe.send(method, path, body=body, headers={**_JSON, **(headers or {})})


async def _created(
    probe: Probe, resource: Resource, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What was made, after a look at its manager."""
    answer = await _send(probe, "POST", f"/fhir/{resource['resourceType']}", resource, headers)
    expect_same(answer.status, 201, f"{resource['resourceType']} created: status, {answer.body[:200]!r}")
    made: dict[str, Any] = answer.json
    address = f"{probe.demo.base_url}/{_reference(made)}/_history/{made['meta']['versionId']}"
    expect_same(answer.headers.get("location"), address, "Location")
    expect_same(answer.headers.get("etag"), f'W/"{made["meta"]["versionId"]}"', "ETag")
    await _same_as_held(probe, made)
    return made


async def _updated(probe: Probe, resource: Resource, if_match: str | None = None) -> Answer:
    headers = {} if if_match is None else {"If-Match": if_match}
    answer = await _send(probe, "PUT", f"/fhir/{_reference(resource)}", resource, headers)
    expect_same(answer.status, 200, f"updated: status, {answer.body[:200]!r}")
    before, after = resource["meta"]["versionId"], answer.json["meta"]["versionId"]
    expect(before != after, "the version is the same")
    expect_same(answer.headers.get("etag"), f'W/"{after}"', "ETag")
    return answer


async def _held(probe: Probe, reference: str) -> dict[str, Any]:
    """A resource as its manager holds it, asked of the manager itself."""
    kind, _, identity = reference.partition("/")
    slug, _, local = identity.partition(".")
    base = next(one.base_url for one in probe.demo.managers if one.slug == slug)
    answer = await probe.send("GET", f"{base}/{kind}/{local}")
    expect_same(answer.status, 200, f"{reference} at {slug}: status")
    found: dict[str, Any] = answer.json
    return found


async def _same_as_held(probe: Probe, shown: Resource) -> None:
    own = await _held(probe, _reference(shown))
    slug = _slug(shown)
    expected = made_public(own, slug) | {"id": shown["id"], "meta": None}
    expect_same(dict(shown) | {"meta": None}, expected, f"{_reference(shown)} as held")
    expect_same(shown["meta"]["versionId"], own["meta"]["versionId"], "versionId")


def _sent(made: Resource) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name not in ("id", "meta")}


def _reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _slug(resource: Resource) -> str:
    return str(resource["id"]).partition(".")[0]
