"""Which changes a Subscription selects: its criteria matched in memory on the circle and its actors (federation, 6). Pure.

Criteria are a CareTeam search in public terms (`CareTeam?status=active&patient.identifier=…`). Everything that the guide's
search parameters can ask of a circle can be matched: the circle's own elements, its tags and its `_lastUpdated`, and chains,
since a change is matched with its actors (`event_content.closure`) and every chain of the guide follows exactly the
references by which these were gathered. What is no criterion on circles (`_include`, `_sort`, `_count`…) or not known here
(`_has`, `_text`, other modifiers) is refused: to leave a filter out would send somebody more than they may want to have.

**A circle that matches no longer** is sent once more to whoever was sent it before (`Selection.LEFT`): without that, what
they hold would go on saying that it does.

**A deletion** has no content to be matched. Whoever was sent the circle before is told. Where nobody knows who was, every
subscriber is, save one whose criteria ask for other ids: a deletion told in vain names a circle's public id and no more; one
not told leaves a replica standing for good.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl

from broker.core import json_text
from broker.core.entry import Entry
from broker.core.matching import elements, predicate
from broker.core.outcome import issue_of
from broker.core.query import Criterion, Link, SearchQuery
from broker.core.query_parser import canonical_type, parse_search, shown
from broker.core.references import named_by
from broker.core.search_parameters import SearchParameter
from broker.core.value_tests import reference_text
from broker.errors import Issue, RefusedError, RequestError

MAX_CRITERIA: Final = 20
MAX_LENGTH: Final = 4096

Resource = Mapping[str, Any]
Actors = Mapping[str, Resource]
Test = Callable[[Resource, Actors], bool]

_TYPE: Final = "CareTeam"


class Selection(StrEnum):
    """Whether a subscriber is sent a change, and why."""

    MATCHES = "matches"
    LEFT = "left"  # it matches no longer, and was sent before
    DELETED = "deleted"  # it was sent before, or nobody knows
    NOT = "not"

    @property
    def sent(self) -> bool:
        return self is not Selection.NOT


@dataclass(frozen=True, slots=True)
class Circle:
    """A changed circle as trees, made once for many subscriptions. `actors`: by `Type/public id`."""

    public_id: str
    resource: Resource | None
    actors: Actors

    @classmethod
    def of(cls, public_id: str, circle: Entry | None, actors: Iterable[Entry]) -> Circle:
        """`circle` None: it is deleted, or could not be read."""
        if circle is None:
            return cls(public_id, None, {})
        trees = {f"{one.type}/{one.public_id}": json_text.tree(one.raw) for one in actors}
        return cls(public_id, json_text.tree(circle.raw), trees)


@dataclass(frozen=True, slots=True)
class SubscriptionCriteria:
    """Checked criteria, ready to be matched. `text`: in canonical names, as `CareTeam?…`."""

    query: SearchQuery
    public_base: str
    _tests: tuple[Test, ...]

    @property
    def text(self) -> str:
        stated = "&".join(f"{name}={value}" for name, value in self.query.pairs())
        return f"{_TYPE}?{stated}" if stated else _TYPE

    def matches(self, circle: Circle) -> bool:
        """Whether the circle, as it is now, meets every criterion; a circle without content does not."""
        resource = circle.resource
        return resource is not None and all(test(resource, circle.actors) for test in self._tests)

    def may_match(self, resource: Resource) -> bool:
        """What can be said of a circle without its actors: whether it meets every criterion that is about it alone."""
        tests = zip(self.query.criteria, self._tests, strict=True)
        return all(test(resource, {}) for criterion, test in tests if not criterion.chain)

    def select(self, circle: Circle, *, sent_before: bool | None = None) -> Selection:
        """Whether a change is to be sent. `sent_before`: whether the subscriber was sent this circle; None: not known."""
        if circle.resource is None:
            told = self._may_have_had(circle.public_id) if sent_before is None else sent_before
            return Selection.DELETED if told else Selection.NOT
        if self.matches(circle):
            return Selection.MATCHES
        return Selection.LEFT if sent_before else Selection.NOT

    def _may_have_had(self, public_id: str) -> bool:
        """What is known of a circle that is gone is its public id."""
        known = (one for one in self.query.criteria if not one.chain and one.parameter.name == "_id")
        return all(predicate(one)({"id": public_id}) for one in known)


def parse_criteria(text: str, public_base: str, *, now: dt.datetime | None = None) -> SubscriptionCriteria:
    """The criteria of a Subscription, in public terms. `now` serves the date prefix `ap` alone.

    Raises `RefusedError` 422 `subscription.criteria`, each issue naming a parameter and what is wrong with it, never a
    value: criteria may hold somebody's identifier.
    """
    kind, _, query_text = text.strip().partition("?")
    if len(text) > MAX_LENGTH or canonical_type(kind) != _TYPE:
        raise _refused([Issue("subscription.criteria-type")])
    pairs = parse_qsl(query_text, keep_blank_values=True, errors="replace")
    if len(pairs) > MAX_CRITERIA:
        raise _refused([Issue("request.too-many-parameters", {"limit": MAX_CRITERIA})])
    issues, criteria = list[Issue](), list[Criterion]()
    for name, value in pairs:
        try:
            criteria += _criterion(name, value)
        except RequestError as error:
            issues.append(issue_of(error, severity="error"))
    if issues:
        raise _refused(issues)
    base = public_base.rstrip("/")
    tests = tuple(_test(one, base, now) for one in criteria)
    return SubscriptionCriteria(SearchQuery(_TYPE, tuple(criteria)), base, tests)


def _criterion(name: str, value: str) -> Sequence[Criterion]:
    """One parameter, strictly. Raises `RequestError`."""
    found = parse_search(_TYPE, [(name, value)], strict=True)
    if not found.criteria:
        raise RequestError("subscription.criteria-unmatchable", parameter=shown(name))
    return found.criteria


def _refused(issues: Sequence[Issue]) -> RefusedError:
    key = "subscription.criteria"
    return RefusedError(key, [Issue(key, expression=("Subscription.criteria",)), *issues])


def _test(criterion: Criterion, base: str, now: dt.datetime | None) -> Test:
    last = predicate(_unchained(criterion), base=base, now=now)
    if not criterion.chain:
        return lambda circle, _: last(circle)
    *links, end = criterion.chain
    beside = _identifier_beside(criterion, end, base)

    def test(circle: Resource, actors: Actors) -> bool:
        reached: list[Resource] = [circle]
        for link in links:
            reached = list(_follow(reached, link, actors, base))
        return any(map(last, _follow(reached, end, actors, base))) or any(map(beside, reached))

    return test


def _unchained(criterion: Criterion) -> Criterion:
    return Criterion(criterion.parameter, criterion.type, (), criterion.modifier, criterion.values)


def _identifier_beside(criterion: Criterion, end: Link, base: str) -> Callable[[Resource], bool]:
    """A reference may name its resource by an identifier alone (FHIR R4, references.html#logical)."""
    if criterion.parameter.name != "identifier" or criterion.modifier is not None:
        return lambda _: False
    targets = (end.target,)
    reference = SearchParameter(end.parameter.name, end.parameter.type, end.parameter.paths, targets)
    return predicate(Criterion(reference, criterion.type, (), "identifier", criterion.values), base=base)


def _follow(resources: Iterable[Resource], link: Link, actors: Actors, base: str) -> Iterator[Resource]:
    for resource in resources:
        for element in elements(resource, link.parameter, base):
            found = _referred(resource, reference_text(element) or "", actors, base)
            if found is not None and found.get("resourceType") == link.target:
                yield found


def _referred(resource: Resource, text: str, actors: Actors, base: str) -> Resource | None:
    if text.startswith("#"):
        contained = resource.get("contained")
        for one in contained if isinstance(contained, list) else ():
            if isinstance(one, dict) and one.get("id") == text[1:]:
                return one
        return None
    named = named_by(text, base)
    return None if named is None else actors.get(named.reference)
