"""What is missing at a manager of what the guide asks of it: as stable keys, and in words.

Keys: `chaining`, `include`, `iterate`, `revinclude`, `sort`, `post-search`, `total`, `paging`,
`elements`, `read`, `vread`, `history-instance`, `history-type`, `format:xml`, `fhir-version`,
`param:TYPE:NAME` for a search parameter and `modifier:NAME` for a modifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.search_parameters import PARAMETERS, lookup
from registry.model import Skills

GUIDE_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "CareTeam": (
        "identifier",
        "start",
        "end",
        "status",
        "_lastUpdated",
        "category",
        "participant-start",
        "participant-end",
        "date",
        "participant",
        "patient",
        "subject",
        "managingOrganization",
    ),
    "Patient": ("identifier", "family", "given", "name", "address", "birthdate", "gender", "birthplace"),
    "RelatedPerson": ("_id", "name", "relationship", "address"),
    "Practitioner": ("identifier", "name"),
    "PractitionerRole": ("_id", "practitioner", "role"),
    "Organization": ("_id", "identifier", "name", "partof"),
}
"""What the guide asks of a manager: its Gestionnaire statement, and the ends of the chains that it names."""

MODIFIERS: Final = ("contains", "exact", "identifier", "missing", "not", "text")
"""The modifiers that this federation takes, but for a reference's target type (FHIR R4, search.html, 3.1.1.5.1)."""

_SKILL_LACKS: Final = {
    "read": "read",
    "vread": "vread",
    "history_type": "history-type",
    "history_instance": "history-instance",
    "chaining": "chaining",
    "include": "include",
    "revinclude": "revinclude",
    "sort": "sort",
    "post_search": "post-search",
    "total": "total",
    "paging": "paging",
    "elements": "elements",
}


def lacks_of(skills: Skills) -> tuple[str, ...]:
    """The keys, sorted, of what is known to be missing. Unknown is not missing."""
    lacks = {lack for name, lack in _SKILL_LACKS.items() if getattr(skills, name) is False}
    if skills.iterate is False and skills.include is not False:  # without _include nothing can iterate
        lacks.add("iterate")
    if skills.formats and "xml" not in skills.formats:
        lacks.add("format:xml")
    if skills.fhir_version is not None and not skills.fhir_version.startswith("4.0"):
        lacks.add("fhir-version")
    if skills.modifiers is not None:
        known = {*skills.modifiers, *(name[1:] for name in skills.unproven if name.startswith(":"))}
        lacks |= {f"modifier:{name}" for name in MODIFIERS if name not in known}
    for kind, names in GUIDE_PARAMETERS.items():
        works = skills.search_params.get(kind)
        if works is not None:
            lacks |= {f"param:{kind}:{name}" for name in names if name not in works}
    return tuple(sorted(lacks))


def parameter_of(key: str) -> tuple[str, str] | None:
    """`param:CareTeam:start` → (`CareTeam`, `start`); None for any other key."""
    prefix, _, rest = key.partition(":")
    kind, _, name = rest.partition(":")
    if prefix != "param" or kind not in PARAMETERS:
        return None
    known = lookup(kind, name)
    return (kind, known.name) if known else None


def modifier_of(key: str) -> str | None:
    """`modifier:exact` → `exact`; None for any other key."""
    prefix, _, name = key.partition(":")
    return name if prefix == "modifier" and name in MODIFIERS else None


@dataclass(frozen=True, slots=True)
class Words:
    fr: str
    en: str


BRIDGED: Final = frozenset(
    {
        *(
            "param",
            "modifier",
            "chaining",
            "include",
            "iterate",
            "revinclude",
            "sort",
            "post-search",
            "elements",
        ),
        "format:xml",
    }
)
"""What the broker does in the manager's place, within a bound where there is one."""

PARTLY: Final = frozenset({"actor-param", "history-type"})
"""What it can make up for in part."""

