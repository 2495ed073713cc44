"""A manager's own words, from an OperationOutcome of its: passed on as its words, shortened, without what may identify.

Servers like to repeat addresses and identifiers in their texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from broker.errors import Issue
from registry.model import Gestionnaire

MAX_RELAYED = 20
"""Issues of one manager that are passed on; more would drown the others'."""

_MAX_TEXT = 300
_ADDRESS = re.compile(r"\w+://\S+")
_LONG_NUMBER = re.compile(r"\d[\dAB ]{6,}\d")
_COMMENT = re.compile(r"/\*.*?\*/")
_PATH = re.compile(r"[A-Z][A-Za-z]{1,63}(?:\.[A-Za-z]{1,64}|\[\d{1,6}\]|\.ofType\([A-Za-z]{1,64}\))*")
_ENTRY = re.compile(r"Bundle\.entry\[(\d{1,6})\]")


class _Coding(msgspec.Struct):
    system: str | None = None
    code: str | None = None


class _Details(msgspec.Struct):
    text: str | None = None
    coding: list[_Coding] = []


class Told(msgspec.Struct):
    """One issue of a manager's outcome. `codes`: its (system, code) pairs."""

    severity: str = "warning"
    diagnostics: str | None = None
    details: _Details | None = None
    expression: Any = None  # what is not as FHIR has it must not cost the words
    location: Any = None

    @property
    def codes(self) -> list[tuple[str | None, str | None]]:
        return [(one.system, one.code) for one in self.details.coding] if self.details else []

    @property
    def words(self) -> str | None:
        """What it says, harmless."""
        return harmless((self.details and self.details.text) or self.diagnostics or "")


class _Outcome(msgspec.Struct, tag_field="resourceType", tag="OperationOutcome"):
    issue: list[Told] = []


_decode = msgspec.json.Decoder(_Outcome).decode
_REMARK = {"fatal": "warning", "error": "warning", "warning": "warning"}
_SEVERITIES = frozenset({"fatal", "error", "warning", "information"})


def told_in(body: bytes) -> list[Told]:
    """The issues of an OperationOutcome; none where the body is not one that can be read."""
    try:
        return _decode(body).issue
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def remarks(body: bytes, params: Mapping[str, str]) -> list[Issue]:
    """What a manager says beside what it has done: its errors are warnings of the whole.

    `params` name it: `slug`, `name`, `region`.
    """
    return [
        Issue(
            "manager.reported",
            params,
            severity=_REMARK.get(one.severity, "information"),
            diagnostics=one.words,
        )
        for one in told_in(body)[:MAX_RELAYED]
    ]


def refusals(body: bytes, manager: Gestionnaire, keep: Callable[[str], bool]) -> list[Issue]:
    """Why a manager did not do what it was asked, in its own words and with its own severities.

    Of the places that it names, `keep` chooses those that mean something to the client: FHIRPaths without literals.
    """
    return [
        Issue(
            "manager.reported",
            {"slug": manager.id, "name": manager.name, "region": manager.region},
            severity=one.severity if one.severity in _SEVERITIES else "error",
            expression=tuple(path for path in _paths(one) if keep(path)),
            diagnostics=one.words,
        )
        for one in told_in(body)[:MAX_RELAYED]
    ]


def entry_of(path: str) -> int | None:
    """The index of the Bundle's entry that a FHIRPath points into."""
    found = _ENTRY.match(path)
    return int(found[1]) if found is not None else None


def harmless(text: str) -> str | None:
    """A text without addresses and long numbers, shortened."""
    return _LONG_NUMBER.sub("…", _ADDRESS.sub("…", text))[:_MAX_TEXT].strip() or None


def _paths(told: Told) -> list[str]:
    """`expression`, and those of `location` (deprecated: XPath once, FHIRPath at many a server) that are FHIRPaths."""
    each = [one for stated in (told.expression, told.location) if isinstance(stated, list) for one in stated]
    paths = [_COMMENT.sub("", one).replace("..", ".") for one in each if isinstance(one, str)]
    return [one for one in dict.fromkeys(paths) if _PATH.fullmatch(one)]
