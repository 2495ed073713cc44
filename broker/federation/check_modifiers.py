"""Do modifiers modify? A server that drops one answers another question: `:exact` as a prefix, `:not` as its contrary.

As for parameters, a modifier works where a value that a held resource meets brings that resource back *and* one
that it does not meet leaves it out. The values are chosen so that the search without the modifier would answer
otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.element_paths import values_at
from broker.core.lacks import MODIFIERS
from broker.core.search_parameters import PARAMETERS
from broker.federation.check_holdings import Holdings
from broker.federation.check_session import CheckSession, Found, together
from broker.federation.probe_pages import Resource
from broker.federation.probes import NOBODY, bad_value, escape, good_value, is_personal

Working = Mapping[str, Collection[str]]

_NAMES: Final = (
    ("Organization", "name"),
    ("Patient", "family"),
    ("RelatedPerson", "name"),
    ("Practitioner", "name"),
)
_CODES: Final = (("CareTeam", "status"), ("CareTeam", "category"), ("Patient", "gender"))
_TEXTS: Final = (("CareTeam", "category"), ("PractitionerRole", "role"), ("RelatedPerson", "relationship"))
_ALWAYS_THERE: Final = (("CareTeam", "status"), ("CareTeam", "identifier"), ("CareTeam", "patient"))
_REFERENCES: Final = (
    ("CareTeam", "managingOrganization"),
    ("CareTeam", "participant"),
    ("CareTeam", "patient"),
    ("CareTeam", "subject"),
    ("PractitionerRole", "organization"),
    ("PractitionerRole", "practitioner"),
)
_CANDIDATES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "exact": _NAMES,
    "contains": _NAMES,
    "not": _CODES,
    "missing": _ALWAYS_THERE,
    "text": _TEXTS,
    "identifier": _REFERENCES,
}
_UNTOLD_REFERENCES: Final = frozenset({"managingOrganization", "organization"})
"""References whose identifier says nothing about a person."""


@dataclass(frozen=True, slots=True)
class Modifiers:
    """`working`: those seen to work, sorted (None: none could be tried); `untried`: those that could not."""

    working: tuple[str, ...] | None = None
    untried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Trial:
    type: str
    name: str  # with its modifier
    good: str
    bad: str
    holder: str


async def check_modifiers(session: CheckSession, held: Holdings, working: Working) -> Modifiers:
    """Each modifier once, on the first parameter that works without it and that a held resource has a value for."""
    trials = [_trial(modifier, held, working, session) for modifier in MODIFIERS]
    verdicts = await together(*(_verdict(session, trial, working) for trial in trials))
    by_name = dict(zip(MODIFIERS, verdicts, strict=True))
    untried = tuple(name for name, verdict in by_name.items() if verdict is None)
    if len(untried) == len(MODIFIERS):
        return Modifiers()
    return Modifiers(tuple(sorted(name for name, verdict in by_name.items() if verdict)), untried)


def _trial(modifier: str, held: Holdings, working: Working, session: CheckSession) -> _Trial | None:
    for kind, name in _CANDIDATES[modifier]:
        if name not in working.get(kind, ()) or (_is_personal(kind, name, modifier) and not session.post):
            continue
        for resource in held.of(kind):
            for good, bad in _values(modifier, resource, name, session.base):
                return _Trial(kind, f"{name}:{modifier}", good, bad, str(resource["id"]))
    return None


def _is_personal(kind: str, name: str, modifier: str) -> bool:
    return is_personal(kind, name) or (modifier == "identifier" and name not in _UNTOLD_REFERENCES)


def _values(modifier: str, resource: Resource, name: str, base: str) -> Iterator[tuple[str, str]]:
    """(good, bad) values to try a modifier with; none where this resource does not lend itself to it."""
    parameter = PARAMETERS[str(resource["resourceType"])][name]
    plain = good_value(resource, parameter, base)
    if plain is None:
        return
    match modifier:
        case "exact":
            if plain.swapcase() != plain:
                yield plain, plain.swapcase()
        case "contains":
            inner = plain[1:-1].strip()
            # The inside of a name, which the search without the modifier must not find.
            if len(inner) > 1 and "\\" not in plain and not plain.lower().startswith(inner.lower()):
                yield inner, bad_value(parameter, plain)
        case "not":
            yield bad_value(parameter, plain), plain
        case "missing":
            yield "false", "true"
        case "text" | "identifier":
            for path in parameter.paths:
                for element in values_at(resource, path):
                    found = _text_of(element) if modifier == "text" else _identifier_of(element)
                    if found:
                        yield found, NOBODY


def _text_of(concept: object) -> str | None:
    """A text of a CodeableConcept that is not one of its codes."""
    if not isinstance(concept, dict):
        return None
    codings = [one for one in concept.get("coding") or () if isinstance(one, dict)]
    codes = {str(one.get("code")).lower() for one in codings}
    texts = [concept.get("text"), *(one.get("display") for one in codings)]
    return next((escape(text) for text in texts if isinstance(text, str) and text.lower() not in codes), None)


def _identifier_of(reference: object) -> str | None:
    identifier = reference.get("identifier") if isinstance(reference, dict) else None
    value = identifier.get("value") if isinstance(identifier, dict) else None
    if not isinstance(identifier, dict) or not isinstance(value, str) or not value:
        return None
    system = identifier.get("system")
    return f"{escape(system)}|{escape(value)}" if isinstance(system, str) and system else escape(value)


async def _verdict(session: CheckSession, trial: _Trial | None, working: Working) -> bool | None:
    if trial is None:
        return None
    anchor = [("_id", trial.holder)] if "_id" in working.get(trial.type, ()) else []
    good, bad = await together(
        session.search(trial.type, [*anchor, (trial.name, trial.good), ("_count", "20")]),
        session.search(trial.type, [*anchor, (trial.name, trial.bad), ("_count", "20")]),
    )
    kept, left_out = _has(good, trial.holder), _has(bad, trial.holder)
    if kept is False or left_out or good.refused or bad.refused:
        return False
    return None if kept is None or left_out is None else True


def _has(found: Found, holder: str) -> bool | None:
    """Whether the holder is among the matches; None where it may be on a later page, or nothing can be told."""
    if found.page is None:
        return None
    return True if holder in found.page.ids else (None if found.page.more else False)
