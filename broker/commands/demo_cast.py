"""Who plays in the demonstration: regions with the names of real bodies, made-up data, and what each cannot do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from registry.model import REGIONS

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Role:
    """One manager. `fr` and `en` say what is particular to it; `options` are those of its sandbox; `territory` are the
    departments whose people are its own."""

    slug: str
    region: str
    name: str
    circles: int
    fr: str = "comme le guide le veut"
    en: str = "as the guide wants it"
    options: Mapping[str, bool | int] = field(default_factory=dict)
    territory: tuple[str, ...] = ()


_FIRST: Final = (
    Role("bre", "53", "GCS e-Santé Bretagne", 24, territory=("22", "29", "35", "56")),
    Role(
        "nor",
        "28",
        "GCS Normand'e-santé",
        17,
        "pages de 5 au plus",
        "pages of 5 at most",
        {"default_page": 5, "max_page": 5},
        ("14", "27", "50", "61", "76"),
    ),
    Role(
        "occ",
        "76",
        "GIP e-santé Occitanie",
        21,
        "les critères chaînés n'y trouvent rien, et sa déclaration dit le contraire",
        "chained criteria find nothing there, and its statement says otherwise",
        {"chains_match_nothing": True, "lying_statement": True},
    ),
    Role(
        "ges",
        "44",
        "GIP Pulsy",
        13,
        "ni _include, ni fullUrl, ni search.mode ; liens relatifs",
        "no _include, no fullUrl, no search.mode; relative links",
        {
            "ignores_include": True,
            "no_full_url": True,
            "no_search_mode": True,
            "relative_next_links": True,
            "id_last": True,
        },
    ),
    Role(
        "pac",
        "93",
        "ieSS Provence-Alpes-Côte d'Azur",
        19,
        "ne trie pas",
        "does not sort",
        {"ignores_sort": True},
    ),
    Role("cor", "94", "GIP Corse e-santé", 9, territory=("2A", "2B")),
)
_REST: Final = tuple(
    Role(f"r{code}", code, f"Gestionnaire {name}", 10)
    for code, name in REGIONS.items()
    if code not in {role.region for role in _FIRST}
)
CAST: Final[Sequence[Role]] = (*_FIRST, *_REST)
"""Every region, in the order in which they are asked to play."""

REPLICATED = "cercle-1"
"""The first manager's circle of which the last one holds a replica."""

TWICE = "cercle-3"
"""The first manager's circle whose person has another one at the second manager."""

FOLLOWED = "cercle-6"
"""The first manager's circle whose replica is looked at once a region has subscribed."""

REVISED = "cercle-2"
"""The circle that has a second version at every manager."""


def replica(resources: Iterable[Resource], *, home: str, slug: str) -> tuple[Resource, ...]:
    """A circle and its actors as another manager keeps them: own ids, marked, the home's circle named.

    `home`: the base address of the circle's home; `slug`: its short name, the prefix of the copies' ids.
    """
    tag = {"system": REPLICA_SYSTEM, "code": REPLICA_CODE}
    copied = []
    for original, copy in _renamed(resources, slug):
        meta = {name: value for name, value in copy["meta"].items() if name != "versionId"}
        if copy["resourceType"] == "CareTeam":
            meta |= {"source": f"{home}/CareTeam/{original['id']}", "tag": [*meta.get("tag", ()), tag]}
        copied.append(copy | {"meta": meta})
    return tuple(copied)


def second_circle(
    resources: Iterable[Resource], *, slug: str, identifier: Mapping[str, str]
) -> tuple[Resource, ...]:
    """Another circle of the same person, unknown to the first: own ids, an identifier of its own, no mark."""
    return tuple(
        copy | {"identifier": [dict(identifier)]} if copy["resourceType"] == "CareTeam" else copy
        for _, copy in _renamed(resources, slug)
    )


def _renamed(resources: Iterable[Resource], prefix: str) -> list[tuple[Resource, Resource]]:
    """Each resource with its copy, whose ids and references among them begin with the prefix."""
    originals = list(resources)
    moved = {
        f"{one['resourceType']}/{one['id']}": f"{one['resourceType']}/{prefix}-{one['id']}"
        for one in originals
    }
    return [(one, _rewritten(one, moved) | {"id": f"{prefix}-{one['id']}"}) for one in originals]


def _rewritten(value: Any, moved: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            name: moved.get(inner, inner) if name == "reference" else _rewritten(inner, moved)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_rewritten(inner, moved) for inner in value]
    return value
