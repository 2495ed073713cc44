"""Whether a tree is written as FHIR writes JSON (R4, json.html): kinds, emptiness, nulls, known names, codes.

What the models of `fhir.resources` let pass because they coerce or ignore is found here; formats of dates, required
elements and choices are theirs. Faults name a place, never what was there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.core.element_forms import Form, forms_of, is_resource_type
from broker.core.fhir_invariants import INVARIANTS
from broker.core.fhir_schema import Kind

MAX_DEPTH: Final = 64
"""Nesting beyond this is refused, in JSON as in XML: no FHIR resource comes near it."""

MAX_FAULTS: Final = 100
"""More are not told: a body that is wrong at every place would make a large answer of a small request."""

_TELLABLE: Final = re.compile(r"_?[a-z][A-Za-z]{0,39}")
_PRIMITIVE_EXTENSION: Final = "FHIRPrimitiveExtension"


class Number(str):
    """A JSON number with more digits, or a larger exponent, than a float holds: as it was written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """`key` is the last part of a `write.structure.…` row; `detail` the name of the invariant, where it is one."""

    key: str
    expression: str
    detail: str = ""


def form_faults(resource: Mapping[str, Any], type_name: str, path: str) -> list[Fault]:
    """The faults of a resource's JSON, in document order. `path` is where its FHIRPaths start."""
    walk = _Walk(_contained_ids(resource))
    walk.members(resource, type_name, path, 0)
    return walk.faults


def tellable(name: str) -> bool:
    """Whether a member's name may be told: it looks like the name of an element, not like somebody's data."""
    return _TELLABLE.fullmatch(name) is not None


class _Walk:
    def __init__(self, contained: frozenset[str]) -> None:
        self.faults: list[Fault] = []
        self._contained = contained

    def members(self, element: Mapping[str, Any], type_name: str, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._add("too-deep", path)
            return
        forms = forms_of(type_name) or {}
        for name, value in element.items():
            form = forms.get(name)
            if form is not None:
                self._member(element, name, value, form, f"{path}.{form.step}", depth)
            elif name != "resourceType" or not is_resource_type(type_name):
                self._add("unknown-element", f"{path}.{name.removeprefix('_')}" if tellable(name) else path)
        for name, broken in INVARIANTS.get(type_name, ()):
            if broken(element):
                self._add("invariant", path, name)
        if type_name == "Reference":
            self._fragment(element.get("reference"), path)

    def _member(
        self, element: Mapping[str, Any], name: str, value: Any, form: Form, path: str, depth: int
    ) -> None:
        if not form.many:
            self._value(value, form, path, depth)
        elif not isinstance(value, list):
            self._add("kind" if value is not None else "null", path)
        elif not value:
            self._add("empty", path)
        else:
            for index, item in enumerate(value):
                if item is not None or not _lines_up(element, name, form, index):
                    self._value(item, form, f"{path}[{index}]", depth)

    def _value(self, value: Any, form: Form, path: str, depth: int) -> None:
        if value is None:
            self._add("null", path)
        elif form.kind is Kind.STRING or form.kind is Kind.XHTML:
            self._text(value, form, path)
        elif form.kind is Kind.BOOLEAN:
            if not isinstance(value, bool):
                self._add("kind", path)
        elif form.kind is Kind.NUMBER:
            if isinstance(value, bool) or not isinstance(value, int | float | Number):
                self._add("kind", path)
        elif not isinstance(value, dict):
            self._add("kind", path)
        elif not value:
            self._add("empty", path)
        elif form.kind is Kind.RESOURCE:
            self._resource(value, path, depth)
        else:
            self.members(value, form.type, path, depth + 1)

    def _text(self, value: Any, form: Form, path: str) -> None:
        if not isinstance(value, str) or isinstance(value, Number):
            self._add("kind", path)
        elif not value:
            self._add("empty", path)
        elif form.codes is not None and value not in form.codes:
            self._add("code", path)
        elif form.format is not None and form.format.fullmatch(value) is None:
            self._add("format", path)

    def _resource(self, value: Mapping[str, Any], path: str, depth: int) -> None:
        type_name = value.get("resourceType")
        if is_resource_type(type_name):
            self.members(value, str(type_name), path, depth + 1)
        else:
            self._add("unknown-type", path)

    def _fragment(self, text: Any, path: str) -> None:
        """`#id` is one of the contained resources (R4, references.html#contained); `#` alone the container."""
        if isinstance(text, str) and text.startswith("#") and text[1:] not in self._contained:
            self._add("dangling", f"{path}.reference")

    def _add(self, key: str, path: str, detail: str = "") -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(key, path, detail))


def _lines_up(element: Mapping[str, Any], name: str, form: Form, index: int) -> bool:
    """Whether a null keeps the place of a primitive or of what extends it, the other one being there."""
    if form.kind in {Kind.COMPLEX, Kind.RESOURCE} and form.type != _PRIMITIVE_EXTENSION:
        return False
    other = element.get(form.beside)
    return isinstance(other, list) and index < len(other) and other[index] is not None


def _contained_ids(resource: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(("", *_ids(resource.get("contained"))))


def _ids(contained: Any) -> Iterator[str]:
    for resource in contained if isinstance(contained, list) else ():
        identity = resource.get("id") if isinstance(resource, dict) else None
        if isinstance(identity, str):
            yield identity
