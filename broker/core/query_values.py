"""The grammar of search values (FHIR R4, search.html, sections 3.1.1.4 and 3.1.1.5).

Values keep their FHIR escapes (`\\,`, `\\$`, `\\\\`) until somebody compares them. The guide's own examples
write the token separator `\\|`, which FHIR reserves for a literal pipe; no system nor code of the guide
holds a pipe, so both spellings are read as the separator.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping

from broker.core.search_parameters import DATE_PREFIXES, TYPES, ParamType

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"\\([,$|\\])")
_LITERAL = re.compile(r"([,$\\])")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

_DATE = re.compile(
    rf"({'|'.join(DATE_PREFIXES)})?"
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(?:Z|[+\- ](\d\d):(\d\d))?)?)?)?",
    re.ASCII,
)
_ZONE_SPACE = re.compile(r"(?<=\d) (?=\d\d:\d\d$)")
_TOKEN = re.compile(r"[^|]+|[^|]*\|[^|]+|[^|]+\|")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_LOCAL_REFERENCE = re.compile(
    r"(?:([A-Z][A-Za-z]*)/)?[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_ABSOLUTE_REFERENCE = re.compile(r"(?:https?://|urn:)[^\s|]+(?:\|[^\s|]+)?")
_URI = re.compile(r"\S+")
_ELEMENT = re.compile(r"[A-Za-z_][A-Za-z0-9]*")

# What a client is told it should have written: notations, so that one wording serves both languages.
DATE_FORM = "[eq|ne|gt|lt|ge|le|sa|eb|ap]YYYY[-MM[-DD[Thh:mm[:ss][Z|±hh:mm]]]]"
CODED_FORM = "[system|]code"
ID_FORM = "[A-Za-z0-9-.]{1,64}"
REFERENCE_FORM = "[Type/]id | URL"
MISSING_FORM = "true | false"
TEXT_FORM = "UTF-8"


def split_or(value: str) -> tuple[str, ...]:
    """The alternatives of a value: split on commas that no backslash escapes; escapes are kept."""
    if "\\" not in value:
        return tuple(value.split(","))
    parts: list[str] = []
    start = position = 0
    while position < len(value):
        if value[position] == "\\":
            position += 2
            continue
        if value[position] == ",":
            parts.append(value[start:position])
            start = position + 1
        position += 1
    return (*parts, value[start:])


def unescape(value: str) -> str:
    """The value meant: `\\,`, `\\$`, `\\|` and `\\\\` without their backslash; any other backslash stays."""
    return _SPECIAL.sub(r"\1", value)


def escape(value: str) -> str:
    """A literal as a search value writes it. Pipes stay: here both spellings are read as the separator."""
    return _LITERAL.sub(r"\\\1", value)


def plain_pipes(value: str) -> str:
    """The value with the guide's `\\|` written `|`; `\\\\|`, an escaped backslash before a pipe, stays."""
    return _ESCAPED.sub(lambda match: "|" if match[1] == "|" else match[0], value)


def is_text(value: str) -> bool:
    """Whether a value can be sent on: no control characters, nothing that UTF-8 cannot encode."""
    return _UNPRINTABLE.search(value) is None


def is_element(value: str) -> bool:
    """Whether a value is an element's name, as in `_elements`."""
    return _ELEMENT.fullmatch(value) is not None


def is_id(value: str) -> bool:
    """Whether a value follows FHIR's id rule."""
    return _ID.fullmatch(value) is not None


def is_date(value: str) -> bool:
    """Whether a value is a date of the search grammar, its day, time and zone real; the prefix may be absent.

    Leap seconds (`:60`) are refused: no manager of the guide compares them.
    """
    found = _DATE.fullmatch(value)
    if found is None:
        return False
    year, month, day, hour, minute, second, zone_hour, zone_minute = (
        default if part is None else int(part)
        for part, default in zip(found.groups()[1:], (0, 1, 1, 0, 0, 0, 0, 0), strict=True)
    )
    try:
        dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
    except ValueError:
        return False
    return zone_minute < 60 and zone_hour * 60 + zone_minute <= 14 * 60


def is_reference(value: str, modifier: str | None = None) -> bool:
    """Whether a value is an id, `Type/id` or an absolute address; of type `modifier` where that is given."""
    local = _LOCAL_REFERENCE.fullmatch(value)
    if local is None:
        return _ABSOLUTE_REFERENCE.fullmatch(value) is not None
    stated = local[1]
    if modifier is not None:
        return stated in {None, modifier}
    return stated is not None or "/" not in value


def _is_token(value: str) -> bool:
    return _TOKEN.fullmatch(value) is not None


_BY_TYPE: Mapping[ParamType, tuple[Callable[[str], bool], str]] = {
    ParamType.TOKEN: (_is_token, CODED_FORM),
    ParamType.DATE: (is_date, DATE_FORM),
    ParamType.REFERENCE: (is_reference, REFERENCE_FORM),
    ParamType.STRING: (is_text, TEXT_FORM),
    ParamType.URI: (lambda value: _URI.fullmatch(value) is not None, "URI"),
}


def grammar(name: str, kind: ParamType, modifier: str | None) -> tuple[Callable[[str], bool], str]:
    """The check for one alternative of a parameter's value, and the form to name when it fails."""
    if modifier == "missing":
        return {"true", "false"}.__contains__, MISSING_FORM
    if modifier == "text":
        return is_text, TEXT_FORM
    if modifier == "identifier":
        return _is_token, CODED_FORM
    if kind is ParamType.REFERENCE and modifier in TYPES:
        return lambda value: is_reference(value, modifier), REFERENCE_FORM
    if name == "_id":
        return is_id, ID_FORM
    return _BY_TYPE[kind]


def normalise(kind: ParamType, value: str) -> str:
    """One alternative as it is kept: outer blanks off, and a zone's `+`, lost to form decoding, put back."""
    value = value.strip()
    return _ZONE_SPACE.sub("+", value) if kind is ParamType.DATE else value
