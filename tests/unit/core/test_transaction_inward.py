"""What a manager is sent of a transaction, and what its answer becomes."""

from __future__ import annotations

import json
import uuid
from typing import Any

import orjson
import pytest

from broker.core.copy_plan import CopyPlan, PlannedCopy
from broker.core.identity import Origin
from broker.core.preferences import Return
from broker.core.transaction import read_transaction
from broker.core.transaction_answer import (
    read_transaction_answer,
    relayed_failure,
    write_transaction_answer,
)
from broker.core.transaction_inward import inward_transaction
from broker.core.transaction_plan import plan_transaction
from broker.errors import FailureKind, Issue, ManagerError, RefusedError
from registry.model import TRE_R30, Gestionnaire
from tests.support.transactions import (
    BASE,
    BRE,
    PUBLIC,
    SYSTEM,
    Json,
    Sandbox,
    circle,
    condition_of,
    entry,
    organization,
    patient,
    read,
)

P, O = "urn:uuid:0a9f5b0e-7f9a-4f3c-8a25-2d7b1f0c0001", "urn:uuid:0a9f5b0e-7f9a-4f3c-8a25-2d7b1f0c0002"  # noqa: E741
COPY, OTHER = "urn:uuid:0a9f5b0e-7f9a-4f3c-8a25-2d7b1f0c0003", "urn:uuid:0a9f5b0e-7f9a-4f3c-8a25-2d7b1f0c0004"
ALIAS = "bre.alias--" + "0" * 40
MANAGER = Gestionnaire(id="bre", name="Bretagne", region="53", base_url=BASE)


def sent(*entries: Json, **more: Any) -> list[Json]:
    plan = plan_transaction(read(*entries))
    made = json.loads(inward_transaction(plan, BRE, more.pop("aliases", {}), more.pop("copies", None)).body)
    assert (made["resourceType"], made["type"]) == ("Bundle", "transaction")
    return list(made["entry"])


def refused(*entries: Json, **more: Any) -> list[tuple[str, tuple[str, ...]]]:
    with pytest.raises(RefusedError) as caught:
        sent(*entries, **more)
    assert caught.value.key == caught.value.issues[0].key == "transaction.failed"
    return [(issue.key, issue.expression) for issue in caught.value.issues[1:]]


def test_an_update_is_in_the_managers_own_terms() -> None:
    changed = circle(f"{PUBLIC}/Patient/bre.9/_history/2", "Organization/bre.3", id="bre.1")
    team, person, new = sent(
        entry("PUT", "CareTeam/bre.1", changed, f"{PUBLIC}/CareTeam/bre.1", ifMatch='W/"4"'),
        entry("PUT", f"{PUBLIC}/Patient/{ALIAS}", patient("p", id=ALIAS), P),
        entry("POST", "Organization", organization("o", id="x"), ifNoneExist="_id=bre.3&name=a%2Cb"),
        aliases={ALIAS: "l" * 64},
    )
    assert team == {
        "fullUrl": f"{BASE}/CareTeam/1",
        "request": {"method": "PUT", "url": "CareTeam/1", "ifMatch": 'W/"4"'},
        "resource": circle(f"{BASE}/Patient/9/_history/2", "Organization/3", id="1"),
    }
    assert (person["fullUrl"], person["request"]["url"]) == (P, "Patient/" + "l" * 64)
    assert person["resource"]["id"] == "l" * 64
    assert new["request"] == {"method": "POST", "url": "Organization", "ifNoneExist": "_id=3&name=a%2Cb"}
    assert new["resource"] == organization("o")


def test_entries_that_go_by_their_ids_get_urns() -> None:
    """The guide's own example, and addresses of the client's own: no server has to guess."""
    mine = "https://client.exemple/fhir/Organization/3"
    entries = sent(
        entry("POST", "CareTeam", circle("Patient/a", mine, "Organization/3", "Organization/b"), P),
        entry("POST", "Patient", patient("p", id="a")),
        entry("POST", "Organization", organization("o"), mine),
        entry("POST", "Organization", organization("q", id="b"), O),
        entry("POST", "Organization", organization("r")),
    )
    urns = [one.get("fullUrl") for one in entries]
    assert (urns[0], urns[3], urns[4]) == (P, O, None)
    assert [uuid.UUID(str(urn)).urn for urn in urns[:4]] == urns[:4]
    assert len(set(urns)) == 5
    members = [one["member"]["reference"] for one in entries[0]["resource"]["participant"]]
    assert entries[0]["resource"]["subject"]["reference"] == urns[1]
    assert members == [urns[2], urns[2], urns[3]]


