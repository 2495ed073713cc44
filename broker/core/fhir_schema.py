"""What the XML form has to know of FHIR: each type's elements in order, which repeat, how JSON writes them.

Taken from the field metadata of `fhir.resources` (release R4B, where this guide's resources are as in R4), one
type at a time, and kept as plain records. No model is ever instantiated, so nothing is validated.
"""

from __future__ import annotations

import decimal
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from fhir.resources.R4B import get_fhir_model_class


class Kind(Enum):
    STRING = "string"  # every primitive that JSON writes in quotes
    NUMBER = "number"
    BOOLEAN = "boolean"
    XHTML = "xhtml"
    COMPLEX = "complex"
    RESOURCE = "resource"  # a whole resource, in XML inside an element of its own name


@dataclass(frozen=True, slots=True)
class Element:
    kind: Kind
    type: str  # of a COMPLEX one, a name that `type_of` takes
    many: bool


@dataclass(frozen=True, slots=True)
class Type:
    """`elements` are in the order of the specification; `order` is each one's place."""

    name: str
    elements: Mapping[str, Element]
    order: Mapping[str, int]


_EXTENSIONS: Final = {
    "extension": Element(Kind.COMPLEX, "Extension", many=True),
    "modifierExtension": Element(Kind.COMPLEX, "Extension", many=True),
}
ANY: Final = Type("", _EXTENSIONS, {"extension": 0, "modifierExtension": 1})
"""An element of no known type."""

_NAME = re.compile(r"[A-Z][A-Za-z]{0,63}")
_USUAL = (
    "Bundle",
    "CareTeam",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "RelatedPerson",
    "Organization",
)


@lru_cache(maxsize=1024)
def type_of(name: str) -> Type:
    """The elements of a datatype, a backbone element or a resource; `ANY` where the name is not known."""
    model = _model(name)
    if model is None:
        return ANY
    fields = {
        field.alias or python_name: field
        for python_name, field in model.model_fields.items()
        if not python_name.endswith("__ext") and python_name != "fhir_comments"
    }
    sequence = [element for element in model.elements_sequence() if element in fields]
    ordered = dict.fromkeys([*sequence, *fields])
    elements = {element: _element(name, element, fields[element].annotation) for element in ordered}
    return Type(name, elements, {element: place for place, element in enumerate(elements)})


@lru_cache(maxsize=1024)
def resource_type(name: str) -> Type:
    """The elements of a resource; of a resource that R4 does not know, those that every resource has."""
    model = _model(name)
    return type_of(name) if model is not None and model.has_resource_base() else type_of("DomainResource")


def preload(names: Iterable[str] = (*_USUAL, "OperationOutcome", "CapabilityStatement", "Extension")) -> None:
    """Read the types that answers are made of, so that the first one in XML does not wait for imports."""
    for name in names:
        type_of(name)


@lru_cache(maxsize=1024)
def _model(name: str) -> Any | None:
    if _NAME.fullmatch(name) is None:
        return None
    try:
        model = get_fhir_model_class(name)
    except ValueError:
        return None
    return model if hasattr(model, "model_fields") else None


def _element(owner: str, name: str, annotation: Any) -> Element:
    many = False
    while (origin := typing.get_origin(annotation)) is not None:
        arguments = [argument for argument in typing.get_args(annotation) if argument is not types.NoneType]
        many = many or origin is list
        annotation = arguments[0]
    if (owner, name) == ("Narrative", "div"):
        return Element(Kind.XHTML, "", many=False)
    model_path: str | None = getattr(annotation, "_model_klass", None)
    if model_path is not None:
        target = model_path.rpartition(".")[2]
        return Element(Kind.RESOURCE if target == "Resource" else Kind.COMPLEX, target, many)
    if annotation is bool:
        return Element(Kind.BOOLEAN, "", many)
    return Element(Kind.NUMBER if annotation in {int, decimal.Decimal} else Kind.STRING, "", many)
