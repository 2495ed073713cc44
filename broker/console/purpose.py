"""Why somebody looks at personal data: stated before, kept signed for a quarter of an hour, and written into the trail
with each access. Pure.

`reference` is a ticket's number or the like; what might be a person's number is not taken.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from broker.core.access.principal import Purpose as Code

SECONDS: Final = 900

SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
REFERENCE_SYSTEM: Final = "urn:cds-broker:purpose-reference"
CODES: Final = ("TREAT", "PATRQT", "HSYSADMIN", "HCOMPL", "HOPERAT")
"""HL7 v3 PurposeOfUse: treatment, at the patient's request, system administration, compliance, operations."""

_REFERENCE = re.compile(r"[\w#/.\- ]{0,40}")
_BETWEEN = re.compile(r"[^0-9A-Za-z]|_")
_SOMEBODY = re.compile(r"\d{10}|\d{5}2[AB]\d{3}", re.IGNORECASE)
"""Ten digits are a telephone number, eleven an RPPS, fifteen an INS, of which a letter may stand in the middle."""


class Purpose(msgspec.Struct, frozen=True, array_like=True):
    code: str
    reference: str = ""

    def codes(self) -> tuple[Code, ...]:
        """As the trail, and managers that want to know, are told."""
        told = (Code(self.code, SYSTEM),)
        return (*told, Code(self.reference, REFERENCE_SYSTEM)) if self.reference else told


def stated(code: str, reference: str) -> Purpose | str:
    """What was stated, or the key of the text that says what is wrong with it."""
    reference = " ".join(reference.split())
    if code not in CODES:
        return "purpose.error.code"
    if _REFERENCE.fullmatch(reference) is None or _SOMEBODY.search(_BETWEEN.sub("", reference)):
        return "purpose.error.reference"
    return Purpose(code, reference)
