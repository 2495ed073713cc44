"""JSON or XML: content negotiation (FHIR R4, http.html#mime-type; RFC 9110, sections 8.3 and 12.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from broker.errors import RequestError

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


class Format(StrEnum):
    JSON = "json"
    XML = "xml"

    @property
    def content_type(self) -> str:
        return f"application/fhir+{self.value}; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Weighted:
    """One item of an `Accept…` list; `value` and the names of `parameters` are in lower case."""

    value: str
    parameters: tuple[tuple[str, str], ...]
    quality: float


_TYPES: dict[str, Format] = {
    "application/fhir+json": Format.JSON,
    "application/json": Format.JSON,
    "text/json": Format.JSON,
    "application/fhir+xml": Format.XML,
    "application/xml": Format.XML,
    "text/xml": Format.XML,
}
_SHORT = {"json": Format.JSON, "xml": Format.XML}


def weighted(header: str) -> Iterator[Weighted]:
    """The items of a header list with their `q`, in the order given; a malformed `q` drops its item."""
    for item in split_unquoted(header, ","):
        value, parameters = _split(item)
        quality = next((text for name, text in parameters if name == "q"), "1")
        if value and _QUALITY.fullmatch(quality):
            others = tuple(pair for pair in parameters if pair[0] != "q")
            yield Weighted(value, others, float(quality))


def split_unquoted(header: str, separator: str) -> list[str]:
    """`header` split on a separator that stands in no quoted string (RFC 9110, section 5.6.4)."""
    if '"' not in header:
        return header.split(separator)
    parts: list[str] = []
    start, quoted, escaped = 0, False, False
    for position, character in enumerate(header):
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif quoted:
            escaped = character == "\\"
        elif character == separator:
            parts.append(header[start:position])
            start = position + 1
    return [*parts, header[start:]]


def negotiate(format_param: str | None, accept: str | None) -> Format:
    """The format to answer in. `_format` overrides `Accept`; nothing stated or anything accepted: JSON.

    Raises `RequestError` request.format where neither JSON nor XML is acceptable.
    """
    if format_param and format_param.strip():
        # A `+` that the client did not escape arrives as a blank.
        value, parameters = _split(format_param.strip().replace("/fhir ", "/fhir+"))
        chosen = _SHORT.get(value) or _TYPES.get(value)
        if chosen is None or not _is_r4(parameters):
            raise RequestError("request.format")
        return chosen
    if not accept or not accept.strip():
        return Format.JSON
    ranges = [item for item in weighted(accept) if _is_r4(item.parameters)]
    values = {item.value for item in ranges if item.quality > 0}
    if {"text/html", "*/*"} <= values:  # a browser: its `application/xml;q=0.9` means XHTML, not FHIR
        return Format.JSON
    ranked = [(*_rank(ranges, chosen), chosen) for chosen in (Format.XML, Format.JSON)]
    quality, _, _, best = max(ranked, key=lambda rank: (rank[:3], rank[3] is Format.JSON))
    if quality <= 0:
        raise RequestError("request.format")
    return best


def parse_content_type(value: str | None) -> Format:
    """The format of a body. Raises `RequestError` request.content-type for anything but FHIR R4 in UTF-8."""
    media, parameters = _split(value or "")
    found = _TYPES.get(media)
    charset = next((text for name, text in parameters if name == "charset"), "utf-8")
    if found is None or charset.lower() not in {"utf-8", "utf8"} or not _is_r4(parameters):
        raise RequestError("request.content-type")
    return found


def _split(item: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    value, *rest = split_unquoted(item, ";")
    pairs = (part.partition("=") for part in rest)
    parameters = tuple((name.strip().lower(), text.strip().strip('"')) for name, _, text in pairs)
    return value.strip().lower(), parameters


def _is_r4(parameters: Sequence[tuple[str, str]]) -> bool:
    """Whether the media type's `fhirVersion` (FHIR R4, versioning.html) is absent or this one."""
    return all(text in {"4.0", "4.0.1"} for name, text in parameters if name == "fhirversion")


def _rank(ranges: Sequence[Weighted], chosen: Format) -> tuple[float, int, int]:
    """How well a format suits: the best quality among its media types, how exactly it is named, how early."""
    best = (0.0, 0, 0)
    for media, kind in _TYPES.items():
        if kind is not chosen:
            continue
        matches = [
            (_precision(item.value, media), -position, item.quality) for position, item in enumerate(ranges)
        ]
        precision, position, quality = max(matches, default=(0, 0, 0.0))
        if precision:
            best = max(best, (quality, precision, position))
    return best


def _precision(media_range: str, media: str) -> int:
    """3 for the media type itself, 2 for `type/*`, 1 for `*/*`, 0 for no match (RFC 9110, section 12.5.1)."""
    if media_range == media:
        return 3
    if media_range == media.partition("/")[0] + "/*":
        return 2
    return int(media_range in {"*/*", "*"})
