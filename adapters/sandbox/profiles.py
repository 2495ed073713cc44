"""What the guide's profiles demand of what is written: the part that a manager depends on.

No validator: it asks for what must be there and for the kinds of members, and lets all else through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from broker.core.element_paths import values_at
from broker.core.value_tests import may_point_to
from broker.errors import RequestError

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "CareTeam": ("identifier.value", "status", "name", "subject", "period.start"),
    "RelatedPerson": ("identifier", "patient", "relationship", "name.family", "telecom"),
}
"""Mandatory elements by type, as element paths."""

AT_MOST_ONE: Final[Mapping[str, tuple[str, ...]]] = {
    "CareTeam": ("identifier",),
    "RelatedPerson": ("name", "name.given"),
}

MEMBERS: Final = ("PractitionerRole", "RelatedPerson", "Organization")
"""The types that `CareTeam.participant.member` may point to."""


def check_profile(kind: str, content: Mapping[str, Any]) -> None:
    """Raises request.missing-element, naming the first element that is absent or otherwise wrong."""
    for path in _faults(kind, content):
        raise RequestError("request.missing-element", element=f"{kind}.{path}")


def _faults(kind: str, content: Mapping[str, Any]) -> Iterator[str]:
    for path in REQUIRED.get(kind, ()):
        if not any(value not in ("", {}) for value in values_at(content, path)):
            yield path
    for path in AT_MOST_ONE.get(kind, ()):
        if len(values_at(content, path)) > 1:
            yield path
    if kind == "CareTeam":
        yield from _circle_faults(content)


def _circle_faults(content: Mapping[str, Any]) -> Iterator[str]:
    if not all(may_point_to(subject, ("Patient",)) for subject in values_at(content, "subject")):
        yield "subject"
    for participant in values_at(content, "participant"):
        members = values_at(participant, "member") if isinstance(participant, dict) else []
        if not members or not may_point_to(members[0], MEMBERS):
            yield "participant.member"
        elif "period" in participant and not values_at(participant, "period.start"):
            yield "participant.period.start"
