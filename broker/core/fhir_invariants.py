"""Invariants of R4's own types that the models do not check, as data: type, name, what breaks it.

Those that a manager would choke on and that can be judged without a terminology server or a look at other
resources (FHIR R4: extensibility.html, datatypes.html, organization.html, patient.html).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from broker.core.fhir_dates import date_range

Broken = Callable[[Mapping[str, Any]], bool]


def _extension(element: Mapping[str, Any]) -> bool:
    valued = any(name.startswith(("value", "_value")) for name in element)
    return valued == ("extension" in element)


def _contact_point(element: Mapping[str, Any]) -> bool:
    return "value" in element and "system" not in element and "_system" not in element


def _period(element: Mapping[str, Any]) -> bool:
    start, end = date_range(element.get("start")), date_range(element.get("end"))
    return start is not None and end is not None and start.low >= end.high


def _unnamed(element: Mapping[str, Any]) -> bool:
    return not any(name in element for name in ("identifier", "name", "_name"))


def _private(member: str) -> Broken:
    def broken(element: Mapping[str, Any]) -> bool:
        points = element.get(member)
        return isinstance(points, list) and any(
            isinstance(point, dict) and point.get("use") == "home" for point in points
        )

    return broken


def _contact(element: Mapping[str, Any]) -> bool:
    return not any(name in element for name in ("name", "telecom", "address", "organization"))


INVARIANTS: Final[Mapping[str, tuple[tuple[str, Broken], ...]]] = {
    "Extension": (("ext-1", _extension),),
    "ContactPoint": (("cpt-2", _contact_point),),
    "Period": (("per-1", _period),),
    "Organization": (("org-1", _unnamed), ("org-2", _private("address")), ("org-3", _private("telecom"))),
    "PatientContact": (("pat-1", _contact),),
}
