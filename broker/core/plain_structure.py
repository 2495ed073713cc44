"""Resources that are R4 at a glance: most of what clients write, in a tenth of the time that the models take.

Only what is certain is said here: the elements are known and of the right kind, repeat where they may, what must be there
is, and every value has a form that both `json_form` and the models of `fhir.resources` take. Whatever is rarer (contained
resources, extended primitives, addresses, decimals, leap seconds) is not judged but left to those two, and so is every
fault, since they can tell it. The table of each type is made of the same metadata as theirs (`element_forms`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from broker.core.element_forms import forms_of, marks_of, model_of
from broker.core.fhir_invariants import INVARIANTS, Broken
from broker.core.fhir_schema import Kind

_MAX_DEPTH: Final = 24
_MAX_INTEGER: Final = 2**31 - 1

_MONTH_AND_DAY: Final = (
    r"(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31"
)
_YEAR: Final = r"(?:1[0-9]|2[0-9])[0-9]{2}"
_DATE: Final = rf"{_YEAR}-(?:{_MONTH_AND_DAY})"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_INSTANT: Final = rf"{_DATE}T{_TIME}(?:Z|[+\-](?:0[0-9]|1[0-3]):[0-5][0-9])"

Test = Callable[[Any], object]


def _matching(pattern: str) -> Test:
    matches = re.compile(pattern).fullmatch
    return lambda value: type(value) is str and matches(value)


def _text(value: Any) -> bool:
    return type(value) is str and value[:1] > " " and not value[0].isspace()


def _boolean(value: Any) -> bool:
    return value is True or value is False


def _integer(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MAX_INTEGER


_TESTS: Final[Mapping[str, Test]] = {
    "String": _text,
    "Markdown": _text,
    "Code": _matching(r"[A-Za-z0-9][A-Za-z0-9\-_.:+/]*"),
    "Uri": _matching(r"[!-~]+"),
    "Canonical": _matching(r"[!-~]+"),
    "Id": _matching(r"[A-Za-z0-9\-.]{1,64}"),
    "Date": _matching(rf"{_YEAR}(?:-(?:0[1-9]|1[0-2]))?|{_DATE}"),
    "DateTime": _matching(rf"{_YEAR}(?:-(?:0[1-9]|1[0-2]))?|{_DATE}|{_INSTANT}"),
    "Instant": _matching(_INSTANT),
    "Integer": _integer,
    "UnsignedInt": _integer,
    "PositiveInt": _integer,
}
"""By the name of the mark that says what a primitive is. Each takes less than R4 does."""


@dataclass(frozen=True, slots=True)
class _Member:
    """`test` of a primitive, or the name of the type of a complex one."""

    many: bool
    test: Test | None
    type: str


@dataclass(frozen=True, slots=True)
class _Table:
    """`choices`: the members of which one may be there, and whether one must. `ruled`: there is more than members to see."""

    members: Mapping[str, _Member]
    required: frozenset[str]
    choices: tuple[tuple[frozenset[str], bool], ...]
    invariants: tuple[Broken, ...]
    ruled: bool


def is_plainly_valid(resource: Mapping[str, Any], type_name: str) -> bool:
    """Whether a resource of that type is R4 for certain. False says nothing."""
    return _is_plain(
        {name: value for name, value in resource.items() if name != "resourceType"}, type_name, 0
    )


def _is_plain(element: Mapping[str, Any], type_name: str, depth: int) -> bool:
    table = _table(type_name)
    if table is None or depth > _MAX_DEPTH:
        return False
    members = table.members
    for name, value in element.items():
        member = members.get(name)
        if member is None:
            return False
        items: Sequence[Any]
        if not member.many:
            items = (value,)
        elif type(value) is list and value:
            items = value
        else:
            return False
        test = member.test
        for item in items:
            if test is not None:
                if not test(item):
                    return False
            elif type(item) is not dict or not item or not _is_plain(item, member.type, depth + 1):
                return False
    return not table.ruled or _rules_kept(element, table, type_name)


def _rules_kept(element: Mapping[str, Any], table: _Table, type_name: str) -> bool:
    if not table.required <= element.keys():
        return False
    for names, required in table.choices:
        there = len(names & element.keys())
        if there > 1 or (required and not there):
            return False
    if type_name == "Reference" and element.get("reference", "").startswith("#"):
        return False
    return not any(broken(element) for broken in table.invariants)


@lru_cache(maxsize=512)
def _table(type_name: str) -> _Table | None:
    forms, model = forms_of(type_name), model_of(type_name)
    if forms is None or model is None:
        return None
    members: dict[str, _Member] = {}
    required: set[str] = set()
    choices: dict[str, tuple[set[str], bool]] = {}
    for python_name, field in model.model_fields.items():
        name, extra = field.alias or python_name, field.json_schema_extra or {}
        if field.is_required() or extra.get("element_required"):
            required.add(name)
        choice = extra.get("one_of_many")
        if choice:
            names, needed = choices.get(choice, (set(), False))
            choices[choice] = (names | {name}, needed or bool(extra.get("one_of_many_required")))
        form = forms.get(name)
        if form is None or name.startswith("_") or field.metadata:
            continue
        if form.kind is Kind.COMPLEX:
            members[name] = _Member(form.many, None, form.type)
            continue
        test = _boolean if form.kind is Kind.BOOLEAN else _primitive(field.annotation, form.codes)
        if test is not None and form.kind is not Kind.XHTML and form.kind is not Kind.RESOURCE:
            members[name] = _Member(form.many, test, "")
    invariants = tuple(broken for _, broken in INVARIANTS.get(type_name, ()))
    return _Table(
        members,
        frozenset(required),
        tuple((frozenset(names), needed) for names, needed in choices.values()),
        invariants,
        ruled=bool(required or choices or invariants or type_name == "Reference"),
    )


def _primitive(annotation: Any, codes: frozenset[str] | None) -> Test | None:
    """None for a primitive that is not judged here."""
    marks = marks_of(annotation)
    test = _TESTS.get(marks[0]) if len(marks) == 1 else None
    if codes is None or test is None:
        return test
    return lambda value: type(value) is str and value in codes
