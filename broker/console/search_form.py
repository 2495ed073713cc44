"""The search form: the guide's business criteria of flux 2 (cds.md, section 2) read into search parameters. Pure.

Every criterion is optional, one at least is asked for: a console shows nobody's circle to whoever looks for nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker.core.ins import INS_NIA, INS_NIR, INS_NIR_DEMO, INS_NIR_TEST, is_valid_ins
from broker.core.query_values import escape, is_date, is_text

Pairs = tuple[tuple[str, str], ...]

MAX_VALUE: Final = 200
"""Characters of one field."""

SIZES: Final = ("10", "20", "50")
OPERATORS: Final = ("eq", "ge", "le", "gt", "lt")
INS_KINDS: Final[Mapping[str, str]] = {
    "nir": INS_NIR,
    "nia": INS_NIA,
    "test": INS_NIR_TEST,
    "demo": INS_NIR_DEMO,
}
STRUCTURE_KINDS: Final[Mapping[str, str]] = {
    "finess": "https://finess.esante.gouv.fr",
    "sirene": "https://sirene.fr",
}
RPPS: Final = "https://rpps.esante.gouv.fr"
INCLUDES: Final[Pairs] = (
    ("_include", "CareTeam:subject"),
    ("_include", "CareTeam:participant"),
    ("_include:iterate", "PractitionerRole:practitioner"),
    ("_include:iterate", "PractitionerRole:organization"),
)
"""What it takes to show circles by names."""


class Kind(StrEnum):
    TEXT = "text"
    DATE = "date"  # with a comparison beside it, `{name}-op`
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Field:
    """`value`: the parameter's value from what was typed and the whole form; None: it is not of that form, which
    `search.error.{error}` says. `beside`: another field that goes with it, and its choices."""

    name: str
    parameter: str
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    error: str = "text"
    value: Callable[[str, Mapping[str, str]], str | None] = lambda text, _form: escape(text)
    beside: tuple[str, tuple[str, ...]] | None = None
    hint: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a field (`""`: in the form as a whole): the key of a text."""

    field: str
    key: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A form that was read. `values`: as typed, to be shown again. `pairs` hold nothing where there are faults."""

    values: Mapping[str, str]
    pairs: Pairs
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()

    def fault_of(self, field: str) -> Fault | None:
        return next((one for one in self.faults if one.field == field), None)


_SYSTEM_VALUE = re.compile(r"(?:[^\s|]+\|)?[^\s|]+")
_REFERENCE = re.compile(r"(?:PractitionerRole|RelatedPerson|Organization)/[A-Za-z0-9\-.]{1,64}")
_INS = re.compile(r"\d{5}(?:\d\d|2[AB])\d{8}", re.ASCII)
_CODE = re.compile(r"(?:[^\s|]+\|)?[^\s|,]+")
_RPPS = re.compile(r"\d{11}", re.ASCII)
_STRUCTURE = {
    "finess": re.compile(r"[0-9AB]{9}", re.ASCII),
    "sirene": re.compile(r"\d{9}(?:\d{5})?", re.ASCII),
}


def _matching(pattern: re.Pattern[str]) -> Callable[[str, Mapping[str, str]], str | None]:
    def value(text: str, _form: Mapping[str, str]) -> str | None:
        return escape(text) if pattern.fullmatch(text) else None

    return value


def _ins(text: str, form: Mapping[str, str]) -> str | None:
    digits = _compact(text)
    system = INS_KINDS.get(form.get("ins-kind", "nir"))
    return f"{system}|{digits}" if system is not None and _INS.fullmatch(digits) else None


def _rpps(text: str, _form: Mapping[str, str]) -> str | None:
    return f"{RPPS}|{digits}" if _RPPS.fullmatch(digits := _compact(text)) else None


def _structure(text: str, form: Mapping[str, str]) -> str | None:
    kind, digits = form.get("structure-kind", "finess"), _compact(text)
    pattern = _STRUCTURE.get(kind)
    fits = pattern is not None and pattern.fullmatch(digits) is not None
    return f"{STRUCTURE_KINDS[kind]}|{digits}" if fits else None


def _compact(text: str) -> str:
    return re.sub(r"[\s\u00a0\u202f]", "", text).upper()


def _date(name: str, parameter: str) -> Field:
    def value(text: str, form: Mapping[str, str]) -> str | None:
        operator = form.get(f"{name}-op") or "eq"
        well = operator in OPERATORS and is_date(text) and text[:4].isdigit() and "T" not in text
        if not well:
            return None
        return text if operator == "eq" else operator + text

    return Field(name, parameter, Kind.DATE, error="date", value=value, beside=(f"{name}-op", OPERATORS))


def _choice(name: str, parameter: str, *choices: str) -> Field:
    def value(text: str, _form: Mapping[str, str]) -> str | None:
        return text if text in choices else None

    return Field(name, parameter, Kind.CHOICE, choices, "choice", value)


GROUPS: Final[tuple[Group, ...]] = (
    Group(
        "person",
        (
            Field(
                "ins",
                "patient.identifier",
                error="ins",
                value=_ins,
                beside=("ins-kind", tuple(INS_KINDS)),
                hint=True,
            ),
            Field(
                "secondary-id",
                "patient.identifier",
                error="identifier",
                value=_matching(_SYSTEM_VALUE),
                hint=True,
            ),
            Field("family", "patient.family"),
            Field("given", "patient.given"),
            _date("birthdate", "patient.birthdate"),
            Field("birthplace", "patient.birthplace"),
            Field("address", "patient.address"),
        ),
    ),
    Group(
        "circle",
        (
            Field("circle", "identifier", error="identifier", value=_matching(_SYSTEM_VALUE), hint=True),
            _choice("status", "status", "proposed", "active", "suspended", "inactive", "entered-in-error"),
            _date("start", "start"),
            _date("end", "end"),
            _date("updated", "_lastUpdated"),
        ),
    ),
    Group(
        "member",
        (
            Field("member", "participant", error="member", value=_matching(_REFERENCE), hint=True),
            _date("entry", "participant-start"),
            _date("exit", "participant-end"),
        ),
    ),
    Group(
        "professional",
        (
            Field(
                "rpps",
                "participant:PractitionerRole.practitioner:Practitioner.identifier",
                error="rpps",
                value=_rpps,
            ),
            Field("professional-name", "participant:PractitionerRole.practitioner.name"),
            Field(
                "professional-role",
                "participant:PractitionerRole.role",
                error="code",
                value=_matching(_CODE),
                hint=True,
            ),
        ),
    ),
    Group(
        "structure",
        (
            Field(
                "structure",
                "participant:Organization.identifier",
                error="structure",
                value=_structure,
                beside=("structure-kind", tuple(STRUCTURE_KINDS)),
            ),
            Field("structure-name", "participant:Organization.name"),
        ),
    ),
    Group(
        "contact",
        (
            Field("contact-name", "participant:RelatedPerson.name"),
            _choice("contact-role", "participant:RelatedPerson.relationship", "GUARD", "QUAL", "CAREGIVER"),
        ),
    ),
)
FIELDS: Final[tuple[Field, ...]] = tuple(field for group in GROUPS for field in group.fields)
NAMES: Final[frozenset[str]] = frozenset(
    {field.name for field in FIELDS} | {field.beside[0] for field in FIELDS if field.beside} | {"size"}
)


def read(form: Mapping[str, str]) -> Asked:
    """A form as it was sent; names that are none of ours are left aside."""
    values = {name: text.strip() for name, text in form.items() if name in NAMES and text.strip()}
    pairs: list[tuple[str, str]] = []
    faults: list[Fault] = []
    for field in FIELDS:
        text = values.get(field.name)
        if text is None:
            continue
        made = field.value(text, values) if len(text) <= MAX_VALUE and is_text(text) else None
        if made is None:
            faults.append(Fault(field.name, f"search.error.{field.error}"))
        else:
            pairs.append((field.parameter, made))
    if not pairs and not faults:
        faults.append(Fault("", "search.error.empty"))
    size = values.get("size", SIZES[0])
    paging = ("_count", size if size in SIZES else SIZES[0])
    return Asked(
        values, () if faults else (*pairs, *INCLUDES, paging), tuple(faults), _doubts(values, faults)
    )


def _doubts(values: Mapping[str, str], faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """A wrong key is told and searched for all the same: the guide's own example has one."""
    ins = values.get("ins")
    doubtful = ins is not None and not any(one.field == "ins" for one in faults)
    if ins is None or not doubtful or is_valid_ins(_compact(ins)):
        return ()
    return (Fault("ins", "search.warning.ins-key"),)
