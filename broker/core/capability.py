"""The federation's own CapabilityStatement: what it really offers, from what its managers offer.

A search parameter is offered everywhere: where a manager does not apply it, the broker does, within a bound.
That is said region by region in the parameter's documentation, and so is what was never checked. Texts are
French, with the English translation beside them as the guide does it (extension `translation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from broker.core.access.described import Recognised, security
from broker.core.dialects import effective_skills
from broker.core.lacks import MODIFIERS
from broker.core.search_parameters import PARAMETERS, TYPES, SearchParameter
from broker.core.statement import BROKER_SOFTWARE, FEDERATION_EXTENSION
from broker.core.subscription_capability import subscription_capability
from registry.model import REGIONS, Registered, Skills, Status

Json = dict[str, Any]

GUIDE: Final = "https://interop.esante.gouv.fr/ig/fhir/cds/CapabilityStatement/CDSGestionnaire"
_GUIDE_PACKAGE: Final = "https://interop.esante.gouv.fr/ig/fhir/cds/ImplementationGuide/ans.fhir.fr.cds"
_TRANSLATION: Final = "http://hl7.org/fhir/StructureDefinition/translation"
_CDS: Final = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/"
_ANNUAIRE: Final = "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/"

PROFILES: Final = {
    "CareTeam": _CDS + "cds-ihe-careteam|2.0.1",
    "Patient": "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-patient|2.1.0",
    "RelatedPerson": _CDS + "cds-fr-related-person|2.0.1",
    "Practitioner": _ANNUAIRE + "as-practitioner|1.1.0",
    "PractitionerRole": _ANNUAIRE + "as-practitionerrole|1.1.0",
    "Organization": _CDS + "cds-organization|2.0.1",
}
"""The profiles of the guide's Gestionnaire statement."""

_READS: Final = ("read", "search-type")
_CIRCLE_READS: Final = ("vread", "history-instance", "history-type")
_WRITES: Final = ("create", "update")

_Known = tuple[Registered, Skills]


def federation_statement(
    registered: Sequence[Registered],
    *,
    public_base: str,
    version: str,
    now: str,
    federation_id: str,
    writes: bool = False,
    subscriptions: bool = False,
    recognised: Recognised | None = None,
) -> Json:
    """The CapabilityStatement of `GET /metadata`, as JSON values
    (http://hl7.org/fhir/R4/capabilitystatement.html).

    `now` is an RFC 3339 instant, `version` the software's. `federation_id` and what brokers among the
    managers reach are published, so that a broker sees before it asks that a road leads back to itself.
    `writes`: creations, updates and transactions are offered too. `subscriptions`: so is being told of changes.
    `recognised`: how callers are; None: nothing is said of it.
    """
    active = [
        (item, effective_skills(item)) for item in registered if item.gestionnaire.status is Status.ACTIVE
    ]
    reached = [federation_id, *(name for _, skills in active for name in skills.federations)]
    return {
        "resourceType": "CapabilityStatement",
        "url": f"{public_base}/metadata",
        "version": version,
        "name": "CDSBroker",
        "title": "Fédération de gestionnaires de cercles de soins",
        "status": "active",
        "date": now,
        "kind": "instance",
        "instantiates": [GUIDE],
        "software": {"name": BROKER_SOFTWARE, "version": version},
        "implementation": {
            "extension": [
                {"url": FEDERATION_EXTENSION, "valueString": name} for name in dict.fromkeys(reached)
            ],
            **_said("description", *_description(active)),
            "url": public_base,
        },
        "fhirVersion": "4.0.1",
        "format": ["json", "xml"],
        "implementationGuide": [_GUIDE_PACKAGE],
        "rest": [_rest(active, recognised, writes=writes, subscriptions=subscriptions)],
    }


_REST_DOCUMENTATION: Final = (
    (
        "Une réponse partielle le dit : un OperationOutcome (search.mode = outcome) nomme chaque "
        "gestionnaire interrogé qui n'a pas répondu en entier. Paramètres de résultat : _sort, _count, "
        "_elements, _summary, _total, _format. Critères chaînés : ceux du guide. Préférences : handling, "
        "partial, wait, replica."
    ),
    (
        "A partial answer says so: an OperationOutcome (search.mode = outcome) names each manager that was "
        "asked and did not answer in full. Result parameters: _sort, _count, _elements, _summary, _total, "
        "_format. Chained criteria: the guide's. Preferences: handling, partial, wait, replica."
    ),
)


def _rest(
    active: Sequence[_Known], recognised: Recognised | None, *, writes: bool, subscriptions: bool
) -> Json:
    rest: Json = {"mode": "server", **_said("documentation", *_documented(active))}
    if recognised is not None:
        found, description = security(recognised)
        rest["security"] = found | _said("description", *description)
    rest["resource"] = [_resource(kind, active, writes=writes) for kind in TYPES]
    if subscriptions:
        rest["resource"].append(subscription_capability())
    if writes:
        rest["interaction"] = [{"code": "transaction"}]
    return rest


