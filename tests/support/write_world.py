"""People, what is written about them, and the truth at the managers: what the tests of writing are made with.

Everything is asked over HTTP, from outside: a node is an address under which a broker answers, a manager is one under
which a sandbox does. Each write carries a mark of its own in a name, by which it is found wherever it went.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.support.federation import Answered
from tests.support.fhir_builders import CIRCLE_SYSTEM, INS_TEST
from tests.support.regions import ins

Json = dict[str, Any]

PUBLIC = "http://cds.example/fhir"
"""What every node of the federation calls itself in links."""

REGION = {"bre": "53", "occ": "76", "idf": "11"}
SLUGS = tuple(REGION)
PROFILE = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam"
FHIR_JSON = "application/fhir+json"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """Known to some managers, under one INS, as `Patient/p{number}`."""

    number: int
    at: tuple[str, ...] = SLUGS

    @property
    def ins(self) -> str:
        return ins(self.number)

    @property
    def token(self) -> str:
        return f"{INS_TEST}|{self.ins}"

    def patient(self) -> Json:
        """As a manager holds it."""
        return {"id": f"p{self.number}", **patient_of(self.number)}

    def subject(self, slug: str) -> str:
        """The public reference of one manager's Patient."""
        assert slug in self.at
        return f"Patient/{slug}.p{self.number}"


def new_person(*at: str) -> Person:
    """Nobody that any other test of this run has heard of."""
    return Person(1_000_000 + next(_numbers), at or SLUGS)


def new_mark(what: str = "w") -> str:
    """A text that occurs in nothing else, and is no part of another mark."""
    return f"{what}-{next(_numbers)}-"


def patient_of(number: int) -> Json:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": INS_TEST, "value": ins(number)}],
        "name": [{"family": "EXEMPLE", "given": ["Dominique"]}],
        "gender": "female",
        "birthDate": "1951-09-09",
    }


def circle(subject: str, mark: str, *, identifier: str | None = None, members: Sequence[str] = ()) -> Json:
    """What a client sends; `mark` is in the name, and in the identifier where none is given."""
    resource: Json = {
        "resourceType": "CareTeam",
        "meta": {"profile": [PROFILE]},
        "identifier": [{"system": CIRCLE_SYSTEM, "value": identifier or f"circle {mark}"}],
        "status": "active",
        "name": f"Cercle {mark}",
        "subject": {"reference": subject},
        "period": {"start": "2025-01-01"},
    }
    if members:
        resource["participant"] = [
            {"member": {"reference": member}, "period": {"start": "2025-01-01"}} for member in members
        ]
    return resource


def organization(mark: str, *, identifier: str | None = None) -> Json:
    return {
        "resourceType": "Organization",
        "identifier": [{"system": "https://cds.example/structures", "value": identifier or mark}],
        "name": f"Cabinet {mark}",
    }


def entry(method: str, url: str, resource: Json, full_url: str | None = None, **request: str) -> Json:
    made: Json = {"resource": resource, "request": {"method": method, "url": url, **request}}
    return made if full_url is None else {"fullUrl": full_url, **made}


def transaction(*entries: Json) -> Json:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


