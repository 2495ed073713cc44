"""What includes follow: from resources to those that they point to, and back (FHIR R4, search.html#revinclude). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from broker.core import json_text
from broker.core.bundle import Entry
from broker.core.element_paths import values_at
from broker.core.identity import Origin
from broker.core.query import Include
from broker.core.rewriting import references
from broker.core.search_parameters import SearchParameter, lookup


def belonging(
    taken: Sequence[Entry],
    every: Sequence[Entry],
    others: Sequence[Entry],
    includes: Sequence[Include],
    origin: Origin,
) -> list[Entry]:
    """Of what a manager sent beside its matches, the part that belongs to the matches `taken`, in its own order.

    Where every match is taken, all of it. Else what the asked includes lead to from the taken ones, and what they lead
    to from none: a manager may have its reasons.
    """
    sent = [entry for entry in others if entry.mode == "include"]
    if not sent or len(taken) == len(every):
        return sent
    wanted = _led_to(taken, sent, includes, origin)
    if len(wanted) == len(sent):
        return sent
    shown = {key_of(entry) for entry in taken}
    rest = [entry for entry in every if key_of(entry) not in shown]
    elsewhere = _led_to(rest, sent, includes, origin)
    return [entry for entry in sent if key_of(entry) in wanted or key_of(entry) not in elsewhere]


def key_of(entry: Entry) -> str:
    return f"{entry.type}/{entry.public_id}"


def _led_to(
    roots: Sequence[Entry], sent: Sequence[Entry], includes: Sequence[Include], origin: Origin
) -> set[str]:
    """Keys of the sent resources that the includes lead to: the first round follows all, later ones `:iterate`."""
    by_key = {key_of(entry): entry for entry in sent}
    reached: set[str] = set()
    sources, active = roots, includes
    while sources and active:
        found = {key for entry in sources for key in targets(entry, active, origin) if key in by_key}
        found |= _led_back(sources, sent, active)
        found -= reached
        reached |= found
        sources = [by_key[key] for key in found]
        active = [include for include in includes if include.iterate]
    return reached


def _led_back(sources: Iterable[Entry], sent: Sequence[Entry], includes: Sequence[Include]) -> set[str]:
    pointed = {key_of(entry) for entry in sources}
    found = set()
    for include in includes:
        parameter = lookup(include.source, include.parameter) if include.reverse else None
        if parameter is not None:
            pointing = (entry for entry in sent if entry.type == include.source)
            found |= {key_of(entry) for entry in pointing if points_at(entry, parameter, pointed)}
    return found


def points_at(entry: Entry, parameter: SearchParameter, keys: set[str]) -> bool:
    """Whether a resource refers by a parameter to one of `keys` (`Type/public id`)."""
    return any(_pointed(json_text.tree(entry.raw), parameter, None, keys))


def targets(entry: Entry, includes: Sequence[Include], origin: Origin) -> Iterator[str]:
    """The references, as `Type/public id`, that the includes follow from one resource."""
    forward = [include for include in includes if not include.reverse and include.source in ("*", entry.type)]
    if not forward:
        return
    every = {reference.decode() for reference in references(entry.raw, origin)}
    if any(include.parameter == "*" or include.source == "*" for include in forward):
        yield from every
        return
    resource = json_text.tree(entry.raw)
    for include in forward:
        parameter = lookup(entry.type, include.parameter)
        if parameter is not None:
            yield from _pointed(resource, parameter, include.target, every)


def _pointed(
    resource: dict[str, Any], parameter: SearchParameter, target: str | None, every: set[str]
) -> Iterator[str]:
    for path in parameter.paths:
        for value in values_at(resource, path):
            reference = value.get("reference") if isinstance(value, dict) else None
            if not isinstance(reference, str):
                continue
            key = "/".join(reference.partition("/_history/")[0].split("/")[-2:])
            if key in every and target in (None, key.partition("/")[0]):
                yield key
