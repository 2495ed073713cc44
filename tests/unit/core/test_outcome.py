"""OperationOutcomes: valid FHIR, in two languages, with codes that machines can go by."""

from __future__ import annotations

import orjson
import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome

from broker.core.messages import MESSAGES
from broker.core.outcome import (
    OUTCOME_SYSTEM,
    issue_of,
    language_of,
    outcome,
    render_error,
    render_outcome,
    status_of,
)
from broker.errors import BrokerError, FailureKind, Issue, ManagerError, RequestError

UNREACHABLE = ManagerError(
    FailureKind.TIMEOUT, slug="bre", name="GCS e-Santé Bretagne", region="Bretagne", detail="read"
)


def test_a_manager_is_named_for_people_and_for_machines() -> None:
    rendered = orjson.loads(render_outcome([issue_of(UNREACHABLE)]))
    assert rendered["language"] == "fr"
    assert rendered["issue"] == [
        {
            "severity": "warning",
            "code": "timeout",
            "details": {
                "coding": [
                    {"system": "urn:cds-broker:outcome", "code": "manager.timeout"},
                    {
                        "system": "urn:cds-broker:gestionnaire",
                        "code": "bre",
                        "display": "GCS e-Santé Bretagne",
                    },
                    {
                        "system": "https://mos.esante.gouv.fr/NOS/TRE_R30-RegionOM/FHIR/TRE-R30-RegionOM",
                        "code": "53",
                        "display": "Bretagne",
                    },
                ],
                "text": "GCS e-Santé Bretagne (Bretagne) n'a pas répondu à temps.",
                "_text": {
                    "extension": [
                        {
                            "url": "http://hl7.org/fhir/StructureDefinition/translation",
                            "extension": [
                                {"url": "lang", "valueCode": "en"},
                                {
                                    "url": "content",
                                    "valueString": "GCS e-Santé Bretagne (Bretagne) did not answer in time.",
                                },
                            ],
                        }
                    ]
                },
            },
        }
    ]


def test_in_english() -> None:
    issue = Issue("manager.busy", {"name": "Pulsy", "region": "44"}, "error", ("CareTeam.name",), "x")
    (rendered,) = outcome([issue], language="en")["issue"]
    assert rendered["details"]["text"] == "Pulsy (Grand Est) is saturated."
    assert rendered["details"]["_text"]["extension"][0]["extension"][0]["valueCode"] == "fr"
    assert (rendered["severity"], rendered["expression"], rendered["diagnostics"]) == (
        "error",
        ["CareTeam.name"],
        "x",
    )


@pytest.mark.parametrize("key", sorted(MESSAGES))
@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_row_makes_a_valid_outcome(key: str, language: str) -> None:
    body = render_error(BrokerError(key), language="en" if language == "en" else "fr")
    checked = OperationOutcome.model_validate_json(body)
    details = checked.issue[0].details
    assert details is not None
    assert [coding.code for coding in details.coding or ()] == [key]
    assert checked.issue[0].severity in {"error", "fatal"}


def test_status_of_an_error() -> None:
    assert status_of(RequestError("request.format")) == 406
    assert status_of(UNREACHABLE) == 504


def test_an_error_that_the_table_does_not_hold_is_internal() -> None:
    error = BrokerError("no.such-row", secret="x")
    assert (status_of(error), issue_of(error).key) == (500, "internal")
    assert orjson.loads(render_error(error))["issue"][0]["details"]["coding"] == [
        {"system": OUTCOME_SYSTEM, "code": "internal"}
    ]


def test_an_outcome_has_an_issue() -> None:
    with pytest.raises(ValueError, match="at least one"):
        outcome([])


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "fr"),
        ("", "fr"),
        ("en", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("de, en;q=0.5, fr;q=0.4", "en"),
        ("en;q=0, fr", "fr"),
        ("en;q=0", "fr"),
        ("de", "fr"),
        ("*", "fr"),
        ("en, *", "en"),
        ("en;q=x", "fr"),
    ],
)
def test_language(header: str | None, language: str) -> None:
    assert language_of(header) == language
