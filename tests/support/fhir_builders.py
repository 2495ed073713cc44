"""Small FHIR resources for tests: made-up people, identifiers of the test system."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Resource = dict[str, Any]

INS_TEST = "urn:oid:1.2.250.1.213.1.4.10"
CIRCLE_SYSTEM = "https://cds.example/circles"
INS = ("295109912611193", "253072A07300443", "253072B07300470")
"""Values of the test system whose keys are right."""


def _meta(version: str, last_updated: str) -> Resource:
    return {"versionId": version, "lastUpdated": last_updated}


def care_team(
    id: str,  # noqa: A002
    *,
    last_updated: str = "2026-01-01T00:00:00Z",
    identifier: str | None = None,
    subject: str = "Patient/p1",
    participants: Sequence[str] = (),
    managing_organization: str | None = None,
    status: str = "active",
    version: str = "1",
    **more: Any,
) -> Resource:
    """A circle; `identifier` is its value in `CIRCLE_SYSTEM` (default: from the id)."""
    resource: Resource = {
        "resourceType": "CareTeam",
        "id": id,
        "meta": _meta(version, last_updated),
        "identifier": [{"system": CIRCLE_SYSTEM, "value": identifier or f"circle-{id}"}],
        "status": status,
        "name": f"Cercle {id}",
        "subject": {"reference": subject},
        "period": {"start": "2025-01-01"},
        "participant": [
            {"member": {"reference": member}, "period": {"start": "2025-01-01"}} for member in participants
        ],
    }
    if managing_organization:
        resource["managingOrganization"] = [{"reference": managing_organization}]
    return resource | more


def patient(
    id: str,  # noqa: A002
    *,
    ins: str = INS[0],
    family: str = "EXEMPLE",
    last_updated: str = "2026-01-01T00:00:00Z",
    **more: Any,
) -> Resource:
    return {
        "resourceType": "Patient",
        "id": id,
        "meta": _meta("1", last_updated),
        "identifier": [{"system": INS_TEST, "value": ins}],
        "name": [{"family": family, "given": ["Dominique"]}],
        "birthDate": "1951-09-09",
    } | more


def related_person(id: str, *, patient: str = "Patient/p1", family: str = "PROCHE", **more: Any) -> Resource:  # noqa: A002
    return {
        "resourceType": "RelatedPerson",
        "id": id,
        "meta": _meta("1", "2026-01-01T00:00:00Z"),
        "identifier": [{"system": "https://cds.example/related", "value": f"rp-{id}"}],
        "patient": {"reference": patient},
        "name": [{"family": family}],
        "telecom": [{"system": "phone", "value": "+33100000000"}],
    } | more


def circles(count: int, *, prefix: str = "c", subject: str = "Patient/p1") -> list[Resource]:
    """`count` circles, one minute apart, `{prefix}0` the newest."""
    return [
        care_team(
            f"{prefix}{n}",
            last_updated=f"2026-01-{1 + (count - n) // 1440:02d}"
            f"T{(count - n) // 60 % 24:02d}:{(count - n) % 60:02d}:00Z",
            subject=subject,
        )
        for n in range(count)
    ]


def bundle(
    matches: Iterable[Resource] = (),
    *,
    includes: Iterable[Resource] = (),
    base: str = "http://manager.example/fhir",
    total: int | None = None,
    links: Mapping[str, str] | None = None,
    type: str = "searchset",  # noqa: A002
) -> Resource:
    """A searchset (or `type`) as a well-behaved manager writes it; `links` maps relation to URL."""
    result: Resource = {"resourceType": "Bundle", "type": type}
    if total is not None:
        result["total"] = total
    result["link"] = [{"relation": relation, "url": url} for relation, url in (links or {}).items()]
    result["entry"] = [_entry(r, base, "match") for r in matches] + [
        _entry(r, base, "include") for r in includes
    ]
    return result


def operation_outcome(diagnostics: str = "scripted", *, code: str = "processing") -> Resource:
    issue = {"severity": "error", "code": code, "diagnostics": diagnostics}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def to_bytes(resource: Resource) -> bytes:
    return json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()


def _entry(resource: Resource, base: str, mode: str) -> Resource:
    return {
        "fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}",
        "resource": resource,
        "search": {"mode": mode},
    }
