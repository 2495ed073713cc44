"""What a made-up circle was before: the earlier states of those that changed."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from adapters.sandbox.seed_elements import Resource
from adapters.sandbox.store import fhir_instant

_STEP: Final = dt.timedelta(days=9, hours=5, minutes=23)


def with_earlier_states(circle: Resource, number: int) -> list[Resource]:
    """A circle's states, oldest first; the last one is `circle`.

    A circle that has ended was active before, and each fifth was proposed before its members were known.
    """
    states = [circle]
    if circle["status"] == "inactive":
        period = {"start": circle["period"]["start"]}
        states.insert(0, _earlier(states[0], status="active", period=period))
    if number % 5 == 4:
        structure = next(p for p in circle["participant"] if _is_structure(p))
        states.insert(0, _earlier(states[0], status="proposed", participant=[structure]))
    return states


def _earlier(circle: Resource, **elements: Any) -> Resource:
    changed = dt.datetime.fromisoformat(circle["meta"]["lastUpdated"]) - _STEP
    return circle | {"meta": circle["meta"] | {"lastUpdated": fhir_instant(changed)}} | elements


def _is_structure(participant: Resource) -> bool:
    return str(participant["member"]["reference"]).startswith("Organization/")
