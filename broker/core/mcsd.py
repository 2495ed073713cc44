"""The registry of managers as FHIR, after IHE mCSD: an Organization and an Endpoint for each. Pure.

Both carry the manager's slug as id and its revision as versionId. They are made of the declaration alone: what
was learnt of a manager changes without a new revision, so it has no place in them. (FHIR R4 organization.html,
endpoint.html; IHE ITI mCSD, Find Matching Care Services.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from broker.core.search_parameters import ParamType, SearchParameter
from registry.model import REGIONS, TRE_R30, Registered, Status

Resource = dict[str, Any]
Version = tuple[Registered, bool]
"""A version of a manager, and whether it is its removal."""

FINESS: Final = "https://finess.esante.gouv.fr"
_ORGANIZATION_TYPE: Final = "http://terminology.hl7.org/CodeSystem/organization-type"
_CONNECTION_TYPE: Final = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
_RESOURCE_TYPES: Final = "http://hl7.org/fhir/resource-types"
_R4: Final = "http://hl7.org/fhir/SearchParameter/"


def organization(registered: Registered) -> Resource:
    """The body that runs a manager."""
    one = registered.gestionnaire
    resource: Resource = {
        "resourceType": "Organization",
        "id": one.id,
        "meta": _meta(registered),
        "active": True,
        "type": [
            {
                "coding": [{"system": _ORGANIZATION_TYPE, "code": "other", "display": "Other"}],
                "text": "Gestionnaire de cercles de soins",
            }
        ],
        "name": one.name,
        "endpoint": [{"reference": f"Endpoint/{one.id}"}],
    }
    if one.organization is not None:
        resource["identifier"] = [{"system": FINESS, "value": one.organization}]
    return resource


def endpoint(registered: Registered) -> Resource:
    """Where its circles are asked for."""
    one = registered.gestionnaire
    return {
        "resourceType": "Endpoint",
        "id": one.id,
        "meta": _meta(registered),
        "status": "active" if one.status is Status.ACTIVE else "suspended",
        "connectionType": {"system": _CONNECTION_TYPE, "code": "hl7-fhir-rest", "display": "HL7 FHIR"},
        "name": one.name,
        "managingOrganization": {"reference": f"Organization/{one.id}", "display": one.name},
        "payloadType": [{"coding": [{"system": _RESOURCE_TYPES, "code": "CareTeam"}], "text": "CareTeam"}],
        "payloadMimeType": ["application/fhir+json"],
        "address": one.base_url,
    }


VIEWS: Mapping[str, Callable[[Registered], Resource]] = {"Organization": organization, "Endpoint": endpoint}


def _parameters(kind: str, *own: SearchParameter) -> Mapping[str, SearchParameter]:
    common = (
        SearchParameter("_id", ParamType.TOKEN, ("id",), definition=_R4 + "Resource-id"),
        SearchParameter(
            "_lastUpdated", ParamType.DATE, ("meta.lastUpdated",), definition=_R4 + "Resource-lastUpdated"
        ),
        SearchParameter("_tag", ParamType.TOKEN, ("meta.tag",), definition=_R4 + "Resource-tag"),
        SearchParameter("identifier", ParamType.TOKEN, ("identifier",), definition=f"{_R4}{kind}-identifier"),
        SearchParameter("name", ParamType.STRING, ("name",), definition=f"{_R4}{kind}-name"),
    )
    return {parameter.name: parameter for parameter in (*common, *own)}


PARAMETERS: Mapping[str, Mapping[str, SearchParameter]] = {
    "Organization": _parameters("Organization"),
    "Endpoint": _parameters(
        "Endpoint",
        SearchParameter("status", ParamType.TOKEN, ("status",), definition=_R4 + "Endpoint-status"),
        SearchParameter(
            "organization",
            ParamType.REFERENCE,
            ("managingOrganization",),
            ("Organization",),
            definition=_R4 + "Endpoint-organization",
        ),
    ),
}
"""What the view can be searched by."""


def searchset(base: str, resources: Iterable[Resource], total: int, links: Mapping[str, str]) -> Resource:
    entries = [
        {
            "fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}",
            "resource": resource,
            "search": {"mode": "match"},
        }
        for resource in resources
    ]
    return _bundle("searchset", total, links, entries)


def history(
    base: str, kind: str, entries: Sequence[tuple[Version, str]], total: int, links: Mapping[str, str]
) -> Resource:
    """A history Bundle of versions with the HTTP method that made each (`with_methods`), newest first."""
    view = VIEWS[kind]
    rendered = []
    for (registered, removed), method in entries:
        slug = registered.gestionnaire.id
        entry: Resource = {"fullUrl": f"{base}/{kind}/{slug}"}
        if not removed:
            entry["resource"] = view(registered)
        entry["request"] = {"method": method, "url": kind if method == "POST" else f"{kind}/{slug}"}
        entry["response"] = {
            "status": {"POST": "201", "PUT": "200", "DELETE": "204"}[method],
            "etag": f'W/"{registered.revision}"',
            "lastModified": registered.updated_at,
        }
        rendered.append(entry)
    return _bundle("history", total, links, rendered)


def with_methods(versions: Sequence[Version]) -> list[tuple[Version, str]]:
    """Each version, newest first, with the method that made it: a creation follows nothing, or a removal."""
    absent: set[str] = set()
    rendered: list[tuple[Version, str]] = []
    for version in reversed(versions):
        registered, removed = version
        slug = registered.gestionnaire.id
        if removed:
            absent.add(slug)
            method = "DELETE"
        else:
            method = "POST" if registered.revision == 1 or slug in absent else "PUT"
            absent.discard(slug)
        rendered.append((version, method))
    return rendered[::-1]


def capability_statement(base: str, version: str) -> Resource:
    """What the view offers: read-only, JSON."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-22",
        "kind": "instance",
        "software": {"name": "cds-broker", "version": version},
        "implementation": {
            "description": "Registre des gestionnaires / Registry of the managers",
            "url": base,
        },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [{"mode": "server", "resource": [_offered(kind) for kind in VIEWS]}],
    }


def _offered(kind: str) -> Resource:
    interactions = ("read", "vread", "history-instance", "history-type", "search-type")
    return {
        "type": kind,
        "interaction": [{"code": code} for code in interactions],
        "versioning": "versioned",
        "readHistory": True,
        "updateCreate": False,
        "searchParam": [
            {"name": one.name, "definition": one.definition, "type": one.type.value}
            for one in PARAMETERS[kind].values()
        ],
    }


def _meta(registered: Registered) -> Resource:
    region = registered.gestionnaire.region
    tag = {"system": TRE_R30, "code": region}
    if region in REGIONS:
        tag["display"] = REGIONS[region]
    return {
        "versionId": str(registered.revision),
        "lastUpdated": registered.updated_at,
        "tag": [tag],
    }


def _bundle(kind: str, total: int, links: Mapping[str, str], entries: list[Resource]) -> Resource:
    bundle: Resource = {
        "resourceType": "Bundle",
        "type": kind,
        "total": total,
        "link": [{"relation": relation, "url": url} for relation, url in links.items()],
    }
    if entries:  # an empty array is no valid FHIR JSON
        bundle["entry"] = entries
    return bundle
