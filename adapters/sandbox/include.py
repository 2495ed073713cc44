"""`_include` and `_revinclude` (FHIR R4, search.html, 3.1.1.6.5): what comes along with a page of matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from adapters.sandbox.search import Searcher
from adapters.sandbox.store import Store, Version
from broker.core.query import Include
from broker.core.search_parameters import PARAMETERS, TYPES, ParamType, SearchParameter

MAX_INCLUDED: Final = 1000
"""Resources that one page carries along at most."""


def included(
    store: Store, searcher: Searcher, matches: Sequence[Version], includes: Sequence[Include]
) -> list[Version]:
    """The resources to go with `matches`, each once and no match among them.

    Without `:iterate` an include looks at the matches alone; with it, at what was included too, until nothing
    new turns up.
    """
    found: dict[str, Version] = {}
    seen = {version.reference for version in matches}
    frontier: Sequence[Version] = matches
    first = True
    while frontier and len(found) < MAX_INCLUDED:
        reached: list[Version] = []
        for include in includes:
            if not (first or include.iterate):
                continue
            for version in _one_step(store, searcher, frontier, include):
                if version.reference not in seen and len(found) < MAX_INCLUDED:
                    seen.add(version.reference)
                    found[version.reference] = version
                    reached.append(version)
        frontier, first = reached, False
    return list(found.values())


def _one_step(
    store: Store, searcher: Searcher, sources: Sequence[Version], include: Include
) -> Iterator[Version]:
    step = _referring if include.reverse else _referred
    for version in sources:
        yield from step(store, searcher, version, include)


def _referred(store: Store, searcher: Searcher, version: Version, include: Include) -> Iterator[Version]:
    if include.source not in {"*", version.type}:
        return
    for parameter in _parameters(version.type, include):
        for target in sorted(searcher.targets_of(version, parameter)):
            kind, _, identity = target.partition("/")
            if kind in TYPES and include.target in {None, kind} and identity in store.live(kind):
                yield store.live(kind)[identity]


def _referring(store: Store, searcher: Searcher, version: Version, include: Include) -> Iterator[Version]:
    if include.target not in {None, version.type}:
        return
    for kind in TYPES if include.source == "*" else (include.source,):
        for identity in sorted(store.referring(kind, version.reference)):
            source = store.live(kind)[identity]
            if any(version.reference in searcher.targets_of(source, p) for p in _parameters(kind, include)):
                yield source


def _parameters(kind: str, include: Include) -> Iterator[SearchParameter]:
    for parameter in PARAMETERS[kind].values():
        if parameter.type is ParamType.REFERENCE and include.parameter in {"*", parameter.name}:
            yield parameter
