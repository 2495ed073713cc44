"""Results of a search as circles one can read."""

from __future__ import annotations

import datetime as dt
from typing import Any

from broker.console.asked_view import Waited, manager_lines
from broker.console.search_view import Known, circle, included_in, results
from broker.console.timeline import Bar, Span
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.outcome import outcome
from broker.core.routing import Ask, LeftOut, ManagerPlan, Plan, Refused, Unable
from broker.errors import Issue
from registry.model import TRE_R30, Gestionnaire, Skills
from tests.support.fhir_builders import INS, Resource, bundle, care_team, patient, related_person

BRE = Gestionnaire("bre", "Bretagne", "53", "http://bre.example/fhir")
OCC = Gestionnaire("occ", "Occitanie", "76", "http://occ.example/fhir")
PUBLIC = "http://broker.example/fhir"


def known(language: str = "fr", **changes: Any) -> Known:
    values: dict[str, Any] = {
        "public_base": PUBLIC,
        "bases": {one.base_url: one.id for one in (BRE, OCC)},
        "managers": {one.id: one for one in (BRE, OCC)},
        "today": dt.date(2025, 12, 31),
        "language": language,
    }
    return Known(**(values | changes))


def a_circle(**more: Any) -> Resource:
    return care_team("bre.c1", subject="Patient/bre.p1", **more)


def participant(member: str, start: str = "", end: str = "", **more: Any) -> Resource:
    period = {name: value for name, value in (("start", start), ("end", end)) if value}
    return {"member": {"reference": member}} | ({"period": period} if period else {}) | more


def test_a_circle_shows_its_person_by_name_birth_and_ins() -> None:
    found = results(bundle([a_circle()], includes=[patient("bre.p1")]), known())
    person = found.circles[0].person
    assert (person.name, person.birthdate, person.ins, person.known) == (
        "Dominique EXEMPLE",
        "1951-09-09",
        INS[0],
        True,
    )


def test_a_person_that_did_not_come_along_is_a_reference() -> None:
    person = results(bundle([a_circle()]), known()).circles[0].person
    assert (person.reference, person.name, person.known) == ("Patient/bre.p1", "", False)


def test_who_left_and_came_back_is_one_member_with_two_stays() -> None:
    members = [
        participant("RelatedPerson/bre.r1", "2025-01-01", "2025-03-31"),
        participant("Organization/bre.o1", "2025-01-01"),
        participant("RelatedPerson/bre.r1", "2025-07-02"),
    ]
    shown = circle(a_circle(participant=members), included_in({}), known())
    assert [one.reference for one in shown.members] == ["RelatedPerson/bre.r1", "Organization/bre.o1"]
    stays = shown.members[0].stays
    assert [one.span for one in stays] == [Span("2025-01-01", "2025-03-31"), Span("2025-07-02")]
    # 365 days; the 182 before the second of July are half of them.
    assert [one.bar for one in stays] == [Bar(0, 247, open=False), Bar(499, 501, open=True)]


def test_a_professional_has_a_name_by_the_practitioner_and_says_what_and_where() -> None:
    role = {
        "resourceType": "PractitionerRole",
        "id": "bre.e1",
        "practitioner": {"reference": "Practitioner/bre.d1"},
        "organization": {"reference": "Organization/bre.o1"},
        "code": [{"coding": [{"code": "10", "display": "Médecin"}]}],
    }
    doctor = {
        "resourceType": "Practitioner",
        "id": "bre.d1",
        "name": [{"family": "MARTIN", "given": ["Alix"]}],
    }
    house = {"resourceType": "Organization", "id": "bre.o1", "name": "Maison de santé"}
    members = [
        participant("PractitionerRole/bre.e1", role=[{"coding": [{"code": "PCP"}]}]),
        participant("RelatedPerson/bre.r1"),
    ]
    relation = related_person("bre.r1", relationship=[{"coding": [{"code": "QUAL"}]}])
    came = bundle([a_circle(participant=members)], includes=[role, doctor, house, relation])
    french, english = (results(came, known(one)).circles[0].members for one in ("fr", "en"))
    assert [(one.name, one.role, one.detail) for one in french] == [
        ("Alix MARTIN", "Médecin traitant", "Médecin, Maison de santé"),
        ("PROCHE", "", "Personne de confiance"),
    ]
    assert [one.detail for one in english] == ["Médecin, Maison de santé", "Trusted person"]


