"""What a client prefers: the `Prefer` header (RFC 7240; FHIR R4 http.html for `handling` and `return`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from broker.core.media_type import split_unquoted
from broker.errors import RequestError


class Handling(StrEnum):
    LENIENT = "lenient"
    STRICT = "strict"


class Partial(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Replica(StrEnum):
    """Whether a replica may be shown because its home is slow."""

    ALLOW = "allow"
    DENY = "deny"


class Return(StrEnum):
    MINIMAL = "minimal"
    REPRESENTATION = "representation"
    OPERATION_OUTCOME = "OperationOutcome"


@dataclass(frozen=True, slots=True)
class Preferences:
    """`wait` is in seconds. `accept_risk`: create a circle although some manager cannot be asked for one.

    That last one is written `uniqueness=accept-risk`. `stated` names the preferences that the header holds.
    """

    handling: Handling = Handling.LENIENT
    partial: Partial = Partial.ALLOW
    wait: float | None = None
    return_: Return | None = None
    accept_risk: bool = False
    replica: Replica | None = None
    stated: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def strict(self) -> bool:
        return self.handling is Handling.STRICT

    def applied(self, honoured: Iterable[str]) -> str:
        """The value of `Preference-Applied` (RFC 7240, section 3): what was stated, of what the answer honours."""
        if not self.stated:
            return ""
        values = {
            "handling": str(self.handling),
            "partial": str(self.partial),
            "wait": f"{self.wait:g}" if self.wait is not None else "",
            "return": str(self.return_ or ""),
            "uniqueness": "accept-risk",
            "replica": str(self.replica or ""),
        }
        return ", ".join(f"{name}={values[name]}" for name in honoured if name in self.stated)


_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_WAIT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_KNOWN = ("handling", "partial", "wait", "return", "uniqueness", "replica")
_NONE = Preferences()


def parse_prefer(header_values: Sequence[str]) -> Preferences:
    """The preferences of all `Prefer` headers. Unknown ones are ignored; of a repeated one the first counts.

    Raises `RequestError` request.bad-preference, naming the known one whose value it cannot have.
    """
    if not header_values:
        return _NONE
    stated: dict[str, str] = {}
    for header in header_values:
        for item in split_unquoted(header, ","):
            name, value = _preference(item)
            if name in _KNOWN:
                stated.setdefault(name, value)
    return Preferences(
        handling=Handling(_choice(stated, "handling", Handling) or Handling.LENIENT),
        partial=Partial(_choice(stated, "partial", Partial) or Partial.ALLOW),
        wait=_wait(stated.get("wait")),
        return_=Return(chosen) if (chosen := _choice(stated, "return", Return)) else None,
        accept_risk=_choice(stated, "uniqueness", ("accept-risk",)) is not None,
        replica=Replica(wish) if (wish := _choice(stated, "replica", Replica)) else None,
        stated=frozenset(stated),
    )


def _preference(item: str) -> tuple[str, str]:
    """Name, in lower case, and value of one item. Its parameters are dropped: no known preference has any."""
    name, _, value = split_unquoted(item, ";")[0].partition("=")
    value = value.strip()
    if _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return name.strip().lower(), value


def _choice(stated: Mapping[str, str], name: str, allowed: Sequence[str] | type[StrEnum]) -> str | None:
    if name not in stated:
        return None
    found = {str(value).lower(): str(value) for value in allowed}.get(stated[name].lower())
    if found is None:
        raise RequestError("request.bad-preference", parameter=name)
    return found


def _wait(value: str | None) -> float | None:
    if value is None:
        return None
    if _WAIT.fullmatch(value) is None:
        raise RequestError("request.bad-preference", parameter="wait")
    return float(value)
