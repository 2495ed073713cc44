"""Validators made from `meta`, and conditions judged on them."""

from __future__ import annotations

import pytest

from broker.core.validators import is_unchanged, validators

STATED = {"etag": 'W/"3"', "last-modified": "Thu, 01 Jan 2026 10:00:00 GMT"}


def test_both_from_meta() -> None:
    assert validators("3", "2026-01-01T11:00:00.987+01:00") == STATED


@pytest.mark.parametrize(
    "instant", [None, "", "2026", "2026-01-01T11:00:00", "soon", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_instant_makes_no_date(instant: str | None) -> None:
    assert validators("3", instant) == {"etag": 'W/"3"'}
    assert validators(None, instant) == {}


@pytest.mark.parametrize("wanted", ['W/"3"', '"3"', '"1", W/"3"', "*", ' W/"2",W/"3" '])
def test_an_etag_that_is_known(wanted: str) -> None:
    assert is_unchanged({"if-none-match": wanted}, STATED)


@pytest.mark.parametrize("wanted", ['W/"30"', "3", "", '"W/3"', 'W/"2"'])
def test_an_etag_that_is_not(wanted: str) -> None:
    assert not is_unchanged({"if-none-match": wanted}, STATED)
    assert not is_unchanged({"if-none-match": wanted, "if-modified-since": STATED["last-modified"]}, STATED)


def test_dates() -> None:
    for since, expected in (
        ("Thu, 01 Jan 2026 10:00:00 GMT", True),
        ("Fri, 02 Jan 2026 10:00:00 GMT", True),
        ("Thu, 01 Jan 2026 09:59:59 GMT", False),
        ("yesterday", False),
    ):
        assert is_unchanged({"if-modified-since": since}, STATED) is expected


def test_nothing_to_go_by() -> None:
    assert not is_unchanged({}, STATED)
    assert not is_unchanged({"if-none-match": 'W/"3"', "if-modified-since": "x"}, {})
    assert not is_unchanged({"if-none-match": "*"}, {})
