"""The operations of the registry's FHIR view as data, as `broker.gateway.registry_operations` has the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.core.mcsd import PARAMETERS, VIEWS
from broker.core.search_parameters import ParamType
from broker.gateway.registry_operations import FHIR_JSON, Operation, Parameter

BASE: Final = "/registry/fhir"
KIND: Final = "{kind}"

_TYPES: Final = {
    ParamType.STRING: "chaîne / string",
    ParamType.TOKEN: "système|code / system|code",
    ParamType.DATE: "date, à préfixe ou non / date, with a prefix or without",
    ParamType.REFERENCE: "référence / reference",
}
_NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_PAGING: Final = (
    Parameter("_count", _NUMBER, "Combien sur la page / How many on the page"),
    Parameter("_offset", _NUMBER, "Combien sont passés / How many are left out before it"),
)
_FORMAT: Final = Parameter(
    "_format",
    {"type": "string", "examples": ["json"]},
    "JSON seulement / JSON only",
)
_SINCE: Final = Parameter(
    "_since",
    {"type": "string", "examples": ["2026-01-10T09:00:00Z"]},
    "Depuis cet instant / From this instant on",
)
_MISSING: Final = ("request.not-found", "request.deleted")


def fhir_operations() -> Iterator[Operation]:
    """Each route once, with `{kind}` in it where it is one of several types."""
    yield from (_metadata(), *_of_kind(KIND, "Resource"))


def fhir_operations_by_kind() -> Iterator[Operation]:
    """Each operation that a client sees: a type's own, with what it can be searched by."""
    yield _metadata()
    for kind in VIEWS:
        yield from _of_kind(kind, kind)


def _metadata() -> Operation:
    return _view(
        "readCapabilities",
        "metadata",
        "/metadata",
        "Décrire cette vue / Describe this view",
        "CapabilityStatement",
    )


def _of_kind(kind: str, shown: str) -> Iterator[Operation]:
    one = f"/{kind}/{{id}}"
    searched = PARAMETERS.get(kind, {}).values()
    criteria = tuple(
        Parameter(one.name, {"type": "string"}, f"FHIR : {_TYPES[one.type]}") for one in searched
    )
    yield _view(
        f"search{shown}",
        "search",
        f"/{kind}",
        f"Chercher ({shown}) / Search ({shown})",
        "Bundle",
        (*criteria, *_PAGING),
        ("request.bad-value", "request.unknown-modifier"),
    )
    yield _view(
        f"history{shown}",
        "type_history",
        f"/{kind}/_history",
        f"Toutes les versions de tous ({shown}) / Every version of all ({shown})",
        "Bundle",
        (_SINCE, *_PAGING),
        ("request.bad-value",),
    )
    yield _view(
        f"read{shown}",
        "read",
        one,
        f"Lire ({shown}) / Read ({shown})",
        shown,
        errors=_MISSING,
        etag="weak",
    )
    yield _view(
        f"history{shown}Instance",
        "instance_history",
        f"{one}/_history",
        f"Toutes les versions d'un seul ({shown}) / Every version of one ({shown})",
        "Bundle",
        (_SINCE, *_PAGING),
        ("request.not-found", "request.bad-value"),
    )
    yield _view(
        f"vread{shown}",
        "vread",
        f"{one}/_history/{{vid}}",
        f"Lire une version ({shown}) / Read a version ({shown})",
        shown,
        errors=_MISSING,
        etag="weak",
    )


def _view(
    identifier: str,
    handler: str,
    path: str,
    summary: str,
    answer: str,
    parameters: tuple[Parameter, ...] = (),
    errors: tuple[str, ...] = (),
    *,
    etag: str = "",
) -> Operation:
    return Operation(
        identifier,
        handler,
        "GET",
        BASE + path,
        summary,
        answer,
        media=FHIR_JSON,
        etag=etag,
        parameters=(*parameters, _FORMAT),
        errors=(*errors, "registry.format"),
    )
