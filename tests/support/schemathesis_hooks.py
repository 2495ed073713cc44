"""What schemathesis is told of the managers behind this API; loaded by it, in its own process."""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis
from schemathesis import GenerationMode

_numbers = itertools.count(1)

_LEFT_ALONE = ("bre", "nor")
_FREE = "occ"
_EXAMPLE = "https://cds.bretagne.example/fhir"
_CHANGES = {
    "createGestionnaire",
    "replaceGestionnaire",
    "removeGestionnaire",
    "suspendGestionnaire",
}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Two managers really run and stay: what would change them changes a third. A manager that is well declared gets an
    address on this machine where nobody is: names that were made up are not looked up."""
    if case.operation.definition.raw.get("operationId") not in _CHANGES:
        return
    if case.path_parameters.get("id") in _LEFT_ALONE:
        case.path_parameters["id"] = _FREE
    positive = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    expected = case.headers.get("If-Match", "")
    if positive and expected.isdigit():
        case.headers["If-Match"] = (
            f'"{expected}"'  # the coverage phase drops the quotes that the pattern asks for
        )
    if isinstance(case.body, dict):
        case.body = _elsewhere(case.body, case.path_parameters.get("id"), positive=positive)


def _elsewhere(body: dict[str, Any], named: str | None, *, positive: bool) -> dict[str, Any]:
    changed = dict(body)
    if changed.get("id") in _LEFT_ALONE:
        changed["id"] = _FREE
    if positive:
        changed["id"] = named or changed["id"]
    if positive or changed.get("base_url") == _EXAMPLE:
        changed["base_url"] = f"http://127.0.0.1:9/{next(_numbers)}"
    return changed