def test_an_updated_entry_is_referred_to_by_its_id_or_its_urn() -> None:
    mine = "https://client.exemple/fhir/Organization/3"
    entries = sent(
        entry("PUT", "CareTeam/bre.1", circle(P, mine, "Organization/bre.3", f"{PUBLIC}/Organization/bre.3", id="bre.1")),
        entry("PUT", "Patient/bre.9", patient("p", id="bre.9"), P),
        entry("PUT", "Organization/bre.3", organization("o", id="bre.3"), mine),
    )  # fmt: skip
    team = entries[0]["resource"]
    assert team["subject"]["reference"] == P
    members = [one["member"]["reference"] for one in team["participant"]]
    assert members == ["Organization/3", "Organization/3", f"{BASE}/Organization/3"]
    assert entries[2]["fullUrl"] == f"{BASE}/Organization/3"


def test_what_is_no_reference_stays_to_the_byte() -> None:
    raw = (
        b'{ "resourceType":"Bundle","id":"mine","type":"transaction", "entry":[{ "fullUrl":"%s" ,"resource":'
        b'{"resourceType":"Patient","n":1.50,"text":{"div":"<a href=\\"Patient/bre.1\\">\\u00e9</a>"},'
        b'"x":{"display":"Patient/bre.2","\\u0072eference" : "Patient\\/bre.2"},"y":1e+9}, "request":'
        b'{"url":"Patient","method":"POST","z":[ ]}}]}' % P.encode()
    )
    transaction = read_transaction(json.loads(raw), raw, public_base=PUBLIC)
    made = inward_transaction(plan_transaction(transaction), BRE, {})
    expected = raw.replace(b'"\\u0072eference" : "Patient\\/bre.2"', b'"reference" : "Patient/2"')
    assert made.body == expected
    assert made.resources[0] in expected


def test_the_brokers_own_condition_is_sent_unless_the_client_gave_one() -> None:
    plan = plan_transaction(
        read(
            entry("POST", "Organization", organization("a")),
            entry("POST", "Organization", organization("b"), ifNoneExist="name=b"),
            entry("POST", "Organization", {"resourceType": "Organization"}),
        ),
        condition_of=condition_of,
    )
    entries = json.loads(inward_transaction(plan, BRE, {}).body)["entry"]
    conditions = [one["request"].get("ifNoneExist") for one in entries]
    assert conditions == [condition_of(organization("a")), "name=b", None]


def test_conditional_references_are_left_to_the_manager_in_its_own_terms() -> None:
    members = [
        "Patient?identifier=a|b",
        f"{PUBLIC}/Organization?_id=bre.3",
        "RelatedPerson?patient=bre.9&name=x",
    ]
    team, _ = sent(
        entry("PUT", "CareTeam/bre.1", circle("Patient/bre.9", *members, id="bre.1")),
        entry("POST", "Organization", organization("o")),
    )
    assert [one["member"]["reference"] for one in team["resource"]["participant"]] == [
        "Patient?identifier=a|b",
        "Organization?_id=3",
        "RelatedPerson?patient=Patient%2F9&name=x",
    ]


def test_what_the_manager_cannot_know_is_refused_with_its_place() -> None:
    team = circle("Patient/idf.9", "Organization?_id=idf.3", f"Organization/{ALIAS}", id=ALIAS)
    assert refused(
        entry("PUT", f"CareTeam/{ALIAS}", team),
        entry("POST", "Organization", organization("o"), ifNoneExist="_id=idf.4"),
    ) == [
        ("transaction.unknown-reference", ("Bundle.entry[0].resource.subject",)),
        ("condition.foreign", ("Bundle.entry[0].resource.participant[0].member",)),
        ("transaction.unknown-reference", ("Bundle.entry[0].resource.participant[1].member",)),
        ("request.not-found", ("Bundle.entry[0].request.url",)),
        ("condition.foreign", ("Bundle.entry[1].request.ifNoneExist",)),
    ]


