"""The identifiers by which a search can be located: whose circle, or which circle (federation, section 2). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.core.query import Criterion, SearchQuery
from broker.core.value_tests import split_token
from registry.locator_model import Identifier


@dataclass(frozen=True, slots=True)
class Identified:
    """A criterion that names persons, or circles, by business identifiers with their systems; the values are ORed."""

    name: str
    persons: tuple[Identifier, ...] = ()
    circles: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Located:
    """What the locator says to a search.

    `covered`: managers of which the index is complete and fresh. `holders`: by criterion, who holds a match of it.
    """

    covered: frozenset[str]
    holders: Sequence[tuple[str, frozenset[str]]]

    def leaves_out(self, slug: str) -> str | None:
        """The criterion for which a manager cannot hold a match; None: it may, or nobody knows."""
        if slug not in self.covered:
            return None
        for name, slugs in self.holders:
            if slug not in slugs:
                return name
        return None


def identified(query: SearchQuery) -> list[Identified]:
    """The criteria of a search for circles that the locator can answer; those with a value it cannot are left out."""
    if query.type != "CareTeam":
        return []
    found = []
    for criterion in query.criteria:
        identifiers = _identifiers(criterion)
        if not identifiers:
            continue
        if _names_persons(criterion):
            found.append(Identified(criterion.name, persons=identifiers))
        elif _names_circles(criterion):
            found.append(Identified(criterion.name, circles=identifiers))
    return found


def _names_circles(criterion: Criterion) -> bool:
    return not criterion.chain and criterion.parameter.name == "identifier" and criterion.modifier is None


def _names_persons(criterion: Criterion) -> bool:
    if criterion.chain:
        return (
            len(criterion.chain) == 1
            and criterion.chain[0].target == "Patient"
            and criterion.chain[0].parameter.name in ("patient", "subject")
            and criterion.parameter.name == "identifier"
            and criterion.modifier is None
        )
    return criterion.parameter.name in ("patient", "subject") and criterion.modifier == "identifier"


def _identifiers(criterion: Criterion) -> tuple[Identifier, ...]:
    """Every value as (system, value); none at all where one of them lacks a part: it may be anybody's."""
    identifiers = []
    for value in criterion.values:
        system, code = split_token(value)
        if not system or not code:
            return ()
        identifiers.append((system, code))
    return tuple(identifiers)
