"""A home whose circles change, as events on a manager's replication topic; and whether that manager is in step with it.

home = Home("bre")
records = [home.created(n) for n in range(20)]          # `Outgoing`, to be published, in any order, any number of times
records.append(home.changed(7))
records.append(home.deleted(3))
assert home.differences(box.store) == []
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.sandbox.store import Store, Version
from broker.core.change_event import Operation, encode_headers
from broker.core.event_content import full_content, id_only_content
from broker.core.topics import replication
from broker.sync.change_log import Outgoing
from tests.support import change_events as events
from tests.support.fhir_builders import patient, related_person

Json = dict[str, Any]

COPY = ("urn:cds-broker:copy", "replica")
SEQUENCE = "urn:cds-broker:sequence"
ACTORS = ("Patient", "RelatedPerson", "PractitionerRole", "Practitioner", "Organization")

GUARDIAN = [
    {
        "coding": [
            {
                "system": "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass",
                "code": "GUARD",
            }
        ]
    }
]


def ins(number: int) -> str:
    """An INS of the test system with its key."""
    stem = f"1{51 + number % 40:02}0935{number % 990 + 1:03}{number // 990 + 1:03}"
    return f"{stem}{97 - int(stem) % 97:02}"


@dataclass
class Home:
    """`shared`: how many practices its circles have between them. `to`: whose topic the events are for."""

    slug: str = "bre"
    to: str = "occ"
    prefix: str = "cds"
    shared: int = 3
    now: dict[int, Json] = field(default_factory=dict)
    sequence: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    gone: set[int] = field(default_factory=set)

    def created(self, number: int) -> Outgoing:
        """A new circle, its person and a relative of its own, a practice that others have too."""
        practice = number % self.shared
        self.now[number] = events.team(
            f"c{number}",
            identifier=f"{self.slug}-{number}",
            subject=f"Patient/p{number}",
            participants=(f"PractitionerRole/r{practice}", f"RelatedPerson/rp{number}"),
            managing_organization=f"Organization/o{practice}",
        )
        return self._told(number, Operation.CREATED)

    def changed(self, number: int) -> Outgoing:
        """Another name, and every other time the relative has left."""
        circle = copy.deepcopy(self.now[number])
        version = int(circle["meta"]["versionId"]) + 1
        circle["meta"]["versionId"] = str(version)
        circle["name"] = f"Cercle {number}, état {version}"
        circle["participant"][1]["period"] = {"start": "2025-01-01"} | (
            {"end": "2026-01-01"} if version % 2 == 0 else {}
        )
        self.now[number] = circle
        return self._told(number, Operation.UPDATED)

    def deleted(self, number: int) -> Outgoing:
        self.gone.add(number)
        return self._told(number, Operation.DELETED)

    def actors(self, number: int) -> list[Json]:
        practice = number % self.shared
        return [
            events.organization(f"o{practice}", finess=f"35000000{practice}"),
            events.practitioner(f"d{practice}", rpps=f"1000123456{practice}"),
            events.role(f"r{practice}", who=f"d{practice}", where=f"o{practice}"),
            related_person(f"rp{number}", patient=f"Patient/p{number}", relationship=GUARDIAN),
            patient(f"p{number}", ins=ins(number)),
        ]

    def _told(self, number: int, operation: Operation) -> Outgoing:
        self.sequence[number] += 1
        circle = self.now[number]
        deleted = operation is Operation.DELETED
        change = events.change(
            str(circle["id"]),
            sequence=self.sequence[number],
            version=None if deleted else circle["meta"]["versionId"],
            operation=operation,
            slug=self.slug,
        )
        if deleted:
            content = id_only_content(change, events.PUBLIC)
        else:
            around = [events.entry(one, self.slug) for one in self.actors(number)]
            content = full_content(change, events.entry(circle, self.slug), around, events.PUBLIC)
        headers = encode_headers(change, events.PUBLIC)
        return Outgoing(replication(self.to, self.prefix), change.key, content, headers)

    # --- what the other manager must hold then

    def differences(self, store: Store) -> list[str]:
        """In what a manager's replicas are not as they must be, each in a few words; nothing: it is in step."""
        found = []
        by_identifier: dict[str, list[Version]] = defaultdict(list)
        for version in store.live("CareTeam").values():
            by_identifier[version.content["identifier"][0]["value"]].append(version)
        for number, circle in self.now.items():
            there = by_identifier.pop(f"{self.slug}-{number}", [])
            if number in self.gone:
                alive = [one for one in there if one.content["status"] != "entered-in-error"]
                found += [f"{number}: not removed"] if alive else []
            elif len(there) != 1:
                found.append(f"{number}: {len(there)} replicas")
            else:
                found += [f"{number}: {one}" for one in self._differs(number, circle, there[0], store)]
        return found + _doubles(store)

    def _differs(self, number: int, circle: Json, replica: Version, store: Store) -> list[str]:
        held = replica.content
        found = [name for name in ("name", "status", "period") if held[name] != circle[name]]
        tags = {(tag["system"], tag["code"]) for tag in held["meta"]["tag"]}
        if COPY not in tags or (SEQUENCE, str(self.sequence[number])) not in tags:
            found.append(f"marks {sorted(tags)}")
        if held["meta"]["source"] != f"{events.PUBLIC}/CareTeam/{self.slug}.c{number}":
            found.append("source")
        if _value(store, held["subject"]) != ins(number):
            found.append("subject")
        periods = [one["period"] for one in held["participant"]]
        if periods != [one["period"] for one in circle["participant"]]:
            found.append("participation")
        practice, relative = (one["member"] for one in held["participant"])
        role = _at(store, practice)
        if role is None or _value(store, role["practitioner"]) != f"1000123456{number % self.shared}":
            found.append("practice")
        if _value(store, relative) != f"rp-rp{number}":
            found.append("relative")
        if _value(store, held["managingOrganization"][0]) != f"35000000{number % self.shared}":
            found.append("organisation")
        return found


def _at(store: Store, reference: Json) -> Json | None:
    kind, _, local = str(reference.get("reference", "/")).partition("/")
    version = store.current(kind, local)
    return None if version is None or version.deleted else dict(version.content)


def _value(store: Store, reference: Json) -> str | None:
    found = _at(store, reference)
    return None if found is None else str(found["identifier"][0]["value"])


def _doubles(store: Store) -> list[str]:
    """Actors that are there more than once."""
    counted: dict[tuple[str, str], int] = defaultdict(int)
    for kind in ACTORS:
        for version in store.live(kind).values():
            for identifier in version.content.get("identifier", ()):
                counted[kind, orjson.dumps(identifier).decode()] += 1
    return [f"{kind} {count} times" for (kind, _), count in counted.items() if count > 1]
