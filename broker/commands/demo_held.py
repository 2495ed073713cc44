"""What the managers of the demonstration hold, asked of each directly, and what a federation must make of it.

The expectations of `demo --check` come from here: plain reading of plain data, with nothing of the broker's own code in
between, so that a defect of the broker shows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

import aiohttp

from broker.commands.demo_federation import Demo

Resource = Mapping[str, Any]
Held = Mapping[str, Mapping[str, Resource]]
"""One manager's resources: by type, then by its own id."""

TYPES = ("CareTeam", "Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Organization")
_REPLICA = {"system": "urn:cds-broker:copy", "code": "replica"}


async def read_held(demo: Demo) -> dict[str, Held]:
    """Everything, by slug."""
    async with aiohttp.ClientSession() as http:
        return {
            one.slug: {kind: await _all(http, one.base_url, kind) for kind in TYPES} for one in demo.managers
        }


async def read_versions(demo: Demo) -> dict[str, list[Resource]]:
    """Every version of every circle, by slug."""
    async with aiohttp.ClientSession() as http:
        return {one.slug: await _pages(http, f"{one.base_url}/CareTeam/_history") for one in demo.managers}


async def _all(http: aiohttp.ClientSession, base: str, kind: str) -> dict[str, Resource]:
    return {one["id"]: one for one in await _pages(http, f"{base}/{kind}?_count=100")}


async def _pages(http: aiohttp.ClientSession, first: str) -> list[Resource]:
    found: list[Resource] = []
    url: str | None = first
    while url is not None:
        async with http.get(url, raise_for_status=True) as answer:
            bundle = await answer.json(content_type=None)
        found += [entry["resource"] for entry in bundle.get("entry", ())]
        following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        url = urljoin(url, following[0]) if following else None
    return found


def circles(held: Mapping[str, Held], *, without: str | None = None) -> dict[str, Resource]:
    """The circles a search must show, by public id, when every manager answers but `without`.

    A replica is shown only when its home does not answer. There is one replica, of the first manager's.
    """
    home = next(iter(held))
    return {
        f"{slug}.{identity}": circle
        for slug, one in held.items()
        if slug != without
        for identity, circle in one["CareTeam"].items()
        if not is_replica(circle) or without == home
    }


def is_replica(circle: Resource) -> bool:
    return _REPLICA in circle["meta"].get("tag", ())


def newest_first(found: Mapping[str, Resource]) -> list[str]:
    """Public ids by `_lastUpdated`, newest first, ties by public id."""
    return sorted(sorted(found), key=lambda one: str(found[one]["meta"]["lastUpdated"]), reverse=True)


def where(found: Mapping[str, Resource], test: Callable[[str, Resource], bool]) -> set[str]:
    return {public for public, circle in found.items() if test(public.partition(".")[0], circle)}


def get(held: Held, reference: str) -> Resource:
    kind, _, identity = reference.partition("/")
    return held[kind][identity]


def subject(held: Held, circle: Resource) -> Resource:
    return get(held, circle["subject"]["reference"])


def members(held: Held, circle: Resource, kind: str) -> list[Resource]:
    """The members of one type, each once for each participation."""
    references = [one["member"]["reference"] for one in circle.get("participant", ())]
    return [get(held, one) for one in references if one.startswith(f"{kind}/")]


def tokens(resource: Resource) -> set[str]:
    """`system|value` of each identifier."""
    return {f"{one.get('system', '')}|{one['value']}" for one in resource.get("identifier", ())}


def ins_of_subject(held: Held, circle: str) -> str:
    return min(tokens(subject(held, held["CareTeam"][circle])))


def begins(text: str, start: str) -> bool:
    """As a FHIR string search compares: from the start, whatever case and accents."""
    return _plain(text).startswith(_plain(start))


def _plain(text: str) -> str:
    split = unicodedata.normalize("NFD", text.casefold())
    return "".join(one for one in split if not unicodedata.combining(one))


def made_public(value: Any, slug: str) -> Any:
    """A resource as the federation shows it, but for id and meta: its references carry public ids."""
    if isinstance(value, Mapping):
        return {
            name: _public_reference(inner, slug) if name == "reference" else made_public(inner, slug)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [made_public(inner, slug) for inner in value]
    return value


def _public_reference(reference: str, slug: str) -> str:
    kind, _, identity = reference.partition("/")
    return f"{kind}/{slug}.{identity}" if kind in TYPES else reference


def references(value: Any) -> Iterator[str]:
    """Every reference in a resource."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "reference" and isinstance(inner, str):
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)
