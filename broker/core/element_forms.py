"""How JSON writes each element of R4: its kind, whether it repeats, its codes, its place in FHIRPath.

Read once per type from the field metadata of `fhir.resources` (release R4B, where the guide's resources and the
data types are as in R4 but for the two choices that `_NOT_R4` names). The models coerce (`"true"` is a boolean to
them, a JSON text an object) and leave some formats open (uri, id, uuid); what they leave open is written down here.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fhir.resources.R4B import get_fhir_model_class

from broker.core.fhir_schema import Kind

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_NO_BLANKS: Final = re.compile(r"\S+")
_FORMATS: Final[Mapping[str, re.Pattern[str]]] = {
    "Id": _ID,
    "Uri": _NO_BLANKS,
    "Canonical": _NO_BLANKS,
    "Url": _NO_BLANKS,
    "UuidVersion": re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    "Oid": re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+"),
}
"""The formats of R4 (datatypes.html#primitive) that the models hold looser, or tighter (uuid, url), than R4 does."""

_NOT_R4: Final = frozenset({"valueCodeableReference", "valueRatioRange"})
_NOT_JSON: Final = frozenset({"fhir_comments"})
_PRIMITIVES: Final = frozenset({Kind.STRING, Kind.NUMBER, Kind.BOOLEAN})
_NAME: Final = re.compile(r"[A-Z][A-Za-z]{0,63}")
_MORE: Final = "etc."  # ends the codes of a binding that is not required


@dataclass(frozen=True, slots=True)
class Form:
    """One member of a JSON object.

    `step` is its name in FHIRPath: `value` for `valueString`, `name` for `_name`. `type` is the name of a COMPLEX
    one's type. `beside` is the member that lines up with it: `_name` for `name`, and the other way round.
    """

    kind: Kind
    type: str
    many: bool
    step: str
    beside: str
    codes: frozenset[str] | None
    format: re.Pattern[str] | None


@lru_cache(maxsize=512)
def forms_of(type_name: str) -> Mapping[str, Form] | None:
    """The members of a type's JSON object by name, `_name` members included; None for what is no type of R4."""
    model = model_of(type_name)
    if model is None:
        return None
    forms: dict[str, Form] = {}
    for python_name, field in model.model_fields.items():
        name = field.alias or python_name
        if name not in _NOT_JSON and name not in _NOT_R4 and name.removeprefix("_") not in _NOT_R4:
            forms[name] = _form(type_name, name, model.model_fields, field)
    for name, form in tuple(forms.items()):
        if _may_be_extended(type_name, name, form):
            forms.setdefault(form.beside, _beside(form, name))
    return forms


@lru_cache(maxsize=512)
def model_of(type_name: str) -> Any | None:
    """The model class of a type; None for what is no type of R4."""
    if _NAME.fullmatch(type_name) is None:
        return None
    try:
        model = get_fhir_model_class(type_name)
    except (ValueError, KeyError):
        return None
    return model if hasattr(model, "model_fields") else None


def is_resource_type(name: object) -> bool:
    """Whether a text is the name of a resource type, one that has instances."""
    if not isinstance(name, str) or name in {"Resource", "DomainResource"}:
        return False
    model = model_of(name)
    return model is not None and model.has_resource_base()


def reach(type_name: str, seen: set[str] | None = None) -> set[str]:
    """Reads a type and every type it is made of, so that the first body does not wait for imports."""
    seen = set() if seen is None else seen
    if type_name in seen:
        return seen
    seen.add(type_name)
    for form in (forms_of(type_name) or {}).values():
        if form.kind is Kind.COMPLEX:
            reach(form.type, seen)
    return seen


def _may_be_extended(owner: str, name: str, form: Form) -> bool:
    """Whether a primitive may have a `_name` beside it: all may but ids and the address of an extension.

    The models know none beside the values of an extension; R4 does.
    """
    return form.kind in _PRIMITIVES and name != "id" and (owner, name) != ("Extension", "url")


def _beside(form: Form, name: str) -> Form:
    return Form(Kind.COMPLEX, "FHIRPrimitiveExtension", form.many, form.step, name, None, None)


def _form(owner: str, name: str, fields: Mapping[str, Any], field: Any) -> Form:
    annotation, many, wrapped = _leaf(field.annotation)
    extra = field.json_schema_extra or {}
    step = extra.get("one_of_many") or name
    if name.startswith("_"):
        main = fields.get(name[1:])
        step = ((main.json_schema_extra or {}).get("one_of_many") if main else None) or name[1:]
    beside = name[1:] if name.startswith("_") else f"_{name}"
    codes = extra.get("enum_values") or ()
    kind, type_name = _kind(owner, name, annotation)
    return Form(
        kind,
        type_name,
        many,
        step,
        beside,
        frozenset(codes) if codes and _MORE not in codes else None,
        next((_FORMATS[mark] for mark in wrapped if mark in _FORMATS), None),
    )


def _leaf(annotation: Any) -> tuple[Any, bool, tuple[str, ...]]:
    """What an annotation is about, whether it is a list of it, and the names of the marks it carries."""
    many, marks = False, []
    while (origin := typing.get_origin(annotation)) is not None:
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            marks += [_mark(argument) for argument in arguments[1:]]
        many = many or origin is list
        annotation = next(argument for argument in arguments if argument is not types.NoneType)
    return annotation, many, tuple(marks)


def marks_of(annotation: Any) -> tuple[str, ...]:
    """The names of the marks that say what primitive an annotation is about: `Code`, `DateTime`."""
    return _leaf(annotation)[2]


def _mark(argument: Any) -> str:
    return argument.__name__ if isinstance(argument, type) else type(argument).__name__


def _kind(owner: str, name: str, annotation: Any) -> tuple[Kind, str]:
    if (owner, name) == ("Narrative", "div"):
        return Kind.XHTML, ""
    model_path: str | None = getattr(annotation, "_model_klass", None)
    if model_path is not None:
        target = model_path.rpartition(".")[2]
        return (Kind.RESOURCE if target == "Resource" else Kind.COMPLEX), target
    if annotation is bool:
        return Kind.BOOLEAN, ""
    return (Kind.NUMBER if getattr(annotation, "__name__", "") in {"int", "Decimal"} else Kind.STRING), ""