@dataclass(frozen=True)
class Node:
    """One broker of the federation, as a client sees it."""

    http: aiohttp.ClientSession
    base_url: str

    async def send(
        self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> Answered:
        """Raises aiohttp.ClientError, OSError where it gives no answer."""
        url = f"{self.base_url}/{path}".rstrip("/")
        sent = {"Content-Type": FHIR_JSON} if body is not None else {}
        data = None if body is None else orjson.dumps(body)
        async with self.http.request(method, url, data=data, headers=sent | dict(headers or {})) as answer:
            return Answered(answer.status, answer.headers, await answer.read())

    async def tried(
        self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> Answered | None:
        """None where the node is gone, or went before it answered."""
        try:
            return await self.send(method, path, body, headers)
        except (aiohttp.ClientError, OSError):
            return None

    async def search_circles(self, person: Person) -> Answered:
        """A search for the person's identifier."""
        form = {"patient.identifier": person.token}
        async with self.http.post(f"{self.base_url}/CareTeam/_search", data=form) as answer:
            return Answered(answer.status, answer.headers, await answer.read())

    async def circles_of(self, person: Person) -> list[Json]:
        """What that search finds."""
        answered = await self.search_circles(person)
        assert answered.status == 200, answered.body
        return matches(answered)


def matches(answered: Answered) -> list[Json]:
    return [one["resource"] for one in answered.json.get("entry", ()) if one["search"]["mode"] == "match"]


def client() -> aiohttp.ClientSession:
    """A connection for each request: a client's library sends a PUT again where a kept one was closed."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=aiohttp.ClientTimeout(total=60)
    )


@dataclass(frozen=True)
class Managers:
    """The managers themselves, by their own addresses, with nothing in between."""

    http: aiohttp.ClientSession
    addresses: Mapping[str, str]

    async def put(self, slug: str, resource: Json) -> None:
        url = f"{self.addresses[slug]}/{resource['resourceType']}/{resource['id']}"
        headers = {"Content-Type": FHIR_JSON}
        async with self.http.put(url, data=orjson.dumps(resource), headers=headers) as answer:
            assert answer.status in (200, 201), await answer.text()

    async def know(self, *people: Person) -> None:
        """Every manager gets its Patient of each of them."""
        for person in people:
            for slug in person.at:
                await self.put(slug, person.patient())

    async def found(self, slug: str, kind: str, **criteria: str) -> list[Json]:
        params = {name.replace("__", "."): value for name, value in criteria.items()} | {"_count": "100"}
        async with self.http.get(f"{self.addresses[slug]}/{kind}", params=params) as answer:
            assert answer.status == 200, await answer.text()
            bundle = orjson.loads(await answer.read())
        return [one["resource"] for one in bundle.get("entry", ())]

    async def circles_of(self, person: Person) -> list[str]:
        """Public ids of every circle of a person, wherever it is."""
        return [
            f"{slug}.{one['id']}"
            for slug in self.addresses
            for one in await self.found(slug, "CareTeam", patient__identifier=person.token)
        ]

    async def versions(self, slug: str, kind: str, identity: str) -> list[Json]:
        """Every version of a resource, oldest first."""
        async with self.http.get(f"{self.addresses[slug]}/{kind}/{identity}/_history") as answer:
            assert answer.status == 200, await answer.text()
            bundle = orjson.loads(await answer.read())
        return [one["resource"] for one in reversed(bundle.get("entry", ())) if "resource" in one]


def public_id(location: str, kind: str = "CareTeam") -> str:
    """The public id in the address of a resource. Fails the test where the address is not the federation's."""
    prefix = f"{PUBLIC}/{kind}/"
    assert location.startswith(prefix), location
    return location.removeprefix(prefix).partition("/_history/")[0]


def located(answered: Answered, kind: str = "CareTeam") -> str | None:
    """The public id that an answer's Location names."""
    location = answered.headers.get("Location")
    return None if location is None else public_id(location, kind)


def version_of(answered: Answered) -> str:
    """By its ETag."""
    etag = answered.headers["ETag"]
    assert etag.startswith('W/"'), etag
    return etag[3:-1]


def statuses(answers: Iterable[Answered | None]) -> dict[int | None, int]:
    """How many answers of each status; None: no answer."""
    found = [None if one is None else one.status for one in answers]
    return {status: found.count(status) for status in sorted(set(found), key=lambda one: one or 0)}


@dataclass(frozen=True)
class Attempt:
    """A way of asking for one more circle of a person: body and node differ from call to call."""

    person: Person
    nodes: Sequence[Node]
    made: list[str] = field(default_factory=list)

    async def create(self, node: int, slug: str, *members: str, **headers: str) -> Answered | None:
        mark = new_mark("c")
        self.made.append(mark)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        body = circle(self.person.subject(slug), mark, members=members)
        return await self.nodes[node % len(self.nodes)].tried("POST", "CareTeam", body, sent)
