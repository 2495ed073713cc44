"""Declared beats learnt; unknown stays unknown; what is missing is said in both languages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker.core.dialects import PRESETS, dialect_problems, effective_skills
from broker.core.lacks import BRIDGED, MODIFIERS, PARTLY, WORDS, describe_lacks, lacks_of
from broker.core.search_parameters import PARAMETERS
from registry.model import Gestionnaire, Registered, SearchMethod, Skills

WHOLE = effective_skills(
    Registered(
        Gestionnaire("a", "A", "53", "https://a.example/fhir", dialect="gestionnaire"),
        revision=1,
        updated_at="",
    )
)


def _registered(skills: Skills | None = None, **declared: Any) -> Registered:
    manager = Gestionnaire("bre", "GCS e-Santé Bretagne", "53", "https://bre.example/fhir", **declared)
    return Registered(manager, revision=1, updated_at="2026-01-01T00:00:00Z", skills=skills)


def test_nothing_declared_and_nothing_learnt_is_unknown() -> None:
    assert effective_skills(_registered()) == Skills()


def test_what_was_learnt_holds_where_nothing_is_declared() -> None:
    learnt = Skills(chaining=False, sort=True, lacks=("chaining",))
    assert effective_skills(_registered(learnt)) is learnt


def test_a_preset_overrides_single_skills_and_leaves_the_others() -> None:
    learnt = Skills(software="Medplum", chaining=True, total=True, max_page=7)
    found = effective_skills(_registered(learnt, dialect="medplum"))
    assert (found.chaining, found.total, found.software, found.max_page) == (False, True, "Medplum", 7)
    assert "chaining" in found.lacks


def test_a_server_kind_does_not_unlearn_parameters_that_were_seen_to_work() -> None:
    learnt = Skills(search_params={"CareTeam": ("identifier", "start")})
    found = effective_skills(_registered(learnt, dialect="hapi"))
    assert found.search_params["CareTeam"] == ("identifier", "start")
    assert "birthplace" not in found.search_params["Patient"]


@pytest.mark.parametrize("name", ["gestionnaire", "broker"])
def test_the_whole_manager_lacks_nothing(name: str) -> None:
    learnt = Skills(chaining=False, search_params={"CareTeam": ()}, lacks=("chaining",))
    found = effective_skills(_registered(learnt, dialect=name))
    assert found.lacks == ()
    assert found.modifiers == MODIFIERS
    assert set(found.search_params["CareTeam"]) == set(PARAMETERS["CareTeam"])
    assert found.broker is (True if name == "broker" else None)


def test_single_skills() -> None:
    learnt = Skills(sort=True, search_params={"CareTeam": ("identifier", "start")})
    entries = {"sort": False, "max_page": 40, "param:CareTeam:start": False, "param:Patient:family": True}
    found = effective_skills(_registered(learnt, dialect=entries))
    assert (found.sort, found.max_page) == (False, 40)
    assert found.search_params == {"CareTeam": ("identifier",), "Patient": ("family",)}
    assert {"sort", "param:CareTeam:start"} <= set(found.lacks)


def test_single_modifiers() -> None:
    learnt = Skills(modifiers=("exact", "not"), unproven=(":text", "CareTeam.end"))
    found = effective_skills(_registered(learnt, dialect={"modifier:exact": False, "modifier:text": True}))
    assert found.modifiers == ("not", "text")
    assert found.unproven == ("CareTeam.end",)
    assert found.lacks == tuple(f"modifier:{name}" for name in ("contains", "exact", "identifier", "missing"))


def test_a_single_modifier_says_nothing_about_the_others() -> None:
    found = effective_skills(_registered(dialect={"modifier:exact": True}))
    assert (found.modifiers, found.lacks) == (("exact",), ())


def test_entries_that_are_wrong_are_left_out() -> None:
    found = effective_skills(_registered(Skills(sort=True), dialect={"sort": 3, "fly": True, "max_page": 0}))
    assert found == Skills(sort=True)
    assert effective_skills(_registered(Skills(sort=True), dialect="oracle")) == Skills(sort=True)


@pytest.mark.parametrize(
    ("method", "post"), [(SearchMethod.AUTO, None), (SearchMethod.GET, False), (SearchMethod.POST, True)]
)
def test_the_search_method_is_a_declaration_too(method: SearchMethod, *, post: bool | None) -> None:
    assert effective_skills(_registered(search_method=method)).post_search is post


@pytest.mark.parametrize(
    ("dialect", "problems"),
    [
        (None, 0),
        *((name, 0) for name in PRESETS),
        ("HAPI", 1),
        ({}, 0),
        ({"chaining": True, "max_page": 20, "param:CareTeam:participant-start": False}, 0),
        ({"modifier:exact": True}, 0),
        ({"modifier:above": True, "modifier:not": 1}, 2),
        ({"chaining": 1}, 1),
        ({"max_page": True}, 1),
        ({"max_page": -1}, 1),
        ({"param:CareTeam:nonsense": True, "param:Observation:code": True, "lacks": True, "sort": False}, 3),
    ],
)
def test_problems(dialect: Any, problems: int) -> None:
    assert len(dialect_problems(dialect)) == problems


def test_every_lack_has_words_in_both_languages() -> None:
    nothing: Any = dict.fromkeys(PRESETS["gestionnaire"].skills, False)
    bare = Skills(
        **nothing,
        formats=("json",),
        fhir_version="5.0.0",
        search_params=dict.fromkeys(PARAMETERS, ()),
        modifiers=(),
    )
    bare = msgspec.structs.replace(bare, lacks=lacks_of(bare))
    described = describe_lacks(bare)
    assert len(described) == len(bare.lacks) > 40
    for key, (french, english) in zip(bare.lacks, described, strict=True):
        assert french != english
        assert key not in (french, english)
        assert ("[compensé]" in french) == ("[bridged]" in english)
        assert "{" not in french + english


def test_what_is_bridged_has_words() -> None:
    assert set(WORDS) >= BRIDGED | PARTLY
    assert not BRIDGED & PARTLY


def test_a_lack_of_a_newer_version_is_shown_by_its_key() -> None:
    assert describe_lacks(Skills(lacks=("telepathy",))) == [("telepathy", "telepathy")]


def test_iterating_is_no_lack_of_its_own_where_nothing_is_included() -> None:
    assert lacks_of(Skills(include=False, iterate=False)) == ("include",)
    assert lacks_of(Skills(include=True, iterate=False)) == ("iterate",)


def test_unknown_is_not_missing() -> None:
    assert lacks_of(Skills()) == ()
    assert lacks_of(WHOLE) == ()
