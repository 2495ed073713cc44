"""What a manager holds, as far as a check needs it: some circles and their actors, brought by include if it
can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from broker.core.search_parameters import PARAMETERS, TYPES
from broker.federation.check_session import CheckSession, Found
from broker.federation.probe_pages import Resource
from broker.federation.probes import good_value, references

_CIRCLES: Final = ("_count", "20")
_INCLUDES: Final = [("_include", "CareTeam:subject"), ("_include", "CareTeam:participant")]
_ITERATE: Final = ("_include:iterate", "PractitionerRole:practitioner")
_POOL: Final = 20  # actors kept of each type
_ABSENT_READS: Final = 2  # missing targets that are read, to tell "not included" from "not there"

Target = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Holdings:
    """`circles`: richest first. `include`, `iterate`: whether those bring what is referenced."""

    circles: tuple[Resource, ...]
    actors: Mapping[str, tuple[Resource, ...]]
    include: bool | None = None
    iterate: bool | None = None

    def of(self, resource_type: str) -> tuple[Resource, ...]:
        return self.circles if resource_type == "CareTeam" else self.actors.get(resource_type, ())

    def get(self, target: Target) -> Resource | None:
        return next((r for r in self.of(target[0]) if r["id"] == target[1]), None)


async def gather_holdings(session: CheckSession, circles: Sequence[Resource]) -> Holdings:
    """Ask for circles with their actors; what does not come that way is read, or searched for."""
    ranked = tuple(sorted(circles, key=lambda circle: _richness(circle, session.base), reverse=True))
    found: dict[Target, Resource] = {}
    include = iterate = None
    if ranked:
        include, iterate = await _include(session, found)
        await _read_missing(session, ranked[:3], found)
    await _search_missing(session, found)
    actors = {kind: tuple(r for r in found.values() if r["resourceType"] == kind)[:_POOL] for kind in TYPES}
    return Holdings(ranked, actors, include, iterate)


async def _include(session: CheckSession, found: dict[Target, Resource]) -> tuple[bool | None, bool | None]:
    """Whether `_include` and `:iterate` work; what came is put into `found`."""
    answer, iterated = await _with_includes(session)
    if answer.page is None:
        return (False, False) if answer.refused else (None, None)
    found.update(answer.page.held())
    circles = answer.page.matches
    include = await _brought(session, [*_subjects(circles, session), *_members(circles, session)], found)
    if include is False or not iterated:
        return include, False
    roles = [resource for (kind, _), resource in found.items() if kind == "PractitionerRole"]
    return include, await _brought(session, references(roles, "practitioner", session.base), found)


def _richness(circle: Resource, base: str) -> tuple[int, int]:
    """How many parameters it can be found by; then of how many kinds its members are."""
    table = PARAMETERS["CareTeam"].values()
    kinds = {kind for kind, _ in references([circle], "participant.member", base)}
    return sum(good_value(circle, parameter, base) is not None for parameter in table), len(kinds)


async def _with_includes(session: CheckSession) -> tuple[Found, bool]:
    """The page, and whether `:iterate` was part of what was asked."""
    found = await session.search("CareTeam", [_CIRCLES, *_INCLUDES, _ITERATE])
    if not found.refused:
        return found, True
    return await session.search("CareTeam", [_CIRCLES, *_INCLUDES]), False


def _subjects(circles: Iterable[Resource], session: CheckSession) -> list[Target]:
    return references(circles, "subject", session.base)


def _members(circles: Iterable[Resource], session: CheckSession) -> list[Target]:
    return references(circles, "participant.member", session.base)


async def _brought(
    session: CheckSession, targets: Sequence[Target], found: Mapping[Target, Resource]
) -> bool | None:
    """Whether all targets came, but for those that the manager does not hold: a reference may dangle."""
    absent = [target for target in targets if target not in found]
    for target in absent[:_ABSENT_READS]:
        if await _read(session, target) is not None:
            return False
    return True if len(absent) < len(targets) else None


async def _read(session: CheckSession, target: Target) -> Resource | None:
    answer = await session.probe("GET", f"{target[0]}/{target[1]}")
    if answer is None or answer.status != 200:
        return None
    try:
        resource = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    whole = isinstance(resource, dict) and (resource.get("resourceType"), resource.get("id")) == target
    return resource if whole else None


async def _read_missing(
    session: CheckSession, circles: Sequence[Resource], found: dict[Target, Resource]
) -> None:
    """One actor of each type that the circles lead to and of which none came."""

    async def read_one_of_each(targets: Iterable[Target]) -> None:
        for target in targets:
            if not any(kind == target[0] for kind, _ in found):
                resource = await _read(session, target)
                if resource is not None:
                    found[target] = resource

    managing = references(circles, "managingOrganization", session.base)
    await read_one_of_each([*_subjects(circles, session), *_members(circles, session), *managing])
    roles = [resource for (kind, _), resource in found.items() if kind == "PractitionerRole"]
    await read_one_of_each(references(roles, "practitioner", session.base))
    await read_one_of_each(references(roles, "organization", session.base))


async def _search_missing(session: CheckSession, found: dict[Target, Resource]) -> None:
    held = {kind for kind, _ in found}
    for kind in TYPES:
        if kind != "CareTeam" and kind not in held:
            page = (await session.search(kind, [("_count", "5")])).page
            if page is not None:
                found.update(page.held())
