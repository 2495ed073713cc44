"""In which French departments an actor's addresses are: what a territory is made of (pure).

A commune's INSEE code (fr-core-address-insee-code) says its department by its first two characters, three overseas. A
postal code says it nearly always: a few communes are served from the next department, and Corsica has 20 for both of its
own (200xx and 201xx are 2A). So an INSEE code, where there is one, counts alone. The place of birth is no address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

INSEE_EXTENSION = "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-address-insee-code"
"""French core: `valueCoding.code` is the commune's code in TRE_R13."""

_POSTAL = re.compile(r"(\d{2})\s?(\d{3})(?:\s*CEDEX.*)?", re.IGNORECASE)
_COMMUNE = re.compile(r"(2[AB]\d{3}|\d{5})")
_DEPARTMENT = re.compile(r"0[1-9]|[1-8][0-9]|9[0-5]|2[AB]|97[1-8]|98[4678]")
_POSTAL_ISLANDS = {"97133": "977", "97150": "978"}  # Saint-Barthélemy and Saint-Martin keep codes of 971
_FRENCH = frozenset({"", "FR", "FRA", "FRANCE", "99100"})
_OVERSEAS = frozenset({"GP", "MQ", "GF", "RE", "PM", "YT", "BL", "MF", "TF", "WF", "PF", "NC"})
"""How a French address names its country: not at all, ISO 3166, in words, or by its INSEE code."""

_WEIGHT = {"home": 0, None: 1, "work": 2, "temp": 3, "billing": 4}


def departments_of(resource: Mapping[str, Any]) -> tuple[str, ...]:
    """Department codes (`35`, `2A`, `974`) of an actor's addresses, each once, the one that says most first.

    That is where somebody lives, then addresses without a use, then the others; those marked `old` are left out, and so are
    those abroad. Shapes that are not FHIR's say nothing.
    """
    addresses = resource.get("address")
    listed = addresses if isinstance(addresses, list) else [addresses]
    usable = [one for one in listed if isinstance(one, Mapping) and one.get("use") != "old"]
    ordered = sorted(usable, key=lambda address: _WEIGHT.get(_text(address.get("use")) or None, 9))
    return tuple(dict.fromkeys(code for address in ordered for code in _departments(address)))


def _departments(address: Mapping[str, Any]) -> Iterator[str]:
    country = _text(address.get("country")).upper()
    if country not in _FRENCH and country not in _OVERSEAS:
        return
    commune = next(_insee_codes(address), None)
    postal = _POSTAL.fullmatch(_text(address.get("postalCode")))
    code = ""
    if commune is not None:
        code = _of_commune(commune)
    elif postal is not None:
        code = _of_postal(postal[1] + postal[2])
    if _DEPARTMENT.fullmatch(code):
        yield code


def _insee_codes(address: Mapping[str, Any]) -> Iterator[str]:
    extensions = address.get("extension")
    for extension in extensions if isinstance(extensions, list) else ():
        if isinstance(extension, Mapping) and extension.get("url") == INSEE_EXTENSION:
            coding = extension.get("valueCoding")
            code = _text(coding.get("code")).upper() if isinstance(coding, Mapping) else ""
            if _COMMUNE.fullmatch(code):
                yield code


def _of_commune(code: str) -> str:
    return code[:3] if code.startswith(("97", "98")) else code[:2]


def _of_postal(code: str) -> str:
    if code in _POSTAL_ISLANDS:
        return _POSTAL_ISLANDS[code]
    if code.startswith("20"):
        return "2A" if code[2] in "01" else "2B"
    return _of_commune(code)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