def test_what_is_another_managers_is_never_written_here() -> None:
    found = refused(entry("PUT", "Patient/idf.1", patient("p", id="idf.1")))
    assert found == [("request.not-found", ("Bundle.entry[0].request.url",))]


def planned(full_url: str, resource: Json) -> PlannedCopy:
    return PlannedCopy(full_url, resource, (SYSTEM, resource["identifier"][0]["value"]), "Organization/idf.1")


def test_copies_follow_the_clients_entries() -> None:
    members = ("Organization/idf.1", f"{PUBLIC}/Organization/idf.1/_history/4", "Organization/idf.5")
    copies = CopyPlan(
        dict(zip(members, (COPY, COPY, "Organization/idf.1"), strict=True)),
        (
            planned(OTHER, organization("upper")),
            planned(COPY, organization("copied", partOf={"reference": OTHER})),
            planned("urn:uuid:needless", organization("needless")),
        ),
    )
    team, above, copied = sent(
        entry("PUT", "CareTeam/bre.1", circle("Patient/bre.9", *members, id="bre.1")), copies=copies
    )
    # The home is a broker too: its own `idf.1` is not the federation's.
    assert [one["member"]["reference"] for one in team["resource"]["participant"]] == [
        COPY,
        COPY,
        "Organization/idf.1",
    ]
    assert [above["fullUrl"], copied["fullUrl"]] == [OTHER, COPY]
    assert copied["resource"] == organization("copied", partOf={"reference": OTHER})
    assert copied["request"] == {
        "method": "POST",
        "url": "Organization",
        "ifNoneExist": condition_of(organization("copied")),
    }


def test_a_copy_of_what_the_client_sends_itself_is_that_entry() -> None:
    plan = plan_transaction(
        read(
            entry("PUT", "CareTeam/bre.1", circle("Patient/bre.9", "Organization/idf.1", id="bre.1")),
            entry("POST", "Organization", organization("same")),
        ),
        condition_of=condition_of,
    )
    copies = CopyPlan(
        {"Organization/idf.1": COPY},
        (
            planned(OTHER, organization("upper")),
            planned(COPY, organization("same", partOf={"reference": OTHER})),
        ),
    )
    made = inward_transaction(plan, BRE, {}, copies)
    team, own = json.loads(made.body)["entry"]
    assert made.copies == 0
    assert team["resource"]["participant"][0]["member"]["reference"] == own["fullUrl"]


# --- answers


def done() -> tuple[Any, bytes, Sandbox]:
    """A transaction that a sandbox has answered, with one copy."""
    sandbox = Sandbox()
    sandbox.put(patient("p", id="9"))
    sandbox.put(circle("Patient/9", id="1"))
    plan = plan_transaction(
        read(
            entry("PUT", "CareTeam/bre.1", circle("Patient/bre.9", O, "Organization/idf.1", id="bre.1")),
            entry("POST", "Organization", organization("o"), O),
        )
    )
    copies = CopyPlan({"Organization/idf.1": COPY}, (planned(COPY, organization("copied")),))
    made = inward_transaction(plan, BRE, {}, copies)
    return plan.transaction, sandbox.transact(made.body), sandbox


def test_an_answer_is_in_public_terms_in_the_clients_order() -> None:
    transaction, body, sandbox = done()
    team, new = read_transaction_answer(body, transaction, BRE, {}, copies=1)
    assert (team.reference, team.status, team.created, team.version_id) == (
        "CareTeam/bre.1",
        "200 OK",
        False,
        "2",
    )
    assert (new.type, new.created, new.etag) == ("Organization", True, 'W/"1"')
    assert new.public_id == f"bre.{new.local_id}"
    assert sandbox.held(f"Organization/{new.local_id}")["identifier"][0]["value"] == "o"
    answer = json.loads(write_transaction_answer((team, new), PUBLIC))
    assert answer["type"] == "transaction-response"
    first, second = answer["entry"]
    assert first["fullUrl"] == f"{PUBLIC}/CareTeam/bre.1"
    assert first["response"] == {
        "status": "200 OK",
        "location": f"{PUBLIC}/CareTeam/bre.1/_history/2",
        "etag": 'W/"2"',
        "lastModified": team.last_modified,
    }
    shown = first["resource"]
    assert (shown["id"], shown["meta"]["source"], shown["meta"]["tag"]) == (
        "bre.1",
        BASE,
        [{"system": TRE_R30, "code": "53"}],
    )
    assert shown["subject"]["reference"] == "Patient/bre.9"
    assert shown["participant"][0]["member"]["reference"] == new.reference
    assert second["resource"]["id"] == new.public_id


