"""Circles as their home shows them, and the change events that tell of them."""

from __future__ import annotations

from typing import Any

from broker.core.bundle import read_resource
from broker.core.change_event import Change, Operation, encode_headers
from broker.core.entry import Entry
from broker.core.event_content import ChangeEvent, full_content, id_only_content, read_event
from broker.core.identity import Origin, public_id
from tests.support.fhir_builders import care_team, patient, related_person, to_bytes

PUBLIC = "https://broker.example/fhir"
REGIONS = {"bre": "53", "occ": "76", "idf": "11"}
RPPS = "https://rpps.esante.gouv.fr"
FINESS = "https://finess.esante.gouv.fr"

Resource = dict[str, Any]


def entry(resource: Resource, slug: str = "bre") -> Entry:
    """A manager's resource in public terms, as the broker reads it."""
    origin = Origin(slug, f"https://{slug}.example/fhir", PUBLIC, REGIONS[slug])
    return read_resource(to_bytes(resource), origin, resource["resourceType"], {})


def held(resource: Resource) -> Entry:
    """A resource in its manager's own terms, as the agent reads it."""
    meta = resource.get("meta", {})
    tags = tuple((one.get("system"), one["code"]) for one in meta.get("tag", ()))
    local = resource["id"]
    kind, version, updated = resource["resourceType"], meta.get("versionId"), meta.get("lastUpdated")
    return Entry("match", kind, local, local, version, updated, meta.get("source"), tags, to_bytes(resource))


def practitioner(id: str, *, rpps: str = "10001234567", **more: Any) -> Resource:  # noqa: A002
    return {
        "resourceType": "Practitioner",
        "id": id,
        "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"},
        "identifier": [{"system": RPPS, "value": rpps}],
        "name": [{"family": "SOIGNANT"}],
    } | more


def role(id: str, *, who: str, where: str, **more: Any) -> Resource:  # noqa: A002
    """A PractitionerRole without an identifier, as most are."""
    return {
        "resourceType": "PractitionerRole",
        "id": id,
        "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"},
        "practitioner": {"reference": f"Practitioner/{who}"},
        "organization": {"reference": f"Organization/{where}"},
    } | more


def organization(id: str, *, finess: str = "350000001", **more: Any) -> Resource:  # noqa: A002
    return {
        "resourceType": "Organization",
        "id": id,
        "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"},
        "identifier": [{"system": FINESS, "value": finess}],
        "name": "Cabinet",
    } | more


def team(id: str = "12", **more: Any) -> Resource:  # noqa: A002
    """A circle with a person, a role and a relative."""
    participants = ("PractitionerRole/r1", "RelatedPerson/rp1")
    stated = {
        "subject": "Patient/p1",
        "participants": participants,
        "managing_organization": "Organization/o1",
    }
    return care_team(id, **(stated | more))


def actors() -> list[Resource]:
    return [
        organization("o1"),
        practitioner("d1"),
        role("r1", who="d1", where="o1"),
        related_person("rp1"),
        patient("p1"),
    ]


def change(
    local_id: str = "12",
    *,
    sequence: int = 7,
    version: str | None = "3",
    operation: Operation = Operation.UPDATED,
    last_updated: str | None = "2026-01-01T00:00:00Z",
    slug: str = "bre",
) -> Change:
    public = public_id(slug, local_id)
    return Change(slug, REGIONS[slug], local_id, public, version, last_updated, operation, sequence)


def event(
    told: Change, circle: Resource | None = None, with_actors: list[Resource] | None = None
) -> ChangeEvent:
    """As a reader gets it: written and read back."""
    if circle is None:
        content = id_only_content(told, PUBLIC)
    else:
        others = actors() if with_actors is None else with_actors
        entries = [entry(one, told.manager) for one in others]
        content = full_content(told, entry(circle, told.manager), entries, PUBLIC)
    return read_event(told.key, content, encode_headers(told, PUBLIC))