def test_a_replica_names_its_home_and_who_holds_it() -> None:
    meta = {
        "source": f"{PUBLIC}/CareTeam/occ.7",
        "tag": [{"system": REPLICA_SYSTEM, "code": REPLICA_CODE}, {"system": TRE_R30, "code": "76"}],
    }
    shown = circle(a_circle(meta=meta), included_in({}), known())
    assert (shown.shown, shown.home, shown.replica, shown.region) == ("bre", "occ", True, "Occitanie")
    own = circle(a_circle(), included_in({}), known())
    assert (own.home, own.replica, own.region) == ("bre", False, "Bretagne")


def test_pages_are_known_by_their_tokens_alone() -> None:
    links = {"next": f"{PUBLIC}/CareTeam?_page=abc", "previous": f"{PUBLIC}/CareTeam?_page=def"}
    found = results(bundle([a_circle()], links=links, total=7), known())
    assert (found.next, found.previous, found.first, found.total) == ("abc", "def", None, 7)


def test_what_went_wrong_is_in_words_and_names_its_manager() -> None:
    said = outcome(
        [Issue("manager.timeout", {"slug": "occ", "name": "Occitanie", "region": "76"})], language="en"
    )
    came = bundle([a_circle()])
    came["entry"].append({"resource": said, "search": {"mode": "outcome"}})
    issue = results(came, known("en")).issues[0]
    assert (issue.severity, issue.manager, issue.key) == ("warning", "occ", "manager.timeout")
    assert issue.text == "Occitanie (Occitanie) did not answer in time."
    alone = results(said, known("en"))
    assert (alone.circles, alone.issues) == ((), (issue,))


def test_every_manager_has_its_line_asked_or_not_and_why() -> None:
    others = [Gestionnaire(slug, slug, "11", f"http://{slug}.example") for slug in ("idf", "pdl", "naq")]
    plan = Plan(
        (
            Ask(BRE, Skills(), ManagerPlan(), "plan.may-hold"),
            Ask(OCC, Skills(), ManagerPlan(), "plan.may-hold"),
        ),
        (LeftOut(others[0], "plan.suspended"),),
        (Unable(others[1], "start"),),
        (Refused(others[2]),),
    )
    came = bundle([a_circle()])
    said = outcome([Issue("manager.timeout", {"slug": "occ", "name": "Occitanie", "region": "76"})])
    came["entry"].append({"resource": said, "search": {"mode": "outcome"}})
    lines = manager_lines(plan, results(came, known()), {"bre": Waited(0.25, 2)})
    assert [(one.id, one.state, one.why, one.seconds, one.shown) for one in lines] == [
        ("bre", "asked", "plan.may-hold", 0.25, 1),
        ("occ", "failed", "manager.timeout", None, 0),
        ("pdl", "unable", "manager.not-supported", None, 0),
        ("naq", "refused", "manager.not-authorised", None, 0),
        ("idf", "left-out", "plan.suspended", None, 0),
    ]


def test_resources_of_any_shape_are_shown_as_far_as_they_go() -> None:
    odd = {
        "resourceType": "CareTeam",
        "id": "bre.x",
        "meta": [],
        "name": 12,
        "subject": "Patient/1",
        "participant": [7, {"member": "x", "period": "always"}, {"member": {"reference": "#a"}}],
        "identifier": {"value": "1"},
        "managingOrganization": "x",
    }
    shown = results(bundle([odd], includes=[{"resourceType": "Patient", "id": "p", "name": "x"}]), known())
    assert [one.id for one in shown.circles] == ["bre.x"]
    assert len(shown.circles[0].members) == 2
