"""What a manager holds, asked of it over HTTP: every version; and its contents, to be compared with another's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from registry.model import TRE_R30
from tests.support.sync_servers import Servers
from tests.support.sync_world import SEQUENCE
from tests.support.write_federation import COPY
from tests.support.write_world import Json

KINDS = ("CareTeam", "Patient", "RelatedPerson", "PractitionerRole", "Practitioner", "Organization")
MARKS = {COPY["system"], SEQUENCE, "urn:cds-broker:as-of", TRE_R30}
"""Systems of tags that a replica has beside those of its original."""

IN_ERROR = "entered-in-error"
_URI = "urn:ietf:rfc:3986"


@dataclass(frozen=True)
class Held:
    """What a manager holds. `versions`: by `Type/id`, oldest first; None where it was deleted."""

    slug: str
    versions: Mapping[str, list[Json | None]]

    def live(self, kind: str) -> Iterator[Json]:
        for name, versions in self.versions.items():
            if name.startswith(f"{kind}/") and versions[-1] is not None:
                yield versions[-1]

    def plain(self, resource: Json, within: tuple[str, ...] = ()) -> Any:
        """A resource without what belongs to its place, and each reference as what it leads to."""
        bare = {name: value for name, value in resource.items() if name not in ("id", "meta")}
        meta = resource.get("meta", {})
        bare["profile"] = meta.get("profile")
        bare["tags"] = [one for one in meta.get("tag", ()) if one.get("system") not in MARKS]
        # One without a business identifier is known by its address where it is copied.
        named = [one for one in bare.get("identifier", ()) if one.get("system") != _URI]
        bare["identifier"] = named
        return self._followed(bare, within)

    def _followed(self, value: Any, within: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [self._followed(one, within) for one in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("reference")
        if isinstance(reference, str):
            versions = self.versions.get(reference, [None])
            if versions[-1] is None or reference in within:
                return f"nothing at {reference}"
            return self.plain(versions[-1], (*within, reference))
        return {name: self._followed(one, within) for name, one in value.items()}


async def held_at(site: Servers, slug: str) -> Held:
    versions: dict[str, list[Json | None]] = defaultdict(list)
    for kind in KINDS:
        url: str | None = f"{site.managers.addresses[slug]}/{kind}/_history?_count=100"
        while url is not None:
            async with site.http.get(url) as answer:
                assert answer.status == 200, await answer.text()
                bundle = orjson.loads(await answer.read())
            for one in bundle.get("entry", ()):
                name = "/".join(one["request"]["url"].split("/")[-2:])
                resource = one.get("resource")
                versions[name if resource is None else f"{kind}/{resource['id']}"].append(resource)
            url = next((one["url"] for one in bundle["link"] if one["relation"] == "next"), None)
    return Held(slug, {name: found[::-1] for name, found in versions.items()})


def doubles(held: Held) -> list[str]:
    """Actors that are there more than once."""
    counted = Counter(
        (kind, orjson.dumps(identifier).decode())
        for kind in KINDS
        for one in held.live(kind)
        for identifier in one.get("identifier", ())
        if one.get("status") != IN_ERROR
    )
    return [f"{kind} {identifier} is there {n} times" for (kind, identifier), n in counted.items() if n > 1]
