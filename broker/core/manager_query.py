"""The parameters that one manager is sent, and what is asked of it beyond what the client asked (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote_plus

from msgspec.structs import replace

from broker.core.bundle import Entry
from broker.core.elements import drop_elements, keep_elements
from broker.core.query import Criterion, SearchQuery, SortKey, Summary
from broker.core.routing import ManagerPlan
from broker.core.summary import MANDATORY, SUMMARY

Pairs = list[tuple[str, str]]

_ABOUT: Mapping[str, frozenset[str]] = {
    "CareTeam": frozenset({"subject"}),
    "RelatedPerson": frozenset({"patient"}),
}
"""Elements that say whose a resource is: the audit must know it of whatever is shown."""


def shown_elements(query: SearchQuery, resource_type: str) -> frozenset[str] | None:
    """Top-level elements that the client wants of a resource; None: all of it. `_summary=data` is not said so here."""
    if query.summary is Summary.TRUE:
        return SUMMARY.get(resource_type, frozenset()) | MANDATORY.get(resource_type, frozenset())
    if query.summary is Summary.TEXT:
        return MANDATORY.get(resource_type, frozenset()) | {"text"}
    if query.elements and resource_type == query.type:  # it does not apply to includes
        return frozenset(query.elements)
    return None


def shown_entries(query: SearchQuery, entries: Sequence[Entry]) -> list[Entry]:
    """Entries with no more than the elements that the client asked for."""
    if not query.elements and query.summary is Summary.FALSE:
        return list(entries)
    return [_shown(query, entry) for entry in entries]


def _shown(query: SearchQuery, entry: Entry) -> Entry:
    if query.summary is Summary.DATA:
        return replace(entry, raw=drop_elements(entry.raw, frozenset({"text"})))
    elements = shown_elements(query, entry.type)
    return entry if elements is None else replace(entry, raw=keep_elements(entry.raw, elements))


def request_pairs(query: SearchQuery, plan: ManagerPlan, sort: Sequence[SortKey], size: int) -> Pairs:
    """A manager's own query for up to `size` matches.

    One more than the page is asked for by the caller, so that a tie at its end is seen to close.
    """
    pairs: Pairs = [(criterion.name, criterion.value) for criterion in plan.criteria]
    pairs += [(include.name, include.value) for include in plan.includes]
    if plan.sorts:
        pairs.append(("_sort", ",".join(key.value for key in sort)))
    pairs.append(("_count", str(size)))
    elements = _asked_elements(query, plan, sort)
    if elements:
        pairs.append(("_elements", ",".join(sorted(elements))))
    return pairs


class RequestPairs:
    """`request_pairs` for one search: made once, and the same object, for all managers that are asked the same."""

    __slots__ = ("_made", "_query", "_sort")

    def __init__(self, query: SearchQuery, sort: Sequence[SortKey]) -> None:
        self._query = query
        self._sort = sort
        self._made: list[tuple[int, ManagerPlan, Pairs]] = []

    def of(self, plan: ManagerPlan, size: int) -> Pairs:
        for known_size, known, pairs in self._made:
            if known_size == size and known == plan:
                return pairs
        made = request_pairs(self._query, plan, self._sort, size)
        self._made.append((size, plan, made))
        return made


def _asked_elements(query: SearchQuery, plan: ManagerPlan, sort: Sequence[SortKey]) -> frozenset[str]:
    """What the client wants and what merging needs; empty: everything."""
    shown = shown_elements(query, query.type)
    if shown is None or query.summary is Summary.TEXT or plan.include_here or plan.chains or query.includes:
        return frozenset()
    # The criteria too: one that turns out to be ignored is applied here.
    criteria = [one for one in (*plan.filters, *plan.criteria) if not one.chain]
    used = [key.parameter for key in sort] + [criterion.parameter for criterion in criteria]
    roots = {path.partition(".")[0] for parameter in used for path in parameter.paths}
    needed = {"meta", "identifier"} | _ABOUT.get(query.type, frozenset())
    # An extension element cannot be named apart from its resource: then the whole is asked for.
    return frozenset() if any("[" in root for root in roots) else frozenset(shown | needed | roots) - {"id"}


def silently_ignored(self_url: str | None, criteria: Sequence[Criterion]) -> list[Criterion]:
    """Criteria that a manager's `self` link shows it did not use (FHIR R4 search: self carries what was used).

    A `self` link without any parameter says nothing (many servers give one after POST).
    """
    query = (self_url or "").partition("#")[0].partition("?")[2]  # any text at all: managers write it
    if not query:
        return []
    names = [pair.partition("=")[0] for pair in query.split("&")]
    used = {_stem(unquote_plus(name) if "%" in name or "+" in name else name) for name in names}
    return [criterion for criterion in criteria if _stem(criterion.name) not in used]


def _stem(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


_PERSONAL = frozenset({"identifier", "family", "given", "name", "address", "birthdate", "birthplace"})


def names_a_person(pairs: Pairs) -> bool:
    """Whether a query holds what identifies somebody: then it must not be put into a URL unless there is no other way."""
    return any(
        name.rpartition(".")[2].partition(":")[0] in _PERSONAL or ":identifier" in name for name, _ in pairs
    )
