"""The `Prefer` header, read by RFC 7240's grammar."""

from __future__ import annotations

import pytest

from broker.core.preferences import Handling, Partial, Preferences, Replica, Return, parse_prefer
from broker.errors import RequestError


def test_nothing_said() -> None:
    assert parse_prefer([]) == Preferences(Handling.LENIENT, Partial.ALLOW, None, None, accept_risk=False)


def test_all_of_them() -> None:
    preferences = parse_prefer(
        [
            "handling=strict, partial=deny",
            "wait=2.5; why=slow, return=OperationOutcome, uniqueness=accept-risk",
        ]
    )
    assert preferences == Preferences(
        Handling.STRICT, Partial.DENY, 2.5, Return.OPERATION_OUTCOME, accept_risk=True
    )
    assert preferences.strict
    assert parse_prefer(["replica=allow"]).replica is Replica.ALLOW
    assert parse_prefer(["replica=DENY"]).replica is Replica.DENY


@pytest.mark.parametrize(
    "header",
    [
        'HANDLING="strict"',
        "Handling = Strict",
        r'handling="st\rict"',
        "handling=strict;a;b=2",
        "handling=strict, handling=lenient",  # the first counts (RFC 7240, section 2)
        'x="a, handling=lenient", handling=strict',
        ", ,handling=strict,",
    ],
)
def test_spellings_of_strict(header: str) -> None:
    assert parse_prefer([header]) == Preferences(Handling.STRICT)


@pytest.mark.parametrize(
    "header", ["respond-async", "foo=bar", 'foo="bar', "return-form=minimal", "", ";", "="]
)
def test_unknown_preferences_are_ignored(header: str) -> None:
    assert parse_prefer([header]) == Preferences()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("handling=severe", "handling"),
        ("handling", "handling"),
        ("partial=", "partial"),
        ("replica=never", "replica"),
        ('partial="deny', "partial"),
        ("wait=-1", "wait"),
        ("wait=soon", "wait"),
        ("wait=1e9", "wait"),
        ("wait=nan", "wait"),
        ("return=all", "return"),
        ("uniqueness=no", "uniqueness"),
        ("return=minimal x", "return"),
    ],
)
def test_malformed_values_are_refused(header: str, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_prefer([header])
    assert (caught.value.key, caught.value.params) == ("request.bad-preference", {"parameter": name})


@pytest.mark.parametrize(("header", "seconds"), [("wait=0", 0.0), ("wait=10", 10.0), ("wait=0.25", 0.25)])
def test_wait(header: str, seconds: float) -> None:
    assert parse_prefer([header]).wait == seconds