def _documented(active: Sequence[_Known]) -> tuple[str, str]:
    """What holds for every search, and which modifiers the broker applies for whom."""
    french, english = _REST_DOCUMENTATION
    for modifier in MODIFIERS:
        lacking = [item for item, skills in active if modifier not in (skills.modifiers or ())]
        if lacking:
            where = _places(lacking)
            french += f" Modificateur :{modifier} appliqué par le courtier, dans une limite, pour : {where}."
            english += f" Modifier :{modifier} applied by the broker, within a bound, for: {where}."
    return french, english


def _description(active: Sequence[_Known]) -> tuple[str, str]:
    if not active:
        return "Aucun gestionnaire actif.", "No active manager."
    names = "; ".join(f"{item.gestionnaire.name} ({_region(item)})" for item, _ in active)
    return f"Gestionnaires actifs : {names}.", f"Active managers: {names}."


def _resource(kind: str, active: Sequence[_Known], *, writes: bool) -> Json:
    circle = kind == "CareTeam"
    codes = [*_READS, *(_CIRCLE_READS if circle else ()), *(_WRITES if writes else ())]
    entry: Json = {
        "type": kind,
        "profile": PROFILES[kind],
        "interaction": [_interaction(code, active) if circle else {"code": code} for code in codes],
        "versioning": "versioned" if circle else "no-version",
        "readHistory": circle,
        "conditionalRead": "full-support",
        "searchParam": [_search_param(kind, parameter, active) for parameter in PARAMETERS[kind].values()],
    }
    # An empty list is no JSON of FHIR.
    entry |= {name: found for name, found in _included(kind).items() if found}
    lacking = [item for item, skills in active if not _searches(skills, kind)]
    if lacking:
        where = _places(lacking)
        entry |= _said(
            "documentation",
            f"D'après sa déclaration, ne cherche pas de {kind} : {where}.",
            f"By its statement, does not search {kind}: {where}.",
        )
    return entry


def _searches(skills: Skills, kind: str) -> bool:
    """False only where the statement lists interactions without this one, and nothing was seen to work."""
    if not skills.interactions or skills.search_params.get(kind):
        return True
    return "search-type" in skills.interactions.get(kind, ())


_NEEDED: Final = {
    "vread": "vread",
    "history-instance": "history_instance",
    "history-type": "history_type",
}


def _interaction(code: str, active: Sequence[_Known]) -> Json:
    field = _NEEDED.get(code)
    lacking = [item for item, skills in active if field and getattr(skills, field) is False]
    if not lacking:
        return {"code": code}
    where = _places(lacking)
    if code == "history-type":
        french = f"Réduit aux versions courantes des cercles, dans une limite, pour : {where}."
        english = f"Reduced to the circles' current versions, within a bound, for: {where}."
    else:
        french, english = f"Manque à : {where}.", f"Missing at: {where}."
    return {"code": code} | _said("documentation", french, english)


def _search_param(kind: str, parameter: SearchParameter, active: Sequence[_Known]) -> Json:
    entry: Json = {"name": parameter.name, "definition": parameter.definition, "type": parameter.type.value}
    bridged, unknown = [], []
    for item, skills in active:
        names = skills.search_params.get(kind)
        if names is None:
            unknown.append(item)
        elif parameter.name not in names:
            bridged.append(item)
    french, english = [], []
    if bridged and parameter.name != "_source":  # the broker's own everywhere: it sets meta.source
        where = _places(bridged)
        french.append(f"Appliqué par le courtier, dans une limite, pour : {where}.")
        english.append(f"Applied by the broker, within a bound, for: {where}.")
        if kind != "CareTeam":
            french.append("Au bout d'un critère chaîné, non applicable à ceux-ci.")
            english.append("At the end of a chained criterion, not applicable to these.")
    if unknown:
        where = _places(unknown)
        french.append(f"Non vérifié pour : {where}.")
        english.append(f"Not checked for: {where}.")
    return entry | (_said("documentation", " ".join(french), " ".join(english)) if french else {})


def _included(kind: str) -> dict[str, list[str]]:
    references = [(source, p) for source in TYPES for p in PARAMETERS[source].values() if p.targets]
    return {
        "searchInclude": [f"{source}:{p.name}" for source, p in references if source == kind],
        "searchRevInclude": [f"{source}:{p.name}" for source, p in references if kind in p.targets],
    }


def _places(items: Iterable[Registered]) -> str:
    return ", ".join(f"{_region(item)} ({item.gestionnaire.name})" for item in items)


def _region(item: Registered) -> str:
    return REGIONS.get(item.gestionnaire.region, item.gestionnaire.region)


def _said(name: str, french: str, english: str) -> Json:
    """An element in French with its English translation."""
    return {
        name: french,
        f"_{name}": {
            "extension": [
                {
                    "url": _TRANSLATION,
                    "extension": [
                        {"url": "lang", "valueCode": "en"},
                        {"url": "content", "valueString": english},
                    ],
                }
            ]
        },
    }
