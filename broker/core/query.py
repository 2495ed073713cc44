"""A search as data: what the client asked, checked and in canonical names (FHIR R4 search; cds.md, section 2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from broker.core.search_parameters import SearchParameter


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain: a reference parameter, and the type it is narrowed to where the client said so."""

    parameter: SearchParameter
    target: str  # the resource type the link leads to (given by the client, or the only one possible)
    stated: bool  # the client wrote `parameter:Target`


@dataclass(frozen=True, slots=True)
class Criterion:
    """One `name=value` of a search. Criteria are ANDed; the `values` of one are ORed.

    `parameter` is the last one, on `type`; `chain` holds the links that lead there from the searched type.
    `values` are split on unescaped commas and still carry FHIR escapes (`\\,`, `\\$`, `\\\\`); the guide's `\\|` has
    become `|`. For a reference parameter narrowed to a type (`participant:RelatedPerson=12`) `modifier` is that type.
    """

    parameter: SearchParameter
    type: str
    chain: tuple[Link, ...]
    modifier: str | None
    values: tuple[str, ...]
    name: str = field(init=False, compare=False)
    """The canonical parameter name as a manager is sent it, chain and modifier included."""
    value: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        links = [
            f"{link.parameter.name}:{link.target}" if link.stated else link.parameter.name
            for link in self.chain
        ]
        last = f"{self.parameter.name}:{self.modifier}" if self.modifier else self.parameter.name
        object.__setattr__(self, "name", ".".join([*links, last]))
        object.__setattr__(self, "value", ",".join(self.values))


@dataclass(frozen=True, slots=True)
class Include:
    """`_include` or `_revinclude` (`reverse`). `source`, `parameter` may be `*`; `target` narrows to a type."""

    source: str
    parameter: str
    target: str | None = None
    iterate: bool = False
    reverse: bool = False

    @property
    def name(self) -> str:
        return ("_revinclude" if self.reverse else "_include") + (":iterate" if self.iterate else "")

    @property
    def value(self) -> str:
        if self.source == "*":
            return "*"
        return ":".join(part for part in (self.source, self.parameter, self.target) if part)


@dataclass(frozen=True, slots=True)
class SortKey:
    parameter: SearchParameter
    descending: bool

    @property
    def value(self) -> str:
        return f"-{self.parameter.name}" if self.descending else self.parameter.name


class Summary(StrEnum):
    FALSE = "false"
    TRUE = "true"
    TEXT = "text"
    DATA = "data"
    COUNT = "count"


class TotalMode(StrEnum):
    NONE = "none"
    ESTIMATE = "estimate"
    ACCURATE = "accurate"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A whole search. `count` is the page size asked for (None: the default; 0 is `_summary=count`).

    `ignored` names the parameters that were not understood and left out (lenient handling).
    """

    type: str
    criteria: tuple[Criterion, ...] = ()
    includes: tuple[Include, ...] = ()
    sort: tuple[SortKey, ...] = ()
    count: int | None = None
    elements: tuple[str, ...] = ()
    summary: Summary = Summary.FALSE
    total: TotalMode | None = None
    ignored: tuple[str, ...] = ()

    def pairs(self) -> list[tuple[str, str]]:
        """The parameters actually used, in canonical names and a stable order: what the `self` link carries."""
        used = [(criterion.name, criterion.value) for criterion in self.criteria]
        used += [(include.name, include.value) for include in self.includes]
        if self.sort:
            used.append(("_sort", ",".join(key.value for key in self.sort)))
        if self.count is not None:
            used.append(("_count", str(self.count)))
        if self.elements:
            used.append(("_elements", ",".join(self.elements)))
        if self.summary is not Summary.FALSE:
            used.append(("_summary", self.summary.value))
        if self.total is not None:
            used.append(("_total", self.total.value))
        return used