def test_an_answer_is_as_the_client_prefers_it() -> None:
    transaction, body, _ = done()
    written = read_transaction_answer(body, transaction, BRE, {}, copies=1)
    warned = {1: [Issue("write.ins-key", {}, "warning", ("Bundle.entry[1].resource.identifier",))]}

    def entries(return_: Return | None) -> list[Json]:
        text = write_transaction_answer(written, PUBLIC, return_=return_, warnings=warned)
        return list(json.loads(text)["entry"])

    for preferred in (None, Return.REPRESENTATION):
        assert ["resource" in one for one in entries(preferred)] == [True, True]
    assert ["resource" in one for one in entries(Return.MINIMAL)] == [False, False]
    assert ["outcome" in one["response"] for one in entries(Return.MINIMAL)] == [False, True]
    told = [one["response"]["outcome"]["issue"] for one in entries(Return.OPERATION_OUTCOME)]
    codes = [[issue["details"]["coding"][0]["code"] for issue in issues] for issues in told]
    assert codes == [["write.stored"], ["write.stored", "write.ins-key"]]
    assert [bool(one["response"]["location"]) for one in entries(Return.OPERATION_OUTCOME)] == [True, True]


def answer(*entries: Json, **more: Any) -> bytes:
    return orjson.dumps(
        {"resourceType": "Bundle", "type": "transaction-response", **more, "entry": list(entries)}
    )


CREATED = read(entry("POST", "Patient", patient("p")))
UPDATED = read(entry("PUT", "Patient/bre.7", patient("p", id="bre.7")))


@pytest.mark.parametrize(
    "one",
    [
        {"response": {"status": "201 Created", "location": "Patient/7/_history/3"}},
        {"response": {"status": "201", "location": f"{BASE}/Patient/7/_history/3"}},
        {"response": {"status": "201", "location": "http://inside:8080/x/Patient/7", "etag": 'W/"3"'}},
        {"fullUrl": f"{BASE}/Patient/7", "response": {"status": "201", "etag": '"3"'}},
        {
            "response": {"status": "201"},
            "resource": {"resourceType": "Patient", "id": "7", "meta": {"versionId": "3"}},
        },
    ],
)
def test_a_manager_may_tell_in_several_ways_what_it_wrote(one: Json) -> None:
    (written,) = read_transaction_answer(answer(one), CREATED, BRE, {})
    assert (written.reference, written.local_id, written.version_id, written.created) == (
        "Patient/bre.7",
        "7",
        "3",
        True,
    )
    shown = json.loads(write_transaction_answer([written], PUBLIC))["entry"][0]
    assert shown["fullUrl"] == f"{PUBLIC}/Patient/bre.7"
    assert shown["response"]["location"] == f"{PUBLIC}/Patient/bre.7/_history/3"


def test_an_update_needs_no_place_and_long_ids_get_aliases() -> None:
    (written,) = read_transaction_answer(answer({"response": {"status": "200"}}), UPDATED, BRE, {})
    assert (written.reference, written.version_id, written.resource) == ("Patient/bre.7", None, None)
    aliases: dict[str, str] = {}
    long = {"response": {"status": "201", "location": "Patient/" + "l" * 64}}
    (written,) = read_transaction_answer(answer(long), CREATED, BRE, aliases)
    assert aliases == {written.public_id: "l" * 64}
    again = read(entry("PUT", written.reference, patient("p", id=written.public_id)))
    assert read_transaction_answer(answer(long), again, BRE, aliases)[0].local_id == "l" * 64


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[1]",
        answer(),
        answer(*({"response": {"status": "201", "location": "Patient/7"}},) * 2),
        answer({"response": {"status": "201", "location": "Patient/7"}}, type="batch-response"),
        answer({"response": {"status": "201", "location": "Patient/7"}}, resourceType="Parameters"),
        answer({"response": {"status": "201"}}),
        answer({"response": {"location": "Patient/7"}}),
        answer({"response": {"status": "422", "location": "Patient/7"}}),
        answer({"fullUrl": f"{BASE}/Patient/7"}),
        answer({"response": {"status": "201", "location": "Organization/7"}}),
        answer({"response": {"status": "201", "location": "Patient/.."}}),
        answer({"fullUrl": f"{BASE}/Patient/8", "response": {"status": "201", "location": "Patient/7"}}),
        answer(
            {
                "response": {"status": "201", "location": "Patient/7"},
                "resource": {"resourceType": "Patient", "id": "8"},
            }
        ),
    ],
)
def test_an_answer_that_is_not_about_what_was_sent_is_invalid(body: bytes) -> None:
    with pytest.raises(ManagerError) as caught:
        read_transaction_answer(body, CREATED, BRE, {})
    assert caught.value.kind is FailureKind.INVALID
    assert caught.value.sent


