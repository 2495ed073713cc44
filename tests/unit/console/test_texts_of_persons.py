"""What the pages of persons say: every text is there, in both languages, with the same places to fill."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from broker.console.frame import TEMPLATES
from broker.console.texts import TEXTS
from broker.console.texts.search import TEXTS as OWN
from broker.core.audit.audited import audited_as
from broker.core.search_parameters import TYPES

PAGES = ("purpose.html", "personal.html", "search.html", "circle.html", "audit.html")
_KEY = re.compile(r"""\bt\(\s*["']([a-z][\w.\-]*[\w])["']\s*[,)]""")


@pytest.mark.parametrize("page", PAGES)
def test_every_text_that_a_page_names_exists(page: str) -> None:
    named = set(_KEY.findall((TEMPLATES / page).read_text(encoding="utf-8")))
    assert named, "the pattern finds nothing"
    assert named <= TEXTS.keys()


@pytest.mark.parametrize("key", OWN)
def test_a_text_is_there_in_both_languages_with_the_same_places(key: str) -> None:
    french, english = OWN[key]
    assert french.strip()
    assert english.strip()
    assert places(french) == places(english)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("kind", TYPES)
def test_every_kind_of_member_has_its_word_or_is_another(kind: str) -> None:
    assert f"circle.kind.{kind}" in TEXTS or kind == "CareTeam"


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("POST", "/fhir/{type}"),
        ("GET", "/fhir/{type}"),
        ("PUT", "/fhir/{type}/{id}"),
        ("POST", "/fhir"),
        ("GET", "/fhir/CareTeam/$locate"),
        ("POST", "/console/search"),
        ("GET", "/console/circle/{id}"),
        ("POST", "/console/audit"),
    ],
)
def test_what_the_trail_names_has_its_word(method: str, route: str) -> None:
    what = audited_as(method, route)
    assert what is not None
    assert f"audit.code.{what.code}" in TEXTS


@pytest.mark.parametrize("route", ["/console/search", "/console/audit", "/console/purpose"])
def test_an_empty_form_leaves_no_trace(route: str) -> None:
    assert audited_as("GET", route) is None
