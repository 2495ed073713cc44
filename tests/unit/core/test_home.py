"""Which manager a new resource goes to, and what is said where nothing decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from broker.core.home import Home, HomeSigns, Sign, choose_home, signs_in
from broker.core.messages import MESSAGES, text
from broker.core.outcome import render_error, status_of
from broker.errors import Issue, RefusedError
from registry.model import Registered, Skills, Status
from tests.support.fhir_builders import care_team, related_person
from tests.support.gestionnaires import gestionnaire

PUBLIC = "https://broker.example/fhir"
WRITES = {"CareTeam": ("read", "create", "update")}


def manager(
    slug: str, *territory: str, suspended: bool = False, interactions: Any = None, **changes: Any
) -> Registered:
    declared = gestionnaire(slug, territory=list(territory), name=f"Gestionnaire {slug}", **changes)
    if suspended:
        declared = type(declared)(**{**_fields(declared), "status": Status.SUSPENDED})
    skills = None if interactions is None else Skills(interactions=interactions)
    return Registered(declared, 1, "2026-01-01T00:00:00Z", skills)


def _fields(declared: Any) -> dict[str, Any]:
    return {name: getattr(declared, name) for name in declared.__struct_fields__}


BRE, OCC, NAQ = manager("bre", "22", "29", "35"), manager("occ", "31", "34"), manager("naq", "33", "31")
READ_ONLY = manager("pdl", "44", interactions={"CareTeam": ("read",)})
ASLEEP = manager("idf", "75", suspended=True)
ALL = (BRE, OCC, NAQ, READ_ONLY, ASLEEP)


def chosen(managers: Sequence[Registered] = ALL, **signs: Any) -> Home:
    return choose_home(HomeSigns(**signs), managers)


def refused(managers: Sequence[Registered] = ALL, **signs: Any) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        choose_home(HomeSigns(**signs), managers)
    assert status_of(raised.value) == 422
    render_error(raised.value)
    for issue in raised.value.issues:
        for language in ("fr", "en"):
            said = text(issue.key, language, **issue.params)
            assert "{" not in said
            assert re.search(r"\?", said) is None or not issue.params, said
    return raised.value


def keys(issues: Sequence[Issue]) -> list[str]:
    return [issue.key for issue in issues]


SUBJECT = (Sign("occ", "CareTeam.subject"),)


def test_each_sign_yields_to_the_one_before() -> None:
    signs: dict[str, Any] = {
        "stated": "naq",
        "subject": SUBJECT,
        "own": ("bre",),
        "departments": ("33",),
        "default": "occ",
    }
    expected = [
        ("naq", "home.stated"),
        ("occ", "home.subject"),
        ("bre", "home.own"),
        ("naq", "home.territory"),
        ("occ", "home.default"),
    ]
    seen = []
    for name in list(signs):
        home = chosen(**signs)
        seen.append((home.slug, home.reason))
        del signs[name]
    assert seen == expected
    refused(**signs)


def test_every_reason_can_be_said() -> None:
    assert {f"home.{one}" for one in ("stated", "subject", "own", "territory", "default")} <= MESSAGES.keys()


# --- what is demanded is met or refused


def test_a_stated_manager_that_is_none() -> None:
    error = refused(stated="xyz", subject=SUBJECT)
    assert error.key == "write.home-not-registered"
    assert error.issues[0].params == {}
    assert error.issues[1].params == {"homes": "bre, naq, occ"}  # those that could be stated, and no other


def test_a_stated_manager_that_is_no_slug_is_not_repeated() -> None:
    error = refused(stated="295109912611193 <script>")
    assert b"script" not in render_error(error)
    assert b"2951" not in render_error(error)


def test_a_stated_manager_that_is_suspended() -> None:
    error = refused(stated="idf", subject=SUBJECT)
    assert error.key == "write.home-suspended"
    assert error.issues[0].params["slug"] == "idf"


def test_a_stated_manager_that_takes_no_writes() -> None:
    error = refused(stated="pdl")
    assert error.key == "write.home-no-writes"
    assert error.issues[0].params["type"] == "CareTeam"


@pytest.mark.parametrize(("slug", "key"), [("idf", "write.home-suspended"), ("pdl", "write.home-no-writes")])
def test_a_circle_is_not_put_elsewhere_because_its_persons_manager_cannot(slug: str, key: str) -> None:
    error = refused(
        subject=(Sign(slug, "CareTeam.subject"),), own=("bre",), default="bre", departments=("35",)
    )
    assert keys(error.issues) == [key, "home.subject"]
    assert error.issues[0].expression == ("CareTeam.subject",)


def test_a_person_of_no_manager_of_ours() -> None:
    error = refused(subject=(Sign("xyz", "CareTeam.subject"),), default="bre")
    assert error.key == "write.reference-unknown"
    assert error.issues[0].expression == ("CareTeam.subject",)


def test_the_weightiest_reference_decides() -> None:
    home = chosen(
        subject=(Sign("naq", "PractitionerRole.practitioner"), Sign("occ", "PractitionerRole.organization"))
    )
    assert home.slug == "naq"


# --- the lesser signs choose among those that can


def test_one_of_the_callers_managers() -> None:
    assert chosen(own=("bre",)).slug == "bre"
    assert chosen(own=("bre", "bre", "xyz")).slug == "bre"
    assert chosen(own=("idf", "pdl", "occ")).slug == "occ"


def test_several_managers_of_the_caller_do_not_decide() -> None:
    home = chosen(own=("bre", "occ"), departments=("33",))
    assert (home.slug, home.reason) == ("naq", "home.territory")
    assert home.passed_over == (Issue("home.own-several", {"homes": "bre, occ"}),)


def test_a_department_that_two_managers_claim_does_not_decide() -> None:
    home = chosen(departments=("31", "35"), default="bre")
    assert (home.slug, home.reason) == ("bre", "home.default")
    assert Issue("home.territory-shared", {"homes": "naq, occ"}) in home.passed_over


def test_the_first_department_that_somebody_claims_decides() -> None:
    assert chosen(departments=("01", "34", "35")).slug == "occ"


@pytest.mark.parametrize(
    ("department", "why"), [("75", "write.home-suspended"), ("44", "write.home-no-writes")]
)
def test_a_territory_whose_manager_cannot(department: str, why: str) -> None:
    home = chosen(departments=(department,), default="bre")
    assert home.reason == "home.default"
    assert why in keys(home.passed_over)


def test_a_territory_of_two_of_which_one_can() -> None:
    both = (BRE, manager("bis", "35", suspended=True))
    assert chosen(both, departments=("35",)).slug == "bre"


@pytest.mark.parametrize(
    ("default", "why"),
    [
        ("idf", "write.home-suspended"),
        ("pdl", "write.home-no-writes"),
        ("xyz", "home.default-not-registered"),
    ],
)
def test_a_default_that_cannot(default: str, why: str) -> None:
    error = refused(default=default)
    assert error.key == "write.home-unknown"
    assert why in keys(error.issues)


def test_nothing_decides_and_all_that_is_missing_is_said() -> None:
    assert keys(refused().issues) == [
        "write.home-unknown",
        "home.no-subject",
        "home.no-own",
        "home.no-department",
        "home.no-default",
        "home.candidates",
    ]
    assert keys(refused(departments=("01",)).issues)[3] == "home.territory-unclaimed"


def test_nobody_to_go_to() -> None:
    assert keys(refused((ASLEEP,)).issues)[-1] == "home.no-candidates"
    assert keys(refused((), default="bre").issues)[-1] == "home.no-candidates"


# --- who takes a write


@pytest.mark.parametrize(
    ("interactions", "takes"),
    [
        (None, True),  # never checked
        ({}, True),  # it declares nothing at all
        ({"CareTeam": ()}, True),
        ({"CareTeam": ("read", "create")}, True),
        ({"CareTeam": ("read",)}, False),
        ({"Patient": ("read", "create")}, False),
    ],
)
def test_what_is_not_known_is_allowed(interactions: Any, takes: bool) -> None:
    only = (manager("bre", interactions=interactions),)
    if takes:
        assert chosen(only, stated="bre").slug == "bre"
    else:
        assert refused(only, stated="bre").key == "write.home-no-writes"


def test_every_write_of_a_transaction_is_looked_at() -> None:
    one = manager("bre", interactions={"CareTeam": ("create",), "Patient": ("read",)})
    needs = (("CareTeam", "create"), ("Patient", "update"))
    with pytest.raises(RefusedError) as raised:
        choose_home(HomeSigns(stated="bre"), (one,), needs=needs)
    assert (raised.value.params["type"], raised.value.params["interaction"]) == ("Patient", "update")


# --- the signs in a resource


def test_the_subject_of_a_circle_says_and_its_members_do_not() -> None:
    circle = care_team("c1", subject="Patient/occ.12", participants=["Practitioner/bre.4"])
    assert signs_in(circle, PUBLIC) == (Sign("occ", "CareTeam.subject"),)
    assert signs_in(circle, PUBLIC, path="Bundle.entry[3].resource") == (
        Sign("occ", "Bundle.entry[3].resource.subject"),
    )


def test_absolute_under_our_base_and_versioned() -> None:
    kin = related_person("r1", patient=f"{PUBLIC}/Patient/occ.12/_history/3")
    assert signs_in(kin, PUBLIC) == (Sign("occ", "RelatedPerson.patient"),)


def test_a_role_belongs_with_its_practitioner_first() -> None:
    role = {
        "resourceType": "PractitionerRole",
        "organization": {"reference": "Organization/bre.1"},
        "practitioner": {"reference": "Practitioner/occ.2"},
    }
    assert [sign.slug for sign in signs_in(role, PUBLIC)] == ["occ", "bre"]


@pytest.mark.parametrize(
    "subject",
    [None, 4, [], {}, {"reference": 4}, {"reference": "#p"}, {"reference": "urn:uuid:1"}, {"reference": "Patient/12"},
     {"reference": "https://elsewhere.example/fhir/Patient/bre.1"}, {"identifier": {"value": "x"}}],
)  # fmt: skip
def test_what_names_no_manager_is_no_sign(subject: Any) -> None:
    assert signs_in({"resourceType": "CareTeam", "subject": subject}, PUBLIC) == ()
