"""A purpose is one of a list, and its reference names nobody."""

from __future__ import annotations

import pytest

from broker.console.purpose import CODES, REFERENCE_SYSTEM, SYSTEM, Purpose, stated
from broker.console.texts import TEXTS
from broker.core.access.principal import Purpose as Code
from tests.support.fhir_builders import INS


@pytest.mark.parametrize("code", CODES)
def test_every_purpose_is_taken_and_has_its_words(code: str) -> None:
    assert stated(code, "") == Purpose(code)
    assert f"purpose.code.{code}" in TEXTS


def test_the_trail_is_told_of_code_and_reference() -> None:
    purpose = stated("HSYSADMIN", "  INC-2026-0042 ")
    assert isinstance(purpose, Purpose)
    assert purpose.codes() == (Code("HSYSADMIN", SYSTEM), Code("INC-2026-0042", REFERENCE_SYSTEM))


@pytest.mark.parametrize("code", ["", "BILL", "treat"])
def test_what_is_no_purpose_is_refused(code: str) -> None:
    assert stated(code, "") == "purpose.error.code"


@pytest.mark.parametrize(
    "reference",
    [
        *INS,
        "2 95 10 99 126 111 93",
        "295-109-912-611193",
        "10900000000",
        "0199000000",
        "x" * 41,
        "a@b",
        "<b>",
    ],
)
def test_a_reference_that_may_name_somebody_is_refused(reference: str) -> None:
    assert stated("TREAT", reference) == "purpose.error.reference"
