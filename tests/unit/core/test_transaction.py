"""Reading and planning transactions: what is taken, what is refused, and that all faults are told at once."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from broker.core.outcome import render_error, status_of
from broker.core.transaction import read_transaction
from broker.core.transaction_model import InnerReference
from broker.core.transaction_plan import plan_transaction
from broker.errors import Issue, RefusedError, RequestError
from tests.support.transactions import (
    PUBLIC,
    Json,
    bundle,
    circle,
    condition_of,
    entry,
    organization,
    patient,
    read,
)

PACKAGE = Path(__file__).parents[4] / "shared" / "ig" / "ans.fhir.fr.cds-2.0.1.tgz"
EXAMPLE = "package/example/Bundle-cds-bundle-transaction-creation-example.json"
CREATION = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-bundle-transaction-creation"
P, O = "urn:uuid:0a9f5b0e-7f9a-4f3c-8a25-2d7b1f0c0001", "urn:uuid:0a9f5b0e-7f9a-4f3c-8a25-2d7b1f0c0002"  # noqa: E741


def faults(*entries: Json, **more: Any) -> list[tuple[str, tuple[str, ...]]]:
    """(key, expression) of each issue, but for the one that says that the transaction failed."""
    with pytest.raises(RefusedError) as caught:
        read(*entries, **more)
    assert status_of(caught.value) == 500
    assert json.loads(render_error(caught.value))["resourceType"] == "OperationOutcome"
    first, *others = caught.value.issues
    assert first.key == caught.value.key == "transaction.failed"
    return [(issue.key, issue.expression) for issue in others]


def creation(*more: Json) -> list[Json]:
    return [
        entry("POST", "CareTeam", circle(P, O)),
        entry("POST", "Patient", patient("p"), P),
        entry("POST", "Organization", organization("o"), O),
        *more,
    ]


def test_a_creation_is_read() -> None:
    transaction = read(*creation())
    assert [(one.index, one.method, one.type, one.public_id) for one in transaction.entries] == [
        (0, "POST", "CareTeam", None),
        (1, "POST", "Patient", None),
        (2, "POST", "Organization", None),
    ]
    assert [(one.path, one.target) for one in transaction.references] == [
        ("Bundle.entry[0].resource.subject", 1),
        ("Bundle.entry[0].resource.participant[0].member", 2),
    ]
    assert json.loads(transaction.entries[1].raw) == patient("p")
    assert transaction.entries[2].path == "Bundle.entry[2]"
    assert transaction.circles == transaction.entries[:1]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"resourceType": "Patient"}, "request.not-a-transaction"),
        ({"resourceType": "Bundle", "type": "batch", "entry": [{}]}, "request.not-a-transaction"),
        ({"resourceType": "Bundle", "type": "transaction"}, "request.bad-resource"),
        ({"resourceType": "Bundle", "type": "transaction", "entry": []}, "request.bad-resource"),
        ({"resourceType": "Bundle", "type": "transaction", "entry": ["x"]}, "request.bad-resource"),
    ],
)
def test_what_is_no_transaction_is_no_fhir(body: Json, key: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_transaction(body, json.dumps(body).encode(), public_base=PUBLIC)
    assert (caught.value.key, status_of(caught.value)) == (key, 400)
    assert not isinstance(caught.value, RefusedError)


def test_all_faults_are_told_at_once_each_with_its_place() -> None:
    found = faults(
        entry("DELETE", "Patient/bre.1", patient("a")),
        entry("POST", "Organization/bre.2", organization("b")),
        entry("POST", "Device", {"resourceType": "Device"}),
        entry("POST", "Patient", None),
        entry("POST", "Patient", organization("c")),
        entry("PUT", "Patient/bre.3", patient("d", id="bre.4")),
        entry("PUT", "Patient/unknown", patient("e", id="unknown")),
        {**entry("POST", "Organization", organization("f")), "response": {"status": "200"}},
        entry("POST", "RelatedPerson", {"resourceType": "RelatedPerson", "patient": {"reference": P}}),
        entry("POST", "Organization", organization("g", partOf={"reference": "Organization/none"})),
        entry("POST", "Patient", patient("h"), ifNoneExist="nonsense=1"),
        entry("POST", "Organization", organization("i", partOf={"reference": "Organization?_count=1"})),
        {"resource": patient("j")},
        entry("PUT", "Patient?identifier=x", patient("k")),
    )
    assert found == [
        ("transaction.method", ("Bundle.entry[0].request.method",)),
        ("transaction.url", ("Bundle.entry[1].request.url",)),
        ("request.unknown-type", ("Bundle.entry[2].request.url",)),
        ("request.missing-element", ("Bundle.entry[3]",)),
        ("request.wrong-type", ("Bundle.entry[4].resource",)),
        ("request.id-mismatch", ("Bundle.entry[5].resource.id",)),
        ("request.not-found", ("Bundle.entry[6].request.url",)),
        ("transaction.response", ("Bundle.entry[7].response",)),
        ("transaction.dangling", ("Bundle.entry[8].resource.patient",)),
        ("transaction.unknown-reference", ("Bundle.entry[9].resource.partOf",)),
        ("request.unknown-parameter", ("Bundle.entry[10].request.ifNoneExist",)),
        ("request.bad-condition", ("Bundle.entry[11].resource.partOf",)),
        ("transaction.method", ("Bundle.entry[12].request.method",)),
        ("transaction.url", ("Bundle.entry[13].request.url",)),
    ]


def test_faults_of_resources_are_told_with_the_others_and_their_warnings_are_kept() -> None:
    def check(resource: dict[str, Any], *, path: str | None = None) -> Iterable[Issue]:
        severity = "warning" if resource["resourceType"] == "Patient" else "error"
        return [Issue("request.missing-element", {"element": "name"}, severity, (f"{path}.name",))]

    made = bundle(entry("PUT", "Patient/bre.1", patient("a", id="bre.1")))
    transaction = read_transaction(made, json.dumps(made).encode(), public_base=PUBLIC, check_resource=check)
    assert [issue.expression for issue in transaction.warnings[0]] == [("Bundle.entry[0].resource.name",)]
    made = bundle(*creation(entry("GET", "Patient", patient("a"))))
    with pytest.raises(RefusedError) as caught:
        read_transaction(made, json.dumps(made).encode(), public_base=PUBLIC, check_resource=check)
    assert [(issue.key, *issue.expression) for issue in caught.value.issues[1:]] == [
        ("request.missing-element", "Bundle.entry[0].resource.name"),
        ("request.missing-element", "Bundle.entry[2].resource.name"),
        ("transaction.one-patient", "Bundle.entry[3]"),
        ("transaction.method", "Bundle.entry[3].request.method"),
    ]


def test_entries_are_about_different_resources() -> None:
    one = entry("PUT", "Patient/bre.1", patient("a", id="bre.1"), P)
    assert faults(one, one) == [
        ("transaction.duplicate", ("Bundle.entry[1].fullUrl",)),
        ("transaction.duplicate", ("Bundle.entry[1].resource",)),
    ]


def test_a_creation_is_about_one_circle_and_one_patient() -> None:
    second = entry("POST", "CareTeam", circle("Patient/bre.9"))
    other = entry("POST", "Patient", patient("q"))
    assert faults(*creation(second, other)) == [
        ("transaction.one-circle", ("Bundle.entry[3]",)),
        ("transaction.one-patient", ("Bundle.entry[4]",)),
    ]
    assert faults(entry("POST", "CareTeam", circle("Patient/bre.9"))) == [
        ("transaction.one-patient", ("Bundle.entry",))
    ]
    said = {"meta": {"profile": [f"{CREATION}|2.0.1"]}}
    assert faults(other, **said) == [("transaction.one-circle", ("Bundle.entry",))]


def test_an_update_is_about_any_number_of_circles() -> None:
    circles = [entry("PUT", f"CareTeam/bre.{n}", circle("Patient/bre.9", id=f"bre.{n}")) for n in (1, 2)]
    assert [one.public_id for one in read(*circles).circles] == ["bre.1", "bre.2"]
    assert len(read(entry("POST", "Patient", patient("a"))).entries) == 1


def test_addresses_may_be_absolute() -> None:
    transaction = read(
        entry("PUT", f"{PUBLIC}/Patient/bre.1", patient("a", id="bre.1")),
        entry(
            "POST", "/Organization", organization("o", partOf={"reference": f"{PUBLIC}/Organization/idf.2"})
        ),
    )
    assert [(one.type, one.public_id) for one in transaction.entries] == [
        ("Patient", "bre.1"),
        ("Organization", None),
    ]
    assert [one.public for one in transaction.references] == ["Organization/idf.2"]


def test_where_references_lead() -> None:
    elsewhere = "https://client.exemple/fhir"
    texts = [
        "#contained",
        P,
        "Patient/mine",
        f"{elsewhere}/Organization/3",
        "Organization/3",
        "CareTeam/bre.1",
        f"{PUBLIC}/Patient/idf.7/_history/2",
        "Patient?identifier=a|b",
        f"{PUBLIC}/Patient?identifier=a|b",
        f"{elsewhere}/Patient/4",
        "Device?identifier=1",
    ]
    transaction = read(
        entry("PUT", "CareTeam/bre.1", circle(P, *texts, id="bre.1")),
        entry("POST", "Patient", patient("p", id="mine"), P),
        entry("POST", "Organization", organization("o"), f"{elsewhere}/Organization/3"),
    )
    member = "Bundle.entry[0].resource.participant[{}].member"

    def led(index: int, **where: Any) -> InnerReference:
        return InnerReference(0, member.format(index), texts[index], **where)

    assert transaction.references[1:] == (
        led(1, target=1),
        led(2, target=1),
        led(3, target=2),
        led(4, target=2),
        led(5, target=0, type="CareTeam", public_id="bre.1"),
        led(6, type="Patient", public_id="idf.7"),
        led(7, type="Patient", condition="Patient?identifier=a|b"),
        led(8, type="Patient", condition="Patient?identifier=a|b"),
    )


def test_a_plan_names_the_manager_the_circle_and_what_is_foreign() -> None:
    changed = circle("Patient/bre.9", "Organization/idf.2", "Organization/bre.3", id="bre.1")
    plan = plan_transaction(
        read(
            entry("PUT", "CareTeam/bre.1", changed),
            entry("POST", "Organization", organization("o"), ifNoneExist="_id=bre.alias--" + "0" * 40),
            entry("POST", "Organization", organization("p")),
        ),
        condition_of=condition_of,
    )
    assert plan.target == "bre"
    assert plan.referenced == ("bre", "idf")
    assert [(one.path, one.text) for one in plan.foreign("bre")] == [
        ("Bundle.entry[0].resource.participant[0].member", "Organization/idf.2")
    ]
    assert plan.circle is not None
    assert (plan.circle.created, plan.circle.patient, plan.circle.patient_id) == (False, None, "bre.9")
    assert plan.conditions[0] is None
    assert plan.conditions[1:] == ("_id=bre.alias--" + "0" * 40, condition_of(organization("p")))
    assert plan.aliases == {"bre.alias--" + "0" * 40}


def test_a_plan_of_a_creation_has_no_manager_yet() -> None:
    plan = plan_transaction(read(*creation()), condition_of=condition_of)
    assert (plan.target, plan.referenced) == (None, ())
    assert plan.circle is not None
    assert plan.circle.created
    assert plan.circle.patient == plan.transaction.entries[1]
    assert plan.conditions[0] is None  # a circle is not found by its identifier but by its person


def test_a_subject_may_be_a_condition_or_an_updated_patient() -> None:
    met = plan_transaction(
        read(
            entry("POST", "CareTeam", circle("Patient?identifier=a|b")),
            entry("PUT", "Patient/bre.9", patient("p", id="bre.9"), P),
        )
    ).circle
    assert met is not None
    assert (met.patient, met.patient_id, met.condition) == (None, None, "Patient?identifier=a|b")
    for subject in (P, "Patient/bre.9", f"{PUBLIC}/Patient/bre.9"):
        transaction = read(
            entry("POST", "CareTeam", circle(subject)),
            entry("PUT", "Patient/bre.9", patient("p", id="bre.9"), P),
        )
        known = plan_transaction(transaction).circle
        assert known is not None
        assert (known.patient, known.patient_id) == (transaction.entries[1], "bre.9")


def test_updates_at_several_managers_are_refused_with_who_goes_where() -> None:
    transaction = read(
        entry("PUT", "Patient/bre.1", patient("a", id="bre.1")),
        entry("POST", "Organization", organization("o")),
        entry("PUT", "Patient/idf.1", patient("b", id="idf.1")),
    )
    with pytest.raises(RefusedError) as caught:
        plan_transaction(transaction)
    assert status_of(caught.value) == 422
    assert [(one.key, one.params, one.expression) for one in caught.value.issues] == [
        ("transaction.several-managers", {"slugs": "bre, idf"}, ()),
        ("transaction.entry-manager", {"slug": "bre"}, ("Bundle.entry[0].request.url",)),
        ("transaction.entry-manager", {"slug": "idf"}, ("Bundle.entry[2].request.url",)),
    ]
    assert b"bre, idf" in render_error(caught.value)


def test_two_creations_of_one_actor_are_refused() -> None:
    transaction = read(*(entry("POST", "Organization", organization("same")) for _ in range(2)))
    with pytest.raises(RefusedError) as caught:
        plan_transaction(transaction, condition_of=condition_of)
    assert [(one.key, one.expression) for one in caught.value.issues[1:]] == [
        ("transaction.duplicate", ("Bundle.entry[1].resource",))
    ]
    assert plan_transaction(transaction).conditions == (None, None)


@pytest.mark.guide
def test_the_guides_own_example_leads_from_entry_to_entry() -> None:
    if not PACKAGE.exists():
        pytest.skip("the guide's package is not at hand")
    with tarfile.open(PACKAGE) as package:
        handle = package.extractfile(EXAMPLE)
        assert handle is not None
        body = handle.read()
    transaction = read_transaction(json.loads(body.decode("utf-8-sig")), body, public_base=PUBLIC)
    assert [entry.type for entry in transaction.entries] == [
        "CareTeam",
        "Organization",
        "Patient",
        "RelatedPerson",
    ]
    assert {(one.text, one.target) for one in transaction.references} == {
        ("Patient/cds-patient-example", 2),
        ("RelatedPerson/cds-relatedperson-example", 3),
        ("Organization/cds-organization-example", 1),
    }
