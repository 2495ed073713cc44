"""Which of many subscriptions a changed circle may concern, found without asking each of them. Pure.

Of a subscription's criteria one is its *anchor*: a criterion that a circle can only meet by having one of a few values that
can be looked up (an id, an identifier, a tag such as the region's, the manager's address). Subscriptions are kept by the
values of their anchors. A change is compared with those alone whose anchor it has, and with those that have none. An
anchor is looser than its criterion, never stricter: what it lets through is matched in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from broker.core.element_paths import values_at
from broker.core.query import Criterion
from broker.core.query_values import unescape
from broker.core.subscription_criteria import Circle, SubscriptionCriteria
from broker.core.value_tests import split_token, tokens

Key = tuple[str, str]
"""The kind of an anchor, and a value."""


def anchors(criteria: SubscriptionCriteria) -> frozenset[Key] | None:
    """The values of which a circle must have one to meet the criteria; None: nothing can be said."""
    found = {kind: values for one in criteria.query.criteria for kind, values in _anchor(one)}
    kind = next((kind for kind in _KINDS if kind in found), None)
    return None if kind is None else frozenset((kind, value) for value in found[kind])


def keys_of(circle: Circle) -> Iterator[Key]:
    """Every value of a circle that an anchor may ask for."""
    resource = circle.resource
    if resource is None:
        return
    yield "_id", circle.public_id
    for kind, path in (("identifier", "identifier"), ("_tag", "meta.tag")):
        yield from ((kind, code) for code in _codes(values_at(resource, path)))
    yield from (("_source", _uri(value)) for value in values_at(resource, "meta.source") if _is_text(value))
    for subject in values_at(resource, "subject"):
        if isinstance(subject, dict):
            yield from (("person", code) for code in _codes([subject.get("identifier")]))
            if isinstance(reference := subject.get("reference"), str):
                yield "patient", _tail(reference)
    contained = (one for one in values_at(resource, "contained") if isinstance(one, dict))
    for patient in (*circle.actors.values(), *contained):
        if patient.get("resourceType") == "Patient":
            yield from (("person", code) for code in _codes(values_at(patient, "identifier")))


class SubscriptionIndex:
    """Ids of subscriptions by their anchors."""

    __slots__ = ("_anchored", "_anywhere", "_keys")

    def __init__(self, criteria: Mapping[str, SubscriptionCriteria] | None = None) -> None:
        self._anchored: dict[Key, dict[str, None]] = {}
        self._anywhere: dict[str, None] = {}
        self._keys: dict[str, frozenset[Key] | None] = {}
        for name, one in (criteria or {}).items():
            self.put(name, one)

    def put(self, name: str, criteria: SubscriptionCriteria) -> None:
        self.remove(name)
        keys = self._keys[name] = anchors(criteria)
        if keys is None:
            self._anywhere[name] = None
        for key in keys or ():
            self._anchored.setdefault(key, {})[name] = None

    def remove(self, name: str) -> None:
        if name not in self._keys:
            return
        self._anywhere.pop(name, None)
        for key in self._keys.pop(name) or ():
            self._anchored[key].pop(name)
            if not self._anchored[key]:
                del self._anchored[key]

    def concerned(self, circle: Circle) -> Iterable[str]:
        """Those whose criteria the circle may meet, each once."""
        found = dict(self._anywhere)
        for key in keys_of(circle):
            found |= self._anchored.get(key, {})
        return found


def _codes(elements: Iterable[Any]) -> Iterator[str]:
    for element in elements:
        yield from (code.casefold() for _, code in tokens(element, None) if code)


def _code(value: str) -> str | None:
    return split_token(value)[1].casefold() or None


def _exact_code(value: str) -> str | None:
    return split_token(value)[1] or None


def _uri(value: str) -> str:
    return value.partition("|")[0]


def _reference(value: str) -> str | None:
    return _tail(unescape(value)) or None


def _tail(reference: str) -> str:
    return reference.partition("/_history/")[0].rpartition("/")[2]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_KINDS: Final[Mapping[str, Callable[[str], str | None]]] = {
    "_id": _exact_code,
    "person": _code,
    "patient": _reference,
    "identifier": _code,
    "_tag": _code,
    "_source": lambda value: _uri(unescape(value)) or None,
}
"""The narrowest first."""


def _anchor(criterion: Criterion) -> Iterator[tuple[str, frozenset[str]]]:
    """The kind of anchor that a criterion is, and its values; nothing where it is none."""
    name, modifier = criterion.parameter.name, criterion.modifier
    if criterion.chain:
        (first, *more) = criterion.chain
        to_patient = not more and first.parameter.paths == ("subject",)
        kind = "person" if to_patient and name == "identifier" and modifier is None else None
    elif name in ("patient", "subject"):
        kind = {None: "patient", "Patient": "patient", "identifier": "person"}.get(modifier)
    else:
        kind = name if modifier is None and name in _KINDS else None
    if kind is None:
        return
    values = [_KINDS[kind](value) for value in criterion.values]
    if values and None not in values:
        yield kind, frozenset(value for value in values if value is not None)
