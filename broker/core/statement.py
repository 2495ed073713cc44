"""A manager's CapabilityStatement, read for what it declares
(http://hl7.org/fhir/R4/capabilitystatement.html).

What it declares is not what it does: `broker.federation.check` puts it to the test. Here a statement is read
with tolerance: whatever has the wrong shape counts as not declared, and nothing grows beyond the bounds
below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from broker.core.search_parameters import TYPES, lookup

FEDERATION_EXTENSION = "urn:cds-broker:federation"
"""Extension on `CapabilityStatement.implementation`: one `valueString` per federation reached, its own first.
"""

BROKER_SOFTWARE = "cds-broker"


def pseudonym(federation_id: str) -> str:
    """How a federation is named in the Via header of what its brokers pass on (RFC 9110, section 7.6.3)."""
    return f"{BROKER_SOFTWARE}-{federation_id}"


_MAX_ITEMS = 500
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement declares of the guide's six types; other types are left out.

    `formats` are `json`, `xml` or what was written; `search_params` are canonical names (the Consommateur
    statement's aliases are resolved); `includes` and `revincludes` are values as `CareTeam:subject`;
    `federations` are the ids of the federations a broker reaches, its own first.
    """

    fhir_version: str | None = None
    software: str | None = None
    formats: tuple[str, ...] = ()
    instantiates: tuple[str, ...] = ()
    interactions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    search_params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    includes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    revincludes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    system_interactions: tuple[str, ...] = ()
    broker: bool = False
    federations: tuple[str, ...] = ()

    @property
    def transaction(self) -> bool:
        return "transaction" in self.system_interactions


def read_statement(body: bytes) -> Statement | None:
    """The declared facts of a JSON CapabilityStatement; None where the bytes are no such resource."""
    try:
        raw = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return None
    if not isinstance(raw, dict) or raw.get("resourceType") != "CapabilityStatement":
        return None
    software = _object(raw.get("software"))
    name = _text(software.get("name"))
    server = next((rest for rest in _objects(raw.get("rest")) if rest.get("mode", "server") == "server"), {})
    resources = {item["type"]: item for item in _objects(server.get("resource")) if item.get("type") in TYPES}
    federations = _federations(_object(raw.get("implementation")))
    return Statement(
        fhir_version=_text(raw.get("fhirVersion")),
        software=" ".join(filter(None, (name, _text(software.get("version"))))) or None,
        formats=_unique(_format(text) for text in _texts(raw.get("format"))),
        instantiates=_unique(_texts(raw.get("instantiates"))),
        interactions={kind: _codes(item.get("interaction"), "code") for kind, item in resources.items()},
        search_params={
            kind: _unique(_canonical(kind, code) for code in _codes(item.get("searchParam"), "name"))
            for kind, item in resources.items()
        },
        includes={kind: _unique(_texts(item.get("searchInclude"))) for kind, item in resources.items()},
        revincludes={kind: _unique(_texts(item.get("searchRevInclude"))) for kind, item in resources.items()},
        system_interactions=_codes(server.get("interaction"), "code"),
        broker=name == BROKER_SOFTWARE or bool(federations),
        federations=federations,
    )


def _federations(implementation: Mapping[str, Any]) -> tuple[str, ...]:
    return _unique(
        text
        for extension in _objects(implementation.get("extension"))
        if extension.get("url") == FEDERATION_EXTENSION
        for text in _texts([extension.get("valueString")])
    )


def _canonical(resource_type: str, name: str) -> str:
    known = lookup(resource_type, name)
    return known.name if known else name


def _format(text: str) -> str:
    """`application/fhir+json;fhirVersion=4.0` and `json` are one format."""
    bare = text.partition(";")[0].strip().lower()
    for short in ("json", "xml"):
        if bare == short or bare.endswith((f"/{short}", f"+{short}")):
            return short
    return bare


def _codes(items: object, key: str) -> tuple[str, ...]:
    return _unique(_texts([item.get(key) for item in _objects(items)]))


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        for item in value[:_MAX_ITEMS]:
            if isinstance(item, dict):
                yield item


def _text(value: object) -> str | None:
    return value[:_MAX_TEXT] if isinstance(value, str) and value.strip() else None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value[:_MAX_ITEMS]:
            text = _text(item)
            if text is not None:
                yield text
