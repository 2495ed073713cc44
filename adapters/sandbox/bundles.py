"""Bundles written around resources' own bytes: searchset, history, transaction-response."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson

from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Version, fhir_instant
from adapters.sandbox.subset import Trim
from adapters.sandbox.writes import Written
from broker.core.preferences import Return

Links = Sequence[tuple[str, str]]
"""(relation, url) in the order shown."""


def bundle(
    kind: str, instant: str, entries: Sequence[bytes], *, links: Links = (), total: int | None = None
) -> bytes:
    """A Bundle of a type; `total` and what is empty are left out."""
    head: dict[str, Any] = {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"lastUpdated": instant},
        "type": kind,
    }
    if total is not None:
        head["total"] = total
    if links:
        head["link"] = [{"relation": relation, "url": url} for relation, url in links]
    encoded = orjson.dumps(head)
    return encoded[:-1] + b',"entry":[' + b",".join(entries) + b"]}" if entries else encoded


def search_entry(version: Version, mode: str, trim: Trim, base: str, options: SandboxOptions) -> bytes:
    """One entry of a searchset, `mode` match or include, with what the options leave of it."""
    before = {} if options.no_full_url else {"fullUrl": f"{base}/{version.reference}"}
    after = {} if options.no_search_mode else {"search": {"mode": mode}}
    return _entry(before, trim(version.type, version.raw), after)


def history_entry(version: Version, base: str) -> bytes:
    """One entry of a history; a deletion has no resource."""
    before = {"fullUrl": f"{base}/{version.reference}"}
    status = HTTPStatus.NO_CONTENT if version.deleted else HTTPStatus.OK
    if version.number == 1:
        status = HTTPStatus.CREATED
    after = {
        "request": {
            "method": version.method,
            "url": version.type if version.method == "POST" else version.reference,
        },
        "response": _response(version, status),
    }
    return _entry(before, version.raw, after)


def transaction_entry(
    written: Written, base: str, prefer: Return | None, outcome: Mapping[str, Any]
) -> bytes:
    """One entry of a transaction-response, with the resource, nothing or `outcome`, as the client prefers."""
    version = written.version
    response = _response(version, HTTPStatus(written.status))
    if prefer is Return.OPERATION_OUTCOME:
        response["outcome"] = outcome
    shown = prefer in {None, Return.REPRESENTATION}
    before = {"fullUrl": f"{base}/{version.reference}"}
    return _entry(before, version.raw if shown else b"", {"response": response})


def _response(version: Version, status: HTTPStatus) -> dict[str, Any]:
    response: dict[str, Any] = {"status": f"{status.value} {status.phrase}"}
    if not version.deleted:
        response["location"] = version.location
    return response | {"etag": version.etag, "lastModified": fhir_instant(version.instant)}


def _entry(before: Mapping[str, Any], raw: bytes, after: Mapping[str, Any]) -> bytes:
    parts = [orjson.dumps(before)[1:-1], b'"resource":' + raw if raw else b"", orjson.dumps(after)[1:-1]]
    return b"{" + b",".join(part for part in parts if part) + b"}"
