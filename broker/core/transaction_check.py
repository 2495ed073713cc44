"""What a transaction must keep as a whole: cds-bundle-transaction-creation and -maj, and FHIR's own rules for Bundles.

The two profiles differ in what they count: a creation is about one circle and one Patient, an update about any number. A
Bundle that creates a circle, or says that it follows the profile of creations, is held to that one. The slices are by
profile; here, as everywhere in the guide, a type has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from broker.errors import Issue

CREATION: Final = (
    "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-bundle-transaction-creation"
)

Fault = tuple[int, Issue]
"""An issue and the index of the entry that it is about; -1: the Bundle."""


def fault(index: int, where: str, key: str, **params: str) -> Fault:
    """`where`: FHIRPath below the entry."""
    return index, Issue(key, params, "error", (f"Bundle.entry[{index}]{where}",))


def faults_of_whole(bundle: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """What is wrong with the entries together. They are as the client wrote them."""
    yield from _repeated(entries)
    circles = _of_type(entries, "CareTeam")
    if not _says_creation(bundle) and all(method_of(entries[index]) != "POST" for index in circles):
        return
    yield from _not_one(circles, "transaction.one-circle")
    yield from _not_one(_of_type(entries, "Patient"), "transaction.one-patient")


def _repeated(entries: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """FHIR R4, bdl-7 and http.html#trules: one fullUrl each, one entry for a resource."""
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        for where, name in (("fullUrl", entry.get("fullUrl")), ("resource", _identity(entry))):
            if isinstance(name, str):
                if (named := f"{where} {name}") in seen:
                    yield fault(index, f".{where}", "transaction.duplicate")
                seen.add(named)


def _identity(entry: Mapping[str, Any]) -> str | None:
    resource = entry.get("resource")
    if not isinstance(resource, dict) or not isinstance(resource.get("id"), str):
        return None
    return f"{resource.get('resourceType')}/{resource['id']}"


def _not_one(found: Sequence[int], key: str) -> Iterator[Fault]:
    if not found:
        yield -1, Issue(key, {}, "error", ("Bundle.entry",))
    for index in found[1:]:
        yield fault(index, "", key)


def _of_type(entries: Sequence[Mapping[str, Any]], resource_type: str) -> list[int]:
    return [
        index
        for index, entry in enumerate(entries)
        if isinstance(resource := entry.get("resource"), dict)
        and resource.get("resourceType") == resource_type
    ]


def _says_creation(bundle: Mapping[str, Any]) -> bool:
    meta = bundle.get("meta")
    profiles = meta.get("profile") if isinstance(meta, dict) else None
    return isinstance(profiles, list) and any(
        isinstance(one, str) and one.partition("|")[0] == CREATION for one in profiles
    )


def method_of(entry: Mapping[str, Any]) -> object:
    request = entry.get("request")
    return request.get("method") if isinstance(request, dict) else None
