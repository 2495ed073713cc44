"""One row of the table of texts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    status: int
    severity: str  # fatal | error | warning | information
    issue: str  # http://hl7.org/fhir/ValueSet/issue-type
    fr: str
    en: str
