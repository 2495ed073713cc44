"""Who is asked what, who is left out, and who does which part."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.dialects import effective_skills
from broker.core.identified import Identified, Located, identified
from broker.core.query_parser import parse_search
from broker.core.routing import Ask, Plan, plan_search
from broker.core.search_parameters import PARAMETERS
from registry.model import TRE_R30, Gestionnaire, Registered, Skills, Status

PUBLIC = "https://broker.example/fhir"
ALL = {kind: tuple(table) for kind, table in PARAMETERS.items()}
ABLE = Skills(
    search_params=ALL,
    chaining=True,
    include=True,
    iterate=True,
    revinclude=True,
    sort=True,
    modifiers=("exact", "not"),
)


def registered(slug: str, region: str = "53", skills: Skills | None = ABLE, **more: Any) -> Registered:
    manager = Gestionnaire(slug, slug.upper(), region, f"https://{slug}.example/fhir", **more)
    return Registered(manager, 1, "2026-01-01T00:00:00Z", skills)


def plan(search: str, *managers: Registered, located: Located | None = None) -> Plan:
    pairs = [tuple(part.split("=", 1)) for part in search.split("&")] if search else []
    query = parse_search("CareTeam", pairs, strict=True)  # type: ignore[arg-type]
    return plan_search(
        query, managers, public_base=PUBLIC, aliases={}, skills_of=effective_skills, located=located
    )


def asked(found: Plan) -> dict[str, list[str]]:
    """By manager, the criteria that it is sent."""
    return {ask.manager.id: [f"{one.name}={one.value}" for one in ask.plan.criteria] for ask in found.asks}


BRE, OCC = registered("bre"), registered("occ", "76")


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("", {"bre": [], "occ": []}),
        ("status=active", {"bre": ["status=active"], "occ": ["status=active"]}),
        ("_id=bre.1", {"bre": ["_id=1"]}),
        ("_id=bre.1,occ.2,bre.3", {"bre": ["_id=1,3"], "occ": ["_id=2"]}),
        ("_id=1", {}),
        ("_id:not=bre.1", {"bre": ["_id:not=1"], "occ": []}),
        ("patient=Patient/bre.9", {"bre": ["patient=Patient/9"]}),
        ("patient=bre.9", {"bre": ["patient=Patient/9"]}),
        (f"patient={PUBLIC}/Patient/occ.9", {"occ": ["patient=Patient/9"]}),
        (
            "patient=https://else.example/Patient/9",
            {"bre": ["patient=https://else.example/Patient/9"]}
            | {"occ": ["patient=https://else.example/Patient/9"]},
        ),
        ("participant:RelatedPerson=occ.5", {"occ": ["participant=RelatedPerson/5"]}),
        ("participant:RelatedPerson._id=occ.5", {"occ": ["participant=RelatedPerson/5"]}),
        ("patient=bre.1&managingOrganization=occ.2", {}),
        (f"_tag={TRE_R30}|76", {"occ": []}),
        (f"_tag={TRE_R30}|76,{TRE_R30}|53", {"bre": [], "occ": []}),
        (f"_tag:not={TRE_R30}|76", {"bre": []}),
        (f"_tag={TRE_R30}|76,x|y", {"bre": ["_tag=x|y"], "occ": []}),
        (
            "participant:Organization.partof=occ.2",
            {"occ": ["participant:Organization.partof=Organization/2"]},
        ),
    ],
)
def test_public_ids_choose_and_are_translated(search: str, expected: dict[str, list[str]]) -> None:
    assert asked(plan(search, BRE, OCC)) == expected


def test_a_bare_id_of_a_reference_with_several_targets_is_asked_by_each_type() -> None:
    (sent,) = asked(plan("participant=bre.5", BRE, OCC))["bre"]
    assert "RelatedPerson/5" in sent
    assert "Organization/5" in sent


def test_everybody_left_out_has_a_reason() -> None:
    found = plan("patient=bre.9", BRE, OCC, registered("idf", "11", status=Status.SUSPENDED))
    assert {left.manager.id: left.reason for left in found.left_out} == {
        "occ": "plan.elsewhere",
        "idf": "plan.elsewhere",
    }
    assert {left.reason for left in plan("", registered("idf", "11", status=Status.SUSPENDED)).left_out} == {
        "plan.suspended"
    }


def only(found: Plan) -> Ask:
    (ask,) = found.asks
    return ask


def test_what_a_manager_cannot_do_is_planned_to_be_done_here() -> None:
    weak = Skills(
        search_params=ALL | {"CareTeam": ("identifier", "participant", "patient")}, chaining=False, sort=False
    )
    ask = only(
        plan(
            "start=ge2025&patient.identifier=s|1&identifier=s|2&_include=CareTeam:subject",
            registered("bre", skills=weak),
        )
    )
    assert [one.name for one in ask.plan.filters] == ["start"]
    assert [one.name for one in ask.plan.chains] == ["patient.identifier"]
    assert [one.name for one in ask.plan.criteria] == ["identifier"]
    assert ask.plan.include_here
    assert not ask.plan.includes
    assert not ask.plan.sorts


def test_nothing_is_taken_on_trust_before_a_check() -> None:
    ask = only(
        plan(
            "patient.identifier=s|1&_include=CareTeam:subject&status:not=active",
            registered("bre", skills=None),
        )
    )
    assert [one.name for one in ask.plan.chains] == ["patient.identifier"]
    assert [one.name for one in ask.plan.filters] == ["status:not"]
    assert ask.plan.include_here


def test_exact_is_sent_as_its_superset_where_it_is_not_trusted() -> None:
    weak = Skills(search_params=ALL, chaining=True)
    ask = only(plan("participant:RelatedPerson.name:exact=X", registered("bre", skills=weak)))
    assert [one.name for one in ask.plan.chains] == ["participant:RelatedPerson.name:exact"]
    able = only(plan("participant:RelatedPerson.name:exact=X", BRE))
    assert [one.name for one in able.plan.criteria] == ["participant:RelatedPerson.name:exact"]


def test_what_nobody_can_apply_is_said() -> None:
    weak = Skills(search_params=ALL | {"RelatedPerson": ("name",)}, chaining=False)
    found = plan("participant:RelatedPerson.relationship=QUAL", registered("bre", skills=weak), OCC)
    assert [(one.manager.id, one.parameter) for one in found.unable] == [
        ("bre", "participant:RelatedPerson.relationship")
    ]
    assert [ask.manager.id for ask in found.asks] == ["occ"]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("patient.identifier=s|1", [Identified("patient.identifier", persons=(("s", "1"),))]),
        (
            "subject:Patient.identifier=s|1,s|2",
            [Identified("subject:Patient.identifier", persons=(("s", "1"), ("s", "2")))],
        ),
        ("patient:identifier=s|1", [Identified("patient:identifier", persons=(("s", "1"),))]),
        ("identifier=s|1", [Identified("identifier", circles=(("s", "1"),))]),
        ("identifier=s\\,x|1", [Identified("identifier", circles=(("s,x", "1"),))]),
        ("patient.identifier=1", []),
        ("patient.identifier=s|1,2", []),
        ("patient.identifier=s|", []),
        ("identifier:not=s|1", []),
        ("patient.family=x", []),
    ],
)
def test_what_the_locator_can_be_asked(search: str, expected: list[Identified]) -> None:
    query = parse_search("CareTeam", [tuple(search.split("=", 1))], strict=True)  # type: ignore[list-item]
    assert identified(query) == expected


def test_only_who_is_covered_is_left_out_and_only_where_it_holds_nothing() -> None:
    idf = registered("idf", "11")
    located = Located(frozenset({"bre", "occ"}), [("patient.identifier", frozenset({"occ"}))])
    found = plan("patient.identifier=s|1", BRE, OCC, idf, located=located)
    assert sorted(asked(found)) == ["idf", "occ"]
    assert [(left.manager.id, left.reason, left.parameter) for left in found.left_out] == [
        ("bre", "plan.not-holder", "patient.identifier")
    ]


def test_who_is_left_out_by_a_public_id_has_not_answered_by_the_index() -> None:
    located = Located(frozenset({"bre", "occ"}), [("patient.identifier", frozenset({"occ"}))])
    found = plan("patient.identifier=s|1&_id=occ.5", BRE, OCC, located=located)
    assert [(left.manager.id, left.reason) for left in found.left_out] == [("bre", "plan.elsewhere")]
    assert found.silent == frozenset()
    plain = plan("patient.identifier=s|1", BRE, OCC, located=located)
    assert plain.silent == {"bre"}
