"""The federation's own Bundles, put together from resources that stay the bytes they are (FHIR R4, Bundle)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from broker.core.entry import Change, Entry

Links = Sequence[tuple[str, str]]
"""(relation, absolute URL), in the order they are to stand."""

_MATCH = b',"search":{"mode":"match"}},'
_INCLUDE = b',"search":{"mode":"include"}},'


def write_searchset(
    public_base: str,
    entries: Iterable[Entry],
    *,
    links: Links = (),
    total: int | None = None,
    outcome: bytes | None = None,
    bundle_id: str | None = None,
    last_updated: str | None = None,
) -> bytes:
    """A searchset in UTF-8 JSON: matches, then includes, each in the order given, then the one outcome entry.

    `total` is left out where it is None. `outcome` is an OperationOutcome in JSON. `last_updated` is an
    instant.
    """
    base = orjson.dumps(public_base.rstrip("/"))[:-1].decode()
    matches: list[Entry] = []
    includes: list[Entry] = []
    for entry in entries:
        (matches if entry.mode == "match" else includes).append(entry)
    pieces = _searched(matches, base, _MATCH) + _searched(includes, base, _INCLUDE)
    if outcome is not None:
        pieces += (b'{"resource":', outcome, b',"search":{"mode":"outcome"}},')
    return _bundle("searchset", pieces, links, total, bundle_id, last_updated)


def _searched(entries: list[Entry], base: str, mode: bytes) -> list[bytes]:
    pieces = [mode] * (3 * len(entries))
    pieces[0::3] = [
        f'{{"fullUrl":{base}/{entry.type}/{entry.public_id}","resource":'.encode() for entry in entries
    ]
    pieces[1::3] = [entry.raw for entry in entries]
    return pieces


def write_history(
    public_base: str,
    entries: Iterable[Entry],
    *,
    links: Links = (),
    total: int | None = None,
    outcome: bytes | None = None,
    asked: str = "CareTeam/_history",
    bundle_id: str | None = None,
    last_updated: str | None = None,
) -> bytes:
    """A history in UTF-8 JSON, in the order given, with `request` and `response` (FHIR R4, http#history).

    An OperationOutcome, where some managers could not be asked, is the `response.outcome` of a last entry for what
    was `asked`: in a history no entry may do without request and response (invariants bdl-3 and bdl-4).
    """
    base = public_base.rstrip("/")
    parts: list[bytes] = []
    for entry in entries:
        parts += (
            b'{"fullUrl":',
            orjson.dumps(f"{base}/{entry.type}/{entry.public_id}"),
            b',"resource":' + entry.raw if entry.raw else b"",
            b',"request":',
            orjson.dumps(_request(entry)),
            b',"response":',
            orjson.dumps(_response(entry)),
            b"},",
        )
    if outcome is not None:
        request = orjson.dumps({"method": "GET", "url": asked})
        parts += (b'{"request":', request, b',"response":{"status":"200","outcome":', outcome, b"}},")
    return _bundle("history", parts, links, total, bundle_id, last_updated)


def _request(entry: Entry) -> dict[str, str]:
    method = entry.change.method if entry.change is not None else "PUT"
    url = entry.type if method == "POST" else f"{entry.type}/{entry.public_id}"
    return {"method": method, "url": url}


def _response(entry: Entry) -> dict[str, str]:
    change = entry.change or Change(method="PUT")
    default = {"POST": "201", "DELETE": "204"}.get(change.method, "200")
    stated = {
        "status": change.status or default,
        "location": change.location,
        "etag": change.etag or (f'W/"{entry.version_id}"' if entry.version_id else None),
        "lastModified": change.last_modified or entry.last_updated,
    }
    return {name: value for name, value in stated.items() if value is not None}


def _bundle(
    kind: str,
    entries: list[bytes],
    links: Links,
    total: int | None,
    bundle_id: str | None,
    last_updated: str | None,
) -> bytes:
    """The Bundle around its entries. `entries` are pieces of text, each entry with a comma at its end."""
    head: dict[str, object] = {"resourceType": "Bundle"}
    if bundle_id is not None:
        head["id"] = bundle_id
    if last_updated is not None:
        head["meta"] = {"lastUpdated": last_updated}
    head["type"] = kind
    if total is not None:
        head["total"] = total
    if links:
        head["link"] = [{"relation": relation, "url": url} for relation, url in links]
    text = orjson.dumps(head)
    if not entries:
        return text
    entries[-1] = entries[-1].rstrip(b",")
    return b"".join((text[:-1], b',"entry":[', *entries, b"]}"))
