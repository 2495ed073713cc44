"""Whether a resource is R4: the form of its JSON, then the models of `fhir.resources` (release R4B).

Both look at the parsed tree once and nothing is serialised again: what is relayed are the client's own bytes. The
models are asked for what the form does not know (required elements, choices, formats of dates, numbers and codes);
where both find a fault at one place, the form's word counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from broker.core.element_forms import Form, forms_of, is_resource_type, model_of, reach
from broker.core.fhir_schema import Kind
from broker.core.json_form import MAX_FAULTS, Fault, form_faults, tellable
from broker.core.plain_structure import is_plainly_valid

WRITABLE: Final = (
    "CareTeam",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "RelatedPerson",
    "Organization",
)

_COVERING: Final = frozenset({"code", "empty", "format", "kind", "null", "too-deep", "unknown-type"})
_STEPS: Final = re.compile(r"[.\[]")
_MISSING: Final = frozenset({"missing", "model_field_validation.missing"})


def preload(types: Iterable[str] = WRITABLE) -> None:
    """Imports and builds what the first body would otherwise wait for: about half a second of CPU."""
    seen: set[str] = set()
    for name in types:
        reach(name, seen)
        structure_faults({"resourceType": name, "meta": {"versionId": "1"}}, name)


def structure_faults(resource: Mapping[str, Any], path: str) -> list[Fault]:
    """What keeps a resource from being R4; none where it is. `path` is where its FHIRPaths start. Never raises."""
    type_name = resource.get("resourceType")
    if not isinstance(type_name, str) or not is_resource_type(type_name):
        return [Fault("unknown-type", path)]
    if is_plainly_valid(resource, type_name):
        return []
    faults = form_faults(resource, type_name, path)
    if len(faults) >= MAX_FAULTS or any(fault.key == "too-deep" for fault in faults):
        return faults  # enough is told; and the models recurse as deep as the tree goes
    told = {(fault.key, fault.expression) for fault in faults}
    covered = covering(faults)
    for fault in _model_faults(resource, type_name, path):
        if fault.key == "unreadable" and faults:
            continue
        if (fault.key, fault.expression) not in told and not is_covered(fault.expression, covered):
            told.add((fault.key, fault.expression))
            faults.append(fault)
    return faults


def covering(faults: Iterable[Fault]) -> frozenset[str]:
    """The places of which nothing more need be said: what is there is not what it should be."""
    return frozenset(fault.expression for fault in faults if fault.key in _COVERING)


def is_covered(expression: str, covered: frozenset[str]) -> bool:
    """Whether a place is one of these, or inside one of them."""
    return expression in covered or any(
        expression[: end.start()] in covered for end in _STEPS.finditer(expression) if covered
    )


def _model_faults(resource: Mapping[str, Any], type_name: str, path: str) -> Iterator[Fault]:
    model = model_of(type_name)
    if model is None:  # never here: the caller has asked whether it is a resource type
        return
    try:
        model.model_validate(resource)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            fault = _fault(detail["type"], detail["loc"], detail["msg"], type_name, path)
            if fault is not None:
                yield fault
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        # The models' own validators trip over a wrong kind (a list where an address is due, an unknown contained
        # type). The form has told of those; where it has not, the resource still is none that they can read.
        yield Fault("unreadable", path)


def _fault(kind: str, location: tuple[int | str, ...], text: str, type_name: str, path: str) -> Fault | None:
    place, form, known = _place(location, type_name, path)
    if kind == "list_type" or (kind == "extra_forbidden" and known):
        return (
            None  # nulls are the form's to tell; a `_value…` of an extension R4 has and the models have not
        )
    if form is not None and (form.format is not None or form.codes is not None) and kind not in _MISSING:
        return None  # the form knows this format exactly; the models are narrower for url and uuid
    if kind in _MISSING or text.startswith("Value error, Expect any of"):
        return Fault("missing", place)
    if kind == "extra_forbidden":
        return Fault("unknown-element", place)
    return Fault("choice" if text.startswith("Value error, Any of one field") else "format", place)


def _place(location: tuple[int | str, ...], type_name: str, path: str) -> tuple[str, Form | None, bool]:
    """The FHIRPath of a model's error, the form of its last member, and whether the form knows that member."""
    forms = forms_of(type_name)
    form: Form | None = None
    for step in location:
        if isinstance(step, int):
            path = f"{path}[{step}]"
            continue
        form = forms.get(step) if forms is not None else None
        if form is None:
            return (f"{path}.{step.removeprefix('_')}" if tellable(step) else path), None, False
        path = f"{path}.{form.step}"
        forms = forms_of(form.type) if form.kind is Kind.COMPLEX else None
    return path, form, form is not None