WORDS: Final[Mapping[str, Words]] = {
    "param": Words(
        "Le critère {name} de CareTeam n'y filtre pas : le courtier l'applique, dans une limite au-delà de "
        "laquelle il le dit.",
        "Criterion {name} of CareTeam does not filter there: the broker applies it, within a bound beyond "
        "which it says so.",
    ),
    "actor-param": Words(
        "Le critère {name} de {type} n'y filtre pas : le courtier l'applique, dans une limite, aux "
        "recherches de {type} ; au bout d'un critère chaîné il ne le peut pas, et le dit.",
        "Criterion {name} of {type} does not filter there: the broker applies it, within a bound, to "
        "searches of {type}; at the end of a chained criterion it cannot, and says so.",
    ),
    "modifier": Words(
        "Le modificateur :{name} n'y agit pas : le courtier filtre lui-même, dans une limite au-delà de laquelle "
        "il le dit.",
        "Modifier :{name} has no effect there: the broker filters itself, within a bound beyond which it says so.",
    ),
    "chaining": Words(
        "Les critères chaînés n'y filtrent pas : le courtier cherche d'abord l'acteur, puis les cercles.",
        "Chained criteria do not filter there: the broker looks for the actor first, then for the circles.",
    ),
    "include": Words(
        "_include n'y ramène rien : le courtier va chercher les ressources référencées.",
        "_include brings nothing there: the broker fetches the referenced resources.",
    ),
    "iterate": Words(
        "_include:iterate n'y suit pas les références : le courtier les suit.",
        "_include:iterate does not follow references there: the broker does.",
    ),
    "revinclude": Words(
        "_revinclude n'y ramène rien : le courtier cherche les ressources qui référencent.",
        "_revinclude brings nothing there: the broker looks for the referring resources.",
    ),
    "sort": Words(
        "_sort n'y est pas suivi : le courtier trie, dans une limite au-delà de laquelle il le dit.",
        "_sort is not followed there: the broker sorts, within a bound beyond which it says so.",
    ),
    "post-search": Words(
        "POST _search n'y est pas offert : le courtier y cherche par GET, et les critères, identifiants de "
        "personnes compris, sont dans l'adresse.",
        "POST _search is not offered there: the broker searches it by GET, and criteria, people's "
        "identifiers included, are in the address.",
    ),
    "elements": Words(
        "_elements n'y est pas suivi : le courtier reçoit les ressources entières et les réduit.",
        "_elements is not followed there: the broker receives whole resources and trims them.",
    ),
    "paging": Words(
        "Une page pleine n'y a pas de lien suivant qui avance : on n'en obtient que la première page.",
        "A full page has no next link there that leads on: only the first page can be had.",
    ),
    "total": Words(
        "Le total n'y est pas donné, ou n'est pas juste : les recherches qui l'interrogent sont sans total.",
        "The total is not given there, or not true: searches that ask it carry none.",
    ),
    "read": Words(
        "La lecture d'un cercle par son identifiant technique n'y répond pas.",
        "Reading a circle by its logical id does not answer there.",
    ),
    "vread": Words(
        "La lecture d'une version n'y répond pas.",
        "Reading one version does not answer there.",
    ),
    "history-instance": Words(
        "L'historique d'un cercle n'y répond pas.",
        "The history of one circle does not answer there.",
    ),
    "history-type": Words(
        "L'historique des cercles n'y répond pas : le courtier donne à sa place leurs versions courantes, dans "
        "une limite, et le dit.",
        "The history of circles does not answer there: the broker gives their current versions instead, "
        "within a bound, and says so.",
    ),
    "format:xml": Words(
        "Sa déclaration n'annonce pas XML : le courtier le produit.",
        "Its statement does not declare XML: the broker makes it.",
    ),
    "fhir-version": Words(
        "Sa déclaration annonce une version de FHIR autre que 4.0.",
        "Its statement declares a version of FHIR other than 4.0.",
    ),
}


def describe_lacks(skills: Skills) -> list[tuple[str, str]]:
    """(French, English) for each of `skills.lacks`: what is missing, and whether the broker bridges it."""
    return [_described(key) for key in skills.lacks]


def _described(key: str) -> tuple[str, str]:
    parameter = parameter_of(key)
    row = key
    if parameter is not None:
        row = "param" if parameter[0] == "CareTeam" else "actor-param"
    modifier = modifier_of(key)
    if modifier is not None:
        row, parameter = "modifier", ("", modifier)
    words = WORDS.get(row)
    if words is None:  # written by a newer version into the shared registry
        return key, key
    kind, name = parameter or ("", "")
    french, english = (text.format(type=kind, name=name) for text in (words.fr, words.en))
    if row in BRIDGED:
        return f"{french} [compensé]", f"{english} [bridged]"
    partly = row in PARTLY
    return (
        f"{french} [{'compensé en partie' if partly else 'non compensé'}]",
        f"{english} [{'partly bridged' if partly else 'not bridged'}]",
    )
