"""What the reading tests look at: circles that the server holds, with everybody they refer to.

Where the suite may write it creates them (flux 1a, 1b, and one 4b); with --read-only it takes what is there.
Both ways the tests derive their criteria, and what to expect, from the resources themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .client import Gestionnaire, Json, Pairs, key, link, target_of
from .people import People

_AT_ONCE = 8
_MOST_CIRCLES = 24


@dataclass(frozen=True, slots=True)
class World:
    """`circles` as the server gives them; `actors` by `Type/id`. `created`: it was made by the suite."""

    circles: tuple[Json, ...]
    actors: Mapping[str, Json]
    created: bool
    updated: tuple[str, ...] = field(default=())  # keys of circles that have more than one version

    def actor(self, reference: Json | None) -> Json | None:
        return None if reference is None else self.actors.get(target_of(reference.get("reference", "")))

    def of_type(self, resource_type: str) -> list[Json]:
        if resource_type == "CareTeam":
            return list(self.circles)
        return [actor for actor in self.actors.values() if actor["resourceType"] == resource_type]

    def members(self, circle: Json, resource_type: str) -> list[Json]:
        found = [self.actor(participant.get("member")) for participant in circle.get("participant", [])]
        return [actor for actor in found if actor is not None and actor["resourceType"] == resource_type]

    def scope(self, resources: Sequence[Json] | None = None) -> Pairs:
        """A criterion that narrows a search to these resources of one type (default: all circles)."""
        chosen: Sequence[Json] = resources or self.circles
        if chosen[0]["resourceType"] in {"RelatedPerson", "PractitionerRole"}:
            return [("_id", ",".join(resource["id"] for resource in chosen))]
        return [("identifier", ",".join(token(resource["identifier"][0]) for resource in chosen))]


def token(coded: Json) -> str:
    """`system|value` of an Identifier or `system|code` of a Coding, escaped for a search."""
    text = str(coded.get("value", coded.get("code", "")))
    escaped = "".join(f"\\{character}" if character in "\\,$|" else character for character in text)
    return f"{coded['system']}|{escaped}" if "system" in coded else escaped


def references(resource: Json) -> set[str]:
    """`Type/id` of everything a resource refers to literally."""
    found: set[str] = set()
    pending: list[object] = [resource]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            reference = node.get("reference")
            if isinstance(reference, str) and not reference.startswith(("#", "urn:")):
                found.add(target_of(reference))
            pending.extend(node.values())
    return found


async def discovered(gestionnaire: Gestionnaire) -> World:
    """The newest circles a server gives without criteria, and the actors they lead to."""
    bundle = await gestionnaire.search("CareTeam", [("_count", str(_MOST_CIRCLES))])
    circles: list[Json] = []
    while len(circles) < _MOST_CIRCLES:
        circles += [
            entry["resource"]
            for entry in bundle.get("entry", [])
            if entry["resource"]["resourceType"] == "CareTeam" and entry["resource"].get("identifier")
        ]
        following = link(bundle, "next")
        if following is None:
            break
        bundle = (await gestionnaire.send("GET", gestionnaire.absolute(following))).json
    assert circles, "the server holds no circle to look at"
    circles = circles[:_MOST_CIRCLES]
    versions = [await _versions(gestionnaire, circle) for circle in circles]
    several = tuple(key(circle) for circle, count in zip(circles, versions, strict=True) if count > 1)
    return World(tuple(circles), await _actors(gestionnaire, circles), created=False, updated=several)


async def created(gestionnaire: Gestionnaire) -> World:
    """Four circles of four people, created one by one; the third is then updated."""
    people = People()
    made: dict[str, Json] = {}

    async def create(name: str, resource: Json) -> str:
        made[name] = await create_resource(gestionnaire, resource)
        return key(made[name])

    t = people.token
    one = await create(
        "p1",
        people.patient(
            f"Kermadec{t}", "Anaïs", "1951-01-20", gender="female", city=f"Rennes{t}", born_at=f"Quimper{t}"
        ),
    )
    two = await create(
        "p2",
        people.patient(f"Kermadec{t}ou", "Yann", "1948-06-02", gender="male", city="Brest", born_at="Vannes"),
    )
    three = await create(
        "p3",
        people.patient(f"Le Bras{t}", "Zoé", "1990-11-30", gender="female", city="Dinan", born_at="Paris"),
    )
    four = await create(
        "p4", people.patient(f"Ménez{t}", "Éloi", "2001-03-15", gender="male", city="Lannion", born_at="Lyon")
    )
    group = await create("group", people.organization(f"Groupement {t}"))
    clinic = await create("clinic", people.organization(f"Clinique {t}", part_of=group))
    home = await create("home", people.organization(f"Maison de santé {t}"))
    doctor = await create("doctor", people.practitioner(f"Goff{t}", "Solène"))
    nurse = await create("nurse", people.practitioner(f"Tanguy{t}", "Marc"))
    doctor_role = await create("doctor-role", people.role(doctor, home, "10"))
    nurse_role = await create("nurse-role", people.role(nurse, clinic, "60"))
    daughter = await create(
        "daughter", people.contact(one, f"Ducros{t}", "Maëlle", role="QUAL", city=f"Tourcoing{t}")
    )
    guardian = await create(
        "guardian", people.contact(three, f"Ducros{t}sel", "Ivan", role="GUARD", city="Lens")
    )
    circles = [
        people.circle(
            "a",
            one,
            [
                (doctor_role, "2024-01-10", "2024-03-01"),
                (daughter, "2024-01-10", None),
                (doctor_role, "2024-06-03", None),
                (home, "2024-02-01", None),
            ],
            category="LA27976-2",
            managed_by=(home,),
        ),
        people.circle(
            "b",
            two,
            [(nurse_role, "2023-05-05", "2024-12-31"), (clinic, "2023-05-05", None)],
            period=("2023-05-05", "2024-12-31"),
            category="LA27977-0",
            managed_by=(clinic, home),
        ),
        people.circle(
            "c",
            three,
            [(guardian, "2022-02-02", "2022-11-30"), (doctor_role, "2022-02-02", None)],
            status="inactive",
            period=("2022-02-02", "2022-12-31"),
            managed_by=(group,),
        ),
        people.circle(
            "d",
            four,
            [(nurse_role, "2025-03-03T10:00:00+01:00", None)],
            status="suspended",
            period=("2025-03-03T10:00:00+01:00", None),
        ),
    ]
    held = [await create_resource(gestionnaire, circle) for circle in circles]
    held[2] = await updated(gestionnaire, held[2] | {"name": f"{held[2]['name']} (clos)"})
    actors = {key(actor): actor for actor in made.values()}
    return World(tuple(held), actors, created=True, updated=(key(held[2]),))


async def create_resource(gestionnaire: Gestionnaire, resource: Json) -> Json:
    """Flux 1a or 1b; the resource as the server holds it afterwards."""
    answer = await gestionnaire.send("POST", resource["resourceType"], body=resource)
    assert answer.status == 201, (
        f"POST {resource['resourceType']}: {answer.status} {answer.text[:300]}; "
        "a server that takes no writes is put to the suite with --read-only"
    )
    location = answer.headers.get("location")  # a test of its own asks for it; the others go on without
    read = await gestionnaire.get(target_of(location) if location else key(answer.json))
    assert read.status == 200
    return read.json


async def updated(gestionnaire: Gestionnaire, resource: Json) -> Json:
    """Flux 4a or 4b; the resource as the server holds it afterwards."""
    answer = await gestionnaire.send("PUT", key(resource), body=resource)
    assert answer.status == 200, f"PUT: {answer.status} {answer.text[:300]}"
    return (await gestionnaire.get(key(resource))).json


async def _versions(gestionnaire: Gestionnaire, circle: Json) -> int:
    answer = await gestionnaire.get(f"{key(circle)}/_history")
    return len(answer.json.get("entry", [])) if answer.status == 200 else 0


async def _actors(gestionnaire: Gestionnaire, circles: list[Json]) -> dict[str, Json]:
    """Everybody within three references of the circles. A few at a time: a server may turn a crowd away."""
    held: dict[str, Json] = {}
    pending = {target for circle in circles for target in references(circle)}
    few = asyncio.Semaphore(_AT_ONCE)

    async def read(target: str) -> Json | None:
        async with few:
            answer = await gestionnaire.get(target)
        assert answer.status in (200, 404, 410), f"GET {target}: {answer.status} {answer.text[:300]}"
        return answer.json if answer.status == 200 else None

    for _ in range(3):
        answers = await asyncio.gather(*(read(target) for target in sorted(pending)))
        fresh = [answer for answer in answers if answer is not None]
        held |= {key(actor): actor for actor in fresh}
        pending = {target for actor in fresh for target in references(actor)} - held.keys()
    return held
