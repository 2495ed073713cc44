"""Do chained criteria really filter? Some servers answer them with everything, others with nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from broker.core.search_parameters import PARAMETERS
from broker.federation.check_holdings import Holdings
from broker.federation.check_session import CheckSession, together
from broker.federation.probe_pages import Resource
from broker.federation.probes import bad_value, good_value, is_personal, references

Working = Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class _Chain:
    """A chain the guide names: `prefix` and then a parameter of `end`; `links` are the parameters on the way.

    `paths` lead from a circle to the actor at the end, one reference element per step.
    """

    prefix: str
    end: str
    paths: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    parameters: tuple[str, ...]  # the first that can be tried is


_CHAINS = (
    _Chain(
        "patient.", "Patient", ("subject",), (("CareTeam", "patient"),), ("identifier", "family", "gender")
    ),
    _Chain(
        "participant:RelatedPerson.",
        "RelatedPerson",
        ("participant.member",),
        (("CareTeam", "participant"),),
        ("name", "relationship"),
    ),
    _Chain(
        "participant:PractitionerRole.",
        "PractitionerRole",
        ("participant.member",),
        (("CareTeam", "participant"),),
        ("role",),
    ),
    _Chain(
        "participant:PractitionerRole.practitioner:Practitioner.",
        "Practitioner",
        ("participant.member", "practitioner"),
        (("CareTeam", "participant"), ("PractitionerRole", "practitioner")),
        ("identifier", "name"),
    ),
)


async def check_chaining(session: CheckSession, held: Holdings, working: Working) -> bool | None:
    """True where every chain that could be tried finds its circle by a good value and nothing by a bad one.

    Only chains whose parts work by themselves are tried: a broken part is a lack of its own.
    """
    verdicts = await together(*(_try(session, chain, held, working) for chain in _CHAINS))
    if False in verdicts:
        return False
    return True if True in verdicts else None


async def _try(session: CheckSession, chain: _Chain, held: Holdings, working: Working) -> bool | None:
    if not all(name in working.get(kind, ()) for kind, name in chain.links):
        return None
    for name in chain.parameters:
        if name not in working.get(chain.end, ()) or (is_personal(chain.end, name) and not session.post):
            continue
        for circle, actor in _ends(chain, held, session.base):
            parameter = PARAMETERS[chain.end][name]
            good = good_value(actor, parameter, session.base)
            if good is not None:
                bad = bad_value(parameter, good)
                return await _filters(session, chain.prefix + name, good, bad, str(circle["id"]), working)
    return None


def _ends(chain: _Chain, held: Holdings, base: str) -> Iterator[tuple[Resource, Resource]]:
    """Every circle with an actor at the end of the chain."""
    for circle in held.circles:
        ends = [circle]
        for path in chain.paths:
            ends = [actor for target in references(ends, path, base) if (actor := held.get(target))]
        for actor in ends:
            if actor["resourceType"] == chain.end:
                yield circle, actor


async def _filters(
    session: CheckSession, name: str, good: str, bad: str, circle: str, working: Working
) -> bool | None:
    anchor = [("_id", circle)] if "_id" in working.get("CareTeam", ()) else []
    found, stray = await together(
        session.search("CareTeam", [*anchor, (name, good), ("_count", "20")]),
        session.search("CareTeam", [*anchor, (name, bad), ("_count", "1")]),
    )
    if found.refused or stray.refused or (stray.page is not None and stray.page.matches):
        return False
    if found.page is None or stray.page is None:
        return None
    if circle in found.page.ids:
        return True
    return None if found.page.more else False
