"""One value of a criterion against one value of a resource, by type of parameter (FHIR R4, search.html)."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from broker.core.fhir_dates import comparison, date_range, element_range, split_prefix
from broker.core.query import Criterion
from broker.core.query_values import unescape
from broker.core.search_parameters import ParamType

ValueTest = Callable[[Any], bool]

IMPLICIT_SYSTEMS: Final[Mapping[str, str]] = {
    "gender": "http://hl7.org/fhir/administrative-gender",
    "status": "http://hl7.org/fhir/care-team-status",
    "active": "http://terminology.hl7.org/CodeSystem/special-values",
}
"""The systems that elements of type code and boolean have without saying so, by parameter name."""

_PARTS = (
    "text",
    "family",
    "given",
    "prefix",
    "suffix",
    "line",
    "city",
    "district",
    "state",
    "postalCode",
    "country",
)
"""The string members of HumanName and Address, all of which a string parameter searches."""

_DASHES = re.compile(r"[\s\-\u2010-\u2015]+")
_LOCAL = re.compile(r"(?:([A-Za-z]+)/)?([A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?")

_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae"})
_NOISE = re.compile(r"[^\w\s\-\u2010-\u2015]|_")


def value_test(criterion: Criterion, value: str, base: str, now: dt.datetime | None) -> ValueTest:
    """The test that one alternative of a criterion makes of an element (see `matching.matches`)."""
    parameter, modifier = criterion.parameter, criterion.modifier
    if modifier == "text":
        return _text_test(value)
    if modifier == "identifier":
        token = _token_test("identifier", value)
        return lambda element: isinstance(element, dict) and token(element.get("identifier"))
    match parameter.type:
        case ParamType.TOKEN:
            return _token_test(parameter.name, value)
        case ParamType.DATE:
            return _date_test(value, now)
        case ParamType.STRING:
            return _string_test(value, modifier)
        case ParamType.REFERENCE:
            return _reference_test(value, modifier, base)
        case ParamType.URI:
            return _uri_test(value)


def fold(text: str) -> str:
    """Text without case, accents and punctuation; a run of blanks or dashes is one blank."""
    folded = text.casefold()
    if not folded.isascii():
        folded = unicodedata.normalize("NFKD", folded).casefold().translate(_LIGATURES)
    return _DASHES.sub(" ", _NOISE.sub("", folded)).strip()


# --- token


def split_token(value: str) -> tuple[str | None, str]:
    """`system|code` as its two halves, without escapes; no pipe at all gives no system."""
    before, separator, after = _split_pipe(value)
    return (unescape(before), unescape(after)) if separator else (None, unescape(value))


def _split_pipe(value: str) -> tuple[str, str, str]:
    if "\\" not in value:
        return value.partition("|")
    position = 0
    while position < len(value):
        if value[position] == "|":
            return value[:position], "|", value[position + 1 :]
        position += 2 if value[position] == "\\" else 1
    return value, "", ""


def _token_test(name: str, value: str) -> ValueTest:
    """Codes compare without case, as FHIR advises where a code system is silent; ids and systems with it."""
    system, code = split_token(value)
    if not system and not code:
        return _never
    exact = name == "_id"
    wanted = code if exact else code.casefold()
    implicit = IMPLICIT_SYSTEMS.get(name)

    def test(element: Any) -> bool:
        for its_system, its_code in tokens(element, implicit):
            if system is not None and (its_system or "") != system and not (system == "" and implicit):
                continue
            if not wanted or (its_code if exact else its_code.casefold()) == wanted:
                return True
        return False

    return test


def tokens(element: Any, implicit: str | None) -> Iterator[tuple[str | None, str]]:
    """The (system, code) pairs of a CodeableConcept, Coding, Identifier, ContactPoint or primitive."""
    if isinstance(element, bool):
        yield implicit, "true" if element else "false"
    elif isinstance(element, str):
        yield implicit, element
    elif isinstance(element, dict):
        codings = element.get("coding")
        for coding in codings if isinstance(codings, list) else (element,):
            if isinstance(coding, dict):
                code = coding.get("code", coding.get("value"))
                system = coding.get("system")
                if isinstance(code, str) or system is not None:
                    yield system if isinstance(system, str) else None, code if isinstance(code, str) else ""


def _text_test(value: str) -> ValueTest:
    """`:text`: the texts that go with a code, or an identifier's type, searched as strings."""
    test = _string_test(value, None)

    def texts(element: Any) -> Iterator[Any]:
        if isinstance(element, dict):
            yield element.get("text")
            yield element.get("display")
            kind = element.get("type")
            if isinstance(kind, dict):
                yield kind.get("text")
            for coding in element.get("coding") or ():
                yield from texts(coding)

    return lambda element: any(test(text) for text in texts(element) if isinstance(text, str))


