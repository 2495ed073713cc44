"""OperationOutcomes: what went wrong, in French and English, for people and for machines (FHIR R4).

`issue.details.coding` holds the row's key in `urn:cds-broker:outcome`; where a manager is concerned, also its
slug in `urn:cds-broker:gestionnaire` and its region in TRE_R30. `details.text` is in the client's language,
with its translation beside it in the standard extension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from broker.core.media_type import weighted
from broker.core.messages import MESSAGES, text
from broker.errors import BrokerError, Issue, RefusedError
from registry.model import REGIONS, TRE_R30

OUTCOME_SYSTEM: Final = "urn:cds-broker:outcome"
GESTIONNAIRE_SYSTEM: Final = "urn:cds-broker:gestionnaire"
TRANSLATION: Final = "http://hl7.org/fhir/StructureDefinition/translation"

Language = Literal["fr", "en"]
_UNKNOWN: Final = "internal"
_USUAL: Final = 200  # characters of a header that is remembered
_BY_TAG: Final[Mapping[str, Language]] = {"fr": "fr", "en": "en", "*": "fr"}
_REGION_CODES: Final = {code: code for code in REGIONS} | {name: code for code, name in REGIONS.items()}


def issue_of(error: BrokerError, *, severity: str | None = None) -> Issue:
    """The issue that tells of an error; a key that the table does not hold is an internal error."""
    key = error.key if error.key in MESSAGES else _UNKNOWN
    return Issue(key, error.params, severity)


def status_of(error: BrokerError) -> int:
    """The HTTP status of a request that an error ends."""
    return MESSAGES[error.key if error.key in MESSAGES else _UNKNOWN].status


def outcome(issues: Sequence[Issue], *, language: Language = "fr") -> dict[str, Any]:
    """The OperationOutcome as a JSON tree, to be put into a Bundle. FHIR asks for at least one issue."""
    if not issues:
        raise ValueError("an OperationOutcome has at least one issue")
    return {
        "resourceType": "OperationOutcome",
        "language": language,
        "issue": [_issue(issue, language) for issue in issues],
    }


def render_outcome(issues: Sequence[Issue], *, language: Language = "fr") -> bytes:
    """The OperationOutcome as JSON in UTF-8."""
    return orjson.dumps(outcome(issues, language=language))


def render_error(error: BrokerError, *, language: Language = "fr") -> bytes:
    """The body that goes with `status_of(error)`: a warning beside results is an error without any."""
    if isinstance(error, RefusedError):
        return render_outcome(error.issues, language=language)
    issue = issue_of(error)
    severe = MESSAGES[issue.key].severity in {"error", "fatal"}
    return render_outcome([issue if severe else issue_of(error, severity="error")], language=language)


def language_of(accept_language: str | None) -> Language:
    """French or English, whichever `Accept-Language` (RFC 9110, 12.5.4) prefers; else French."""
    if not accept_language:
        return "fr"
    return _usual(accept_language) if len(accept_language) <= _USUAL else _preferred(accept_language)


def _preferred(accept_language: str) -> Language:
    best: Language = "fr"
    best_quality = 0.0
    for item in weighted(accept_language):
        language = _BY_TAG.get(item.value.partition("-")[0])
        if language is not None and item.quality > best_quality:
            best, best_quality = language, item.quality
    return best


_usual = lru_cache(maxsize=256)(_preferred)  # the clients of a federation say it in a few ways


def _issue(issue: Issue, language: Language) -> dict[str, Any]:
    row = MESSAGES[issue.key]
    region = _REGION_CODES.get(str(issue.params.get("region")))
    params = dict(issue.params) if region is None else {**issue.params, "region": REGIONS[region]}
    other: Language = "en" if language == "fr" else "fr"
    rendered: dict[str, Any] = {
        "severity": issue.severity or row.severity,
        "code": row.issue,
        "details": {
            "coding": _codings(issue, region),
            "text": text(issue.key, language, **params),
            "_text": {"extension": [_translation(other, text(issue.key, other, **params))]},
        },
    }
    if issue.diagnostics is not None:
        rendered["diagnostics"] = issue.diagnostics
    if issue.expression:
        rendered["expression"] = list(issue.expression)
    return rendered


def _codings(issue: Issue, region: str | None) -> list[dict[str, str]]:
    codings = [{"system": OUTCOME_SYSTEM, "code": issue.key}]
    if "slug" in issue.params:
        who = {"system": GESTIONNAIRE_SYSTEM, "code": str(issue.params["slug"])}
        if "name" in issue.params:
            who["display"] = str(issue.params["name"])
        codings.append(who)
    if region is not None:
        codings.append({"system": TRE_R30, "code": region, "display": REGIONS[region]})
    return codings


def _translation(language: Language, content: str) -> dict[str, Any]:
    return {
        "url": TRANSLATION,
        "extension": [
            {"url": "lang", "valueCode": language},
            {"url": "content", "valueString": content},
        ],
    }