def test_an_update_elsewhere_is_invalid() -> None:
    with pytest.raises(ManagerError):
        read_transaction_answer(
            answer({"response": {"status": "200", "location": "Patient/8"}}), UPDATED, BRE, {}
        )


def test_a_managers_own_words_are_said_to_be_its_own() -> None:
    own = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "processing", "diagnostics": f"see {BASE}/Patient/7"}],
    }
    place = {"status": "201", "location": "Patient/7"}
    for one in ({"response": {**place, "outcome": own}}, {"response": place, "resource": own}):
        (written,) = read_transaction_answer(answer(one), CREATED, BRE, {})
        (remark,) = written.remarks
        assert (remark.key, remark.severity, remark.diagnostics) == ("manager.reported", "warning", "see …")
        text = write_transaction_answer([written], PUBLIC)
        assert BASE.encode() not in text
        assert json.loads(text)["entry"][0]["response"]["outcome"]["issue"][0]["diagnostics"] == "see …"


def test_an_unusable_resource_costs_itself_alone() -> None:
    one = {"response": {"status": "201", "location": "Patient/7"}, "resource": {"resourceType": "Patient"}}
    (written,) = read_transaction_answer(answer(one), CREATED, BRE, {})
    assert (written.reference, written.resource) == ("Patient/bre.7", None)


def test_why_a_manager_refused_is_relayed_with_the_places_that_the_client_knows() -> None:
    issues = [
        {
            "severity": "fatal",
            "code": "invalid",
            "details": {"text": "INS 295109912611193 inconnu"},
            "expression": ["Bundle.entry[1].resource.name[0]", "Bundle.entry[2].resource", "Patient.name"],
            "location": ["Bundle.entry[0].resource/*CareTeam/null*/.participant[3]", "/f:Bundle/f:entry[1]"],
        },
        {"severity": "odd", "code": "x", "expression": ["Bundle.entry[0].where(value='secret')"], "location": None},
    ]  # fmt: skip
    body = orjson.dumps({"resourceType": "OperationOutcome", "issue": issues})
    failed, first, second = relayed_failure(body, MANAGER, 2)
    assert failed == Issue("transaction.failed")
    assert (first.key, first.params["slug"], first.severity) == ("manager.reported", "bre", "fatal")
    assert first.diagnostics == "INS … inconnu"
    assert first.expression == (
        "Bundle.entry[1].resource.name[0]",
        "Bundle.entry[0].resource.participant[3]",
    )
    assert (second.severity, second.expression, second.diagnostics) == ("error", (), None)
    assert relayed_failure(b"<html>", MANAGER, 2) == [failed]
    assert relayed_failure(b'{"resourceType":"Patient","issue":[]}', MANAGER, 2) == [failed]


def test_a_region_of_a_broker_is_its_own() -> None:
    """A source that names another manager's resource is given its public address."""
    idf = Origin("idf", "https://m.idf.exemple/fhir", PUBLIC, "11")
    one = {
        "response": {"status": "201"},
        "resource": {
            "resourceType": "Patient",
            "id": "7",
            "meta": {"source": "https://m.idf.exemple/fhir/Patient/3"},
        },
    }
    (written,) = read_transaction_answer(answer(one), CREATED, BRE, {}, origins=[BRE, idf])
    assert written.resource is not None
    assert written.resource.source == f"{PUBLIC}/Patient/idf.3"
