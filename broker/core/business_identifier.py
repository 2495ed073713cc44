"""The identifier that says best who a resource is about, and how to search by it (cds.md, section 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from broker.core.ins import INS_NIA, INS_NIR, INS_NIR_DEMO, INS_NIR_TEST

INS_C: Final = "urn:oid:1.2.250.1.213.1.4.2"
RPPS: Final = "https://rpps.esante.gouv.fr"
FINESS: Final = "https://finess.esante.gouv.fr"
SIRENE: Final = "https://sirene.fr"
IDNST: Final = "urn:oid:1.2.250.1.71.4.2.2"

_SIRET_DIGITS: Final = 14
_RETIRED: Final = "old"
_ESCAPED: Final = re.compile(r"[\\,|$]")

Test = Callable[[Mapping[str, Any]], bool]


def _system(*systems: str) -> Test:
    return lambda identifier: identifier["system"] in systems


def _siret(identifier: Mapping[str, Any]) -> bool:
    """SIRET and SIREN share a system: the type's code tells, else the length."""
    codes = set(_type_codes(identifier))
    told = codes & {"SIRET", "SIREN"}
    digits = sum(character.isdigit() for character in identifier["value"])
    return identifier["system"] == SIRENE and ("SIRET" in told if told else digits == _SIRET_DIGITS)


_ORDER: Final[tuple[Test, ...]] = (
    _system(INS_NIR),
    _system(INS_NIA),
    _system(INS_NIR_TEST, INS_NIR_DEMO),
    _system(INS_C),
    _system(RPPS),
    _system(FINESS),
    _siret,
    _system(IDNST),
    _system(SIRENE),
    lambda identifier: identifier.get("use") == "official",
    lambda _: True,
)
"""From what identifies a person or a structure nationally to what some system says of it."""


def strongest_identifier(resource: Mapping[str, Any]) -> tuple[str, str] | None:
    """(system, value) of the strongest of a resource's identifiers that have both; None where it has none.

    Retired ones (`use` old) do not count. Of equals the first wins.
    """
    usable = list(_usable(resource.get("identifier")))
    for test in _ORDER:
        for identifier in usable:
            if test(identifier):
                return identifier["system"], identifier["value"]
    return None


def token_criterion(system: str, value: str) -> str:
    r"""`identifier=system|value` as a URL's query: FHIR's escapes (`\,` `\|` `\$` `\\`), then per cent."""
    token = "|".join(_ESCAPED.sub(r"\\\g<0>", part) for part in (system, value))
    return f"identifier={quote(token, safe=':/')}"


def _usable(identifiers: Any) -> Iterator[Mapping[str, Any]]:
    for identifier in identifiers if isinstance(identifiers, list) else (identifiers,):
        if not isinstance(identifier, dict) or identifier.get("use") == _RETIRED:
            continue
        if all(isinstance(identifier.get(name), str) and identifier[name] for name in ("system", "value")):
            yield identifier


def _type_codes(identifier: Mapping[str, Any]) -> Iterator[str]:
    kind = identifier.get("type")
    codings = kind.get("coding") if isinstance(kind, dict) else None
    for coding in codings if isinstance(codings, list) else ():
        if isinstance(coding, dict) and isinstance(coding.get("code"), str):
            yield coding["code"]