# --- date


def _date_test(value: str, now: dt.datetime | None) -> ValueTest:
    prefix, text = split_prefix(value)
    searched = date_range(text)
    if searched is None:
        return _never
    compare = comparison(prefix, searched, now)

    def test(element: Any) -> bool:
        target = element_range(element)
        return target is not None and compare(target)

    return test


def _never(_: Any) -> bool:
    return False


# --- string


def strings(element: Any) -> Iterator[str]:
    if isinstance(element, str):
        yield element
    elif isinstance(element, dict):
        for part in _PARTS:
            value = element.get(part)
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from (item for item in value if isinstance(item, str))


def _string_test(value: str, modifier: str | None) -> ValueTest:
    wanted = unescape(value)
    if modifier == "exact":
        return lambda element: wanted in strings(element)
    folded = fold(wanted)
    if not folded:
        return _never
    if modifier == "contains":
        return lambda element: any(folded in fold(text) for text in strings(element))
    return lambda element: any(fold(text).startswith(folded) for text in strings(element))


# --- reference


def split_reference(text: str, base: str = "") -> tuple[str | None, str, str | None]:
    """A reference as (type, id, version): of a local one, or an absolute one under `base`.

    Anything else (another server's address, `urn:`, `#contained`) is (None, the text itself, None).
    """
    local = text.removeprefix(f"{base}/") if base else text
    found = _LOCAL.fullmatch(local)
    if found is None:
        return None, text, None
    return found[1], found[2], found[3]


def reference_text(element: Any) -> str | None:
    """The text of a Reference, or of a canonical."""
    text = element.get("reference") if isinstance(element, dict) else element
    return text if isinstance(text, str) else None


def may_point_to(element: Any, targets: tuple[str, ...], base: str = "") -> bool:
    """Whether a reference's type, where it can be known, is among the targets."""
    if not targets:
        return True
    text = reference_text(element)
    kind = split_reference(text, base)[0] if text is not None else None
    if kind is None and text is not None and "://" in text:
        segments = text.split("/_history/")[0].rsplit("/", 2)
        kind = segments[-2] if len(segments) == 3 and segments[-2][:1].isupper() else None
    if kind is None and isinstance(element, dict):
        kind = element.get("type")
    return kind is None or kind in targets


def _reference_test(value: str, modifier: str | None, base: str) -> ValueTest:
    """`id`, `Type/id` or an address. One without version is met by a versioned reference too."""
    wanted = unescape(value)
    kind, identity, version = split_reference(wanted, base)
    kind = kind or modifier
    external = kind is None and _LOCAL.fullmatch(wanted) is None

    def test(element: Any) -> bool:
        text = reference_text(element)
        if text is None:
            return False
        if external:
            return wanted in (text, text.split("/_history/")[0])
        its_kind, its_identity, its_version = split_reference(text, base)
        if its_kind is None or its_identity != identity or (kind is not None and its_kind != kind):
            return False
        return version is None or its_version == version

    return test


# --- uri


def _uri_test(value: str) -> ValueTest:
    """Equality; a canonical written without version is met by any version of it."""
    wanted = unescape(value)
    return lambda element: isinstance(element, str) and wanted in (element, element.partition("|")[0])
