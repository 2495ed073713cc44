"""A manager's answer, read for merging: its entries in public terms, as bytes (federation, sections 1 and 3).

The body is never made into a tree. References are rewritten in the text of the whole body (`rewriting`), the
Bundle is decoded down to its entries and no further, and each resource's head is spliced (`resource_head`).
What one entry has wrong costs that entry alone and is noted; what the body has wrong costs the answer
(`ManagerError`, kind invalid).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, TypeVar

import msgspec

from broker.core import json_text
from broker.core.entry import Change, Entry
from broker.core.identity import ID, Origin
from broker.core.resource_head import NO_RESOURCE, EntryError, Restater
from broker.core.rewriting import outward, outward_url
from broker.errors import FailureKind, ManagerError
from registry.model import REGIONS

__all__ = ["Entry", "ManagerBundle", "read_history", "read_resource", "read_searchset"]

B = TypeVar("B", bound="_Bundle")


@dataclass(frozen=True, slots=True)
class ManagerBundle:
    """A searchset or history as read. `outcomes` are the manager's own OperationOutcomes, as bytes.

    `next_url` and `self_url` are as the manager gave them. `problems`: why entries were left out, each reason
    once. `size`: bytes of its text.
    """

    entries: tuple[Entry, ...]
    total: int | None = None
    next_url: str | None = None
    self_url: str | None = None
    outcomes: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()
    size: int = 0


_NOTHING = msgspec.Raw()


class _Search(msgspec.Struct, gc=False):
    mode: str | None = None


class _Request(msgspec.Struct, gc=False):
    method: str = ""
    url: str = ""


class _Response(msgspec.Struct, rename="camel", gc=False):
    status: str | None = None
    location: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    outcome: msgspec.Raw = _NOTHING


class _Link(msgspec.Struct, gc=False):
    relation: str = ""
    url: str = ""


class _Found(msgspec.Struct, gc=False):
    resource: msgspec.Raw = _NOTHING
    search: _Search | None = None


class _Past(msgspec.Struct, rename="camel", gc=False):
    resource: msgspec.Raw = _NOTHING
    full_url: str = ""
    request: _Request | None = None
    response: _Response | None = None


class _Bundle(msgspec.Struct, rename="camel", gc=False):
    resource_type: Literal["Bundle"]
    total: int | None = None
    link: list[_Link] = []


class _Searchset(_Bundle, rename="camel", gc=False):
    entry: list[_Found] = []


class _History(_Bundle, rename="camel", gc=False):
    entry: list[_Past] = []


_identity: Callable[[Entry], tuple[str, str]] = attrgetter("type", "public_id")
_decode_searchset = msgspec.json.Decoder(_Searchset).decode
_decode_history = msgspec.json.Decoder(_History).decode


def read_searchset(
    body: bytes, origin: Origin, searched_type: str, aliases: dict[str, str], origins: Iterable[Origin] = ()
) -> ManagerBundle:
    """A manager's answer to a search for `searched_type`; `aliases`, `origins` and modes: see `Restater`.

    A resource that comes twice is kept once, as a match where it was one.
    """
    bundle = _decoded(body, origin, aliases, _decode_searchset)
    restate = Restater(origin, aliases, searched_type, origins).restate
    entries: list[Entry] = []
    outcomes: list[bytes] = []
    problems: dict[str, None] = {}
    for found in bundle.entry:
        search = found.search
        try:
            entry = restate(bytes(found.resource), None if search is None else search.mode)
        except EntryError as error:
            problems[error.key] = None
        else:
            if entry.mode == "outcome":
                outcomes.append(entry.raw)
            else:
                entries.append(entry)
    return _read(bundle, _once(entries), outcomes, problems, len(body))


def _once(entries: list[Entry]) -> Iterable[Entry]:
    if len({entry.public_id for entry in entries}) == len(entries):
        return entries
    first: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        there = first.setdefault(_identity(entry), entry)
        if there.mode != "match" and entry.mode == "match":
            first[_identity(entry)] = entry
    return first.values()


def read_history(
    body: bytes, origin: Origin, aliases: dict[str, str], origins: Iterable[Origin] = ()
) -> ManagerBundle:
    """A manager's history Bundle, in its own order. The `raw` of a deletion is empty.

    An entry without a resource is either one of the manager's own outcomes (`response.outcome`), or a deletion:
    its identity is that of `request.url` or `fullUrl`, its version that of `response`.
    """
    bundle = _decoded(body, origin, aliases, _decode_history)
    restate = Restater(origin, aliases, None, origins).restate
    entries: list[Entry] = []
    outcomes: list[bytes] = []
    problems: dict[str, None] = {}
    for past in bundle.entry:
        raw = bytes(past.resource)
        if not raw and past.response is not None and (stated := bytes(past.response.outcome)):
            outcomes.append(stated)
            continue
        try:
            entry = restate(raw) if raw else _without_resource(past, origin, aliases)
        except EntryError as error:
            problems[error.key] = None
            continue
        if entry.mode == "outcome":
            outcomes.append(entry.raw)
        else:
            entries.append(_changed(entry, _change(past, origin, aliases)))
    return _read(bundle, entries, outcomes, problems, len(body))


def read_resource(
    body: bytes,
    origin: Origin,
    expected_type: str,
    aliases: dict[str, str],
    origins: Iterable[Origin] = (),
) -> Entry:
    """A manager's answer to a read or vread. Another type, or an id outside FHIR's rule, makes it invalid."""
    try:
        text = outward(json_text.utf8(body).strip(), origin, aliases)
        json_text.check(text)
        entry = Restater(origin, aliases, None, origins).restate(text)
    except (EntryError, json_text.JsonError) as error:
        raise _invalid(origin) from error
    if entry.type != expected_type:
        raise _invalid(origin)
    return entry


def _decoded(body: bytes, origin: Origin, aliases: dict[str, str], decode: Callable[[bytes], B]) -> B:
    try:
        return decode(outward(json_text.utf8(body), origin, aliases))
    except (msgspec.DecodeError, RecursionError, json_text.JsonError) as error:
        raise _invalid(origin) from error


def _read(
    bundle: _Bundle, entries: Iterable[Entry], outcomes: Iterable[bytes], problems: Iterable[str], size: int
) -> ManagerBundle:
    links = {link.relation: link.url for link in bundle.link}
    return ManagerBundle(
        entries=tuple(entries),
        total=bundle.total if bundle.total is not None and bundle.total >= 0 else None,
        next_url=links.get("next") or None,
        self_url=links.get("self") or None,
        outcomes=tuple(outcomes),
        problems=tuple(problems),
        size=size,
    )


def _without_resource(past: _Past, origin: Origin, aliases: dict[str, str]) -> Entry:
    """A deletion, known by the addresses that its entry names. Raises `EntryError` where they are not ours."""
    for url in (past.request.url if past.request is not None else "", past.full_url):
        public = outward_url(url, origin, aliases)
        if public is not None:
            kind, public_id = public.removeprefix(origin.public_base + "/").split("/")[:2]
            local = aliases.get(public_id) or public_id.removeprefix(origin.slug + ".")
            return Entry("match", kind, local, public_id, None, None, origin.base_url, (), b"")
    raise EntryError(NO_RESOURCE)


def _change(past: _Past, origin: Origin, aliases: dict[str, str]) -> Change:
    request, response = past.request or _Request(), past.response or _Response()
    return Change(
        method=request.method or ("PUT" if bytes(past.resource) else "DELETE"),
        status=response.status,
        etag=response.etag,
        last_modified=response.last_modified,
        location=outward_url(response.location, origin, aliases) if response.location else None,
    )


def _changed(entry: Entry, change: Change) -> Entry:
    """With version and instant from the response where the resource does not give them."""
    version = entry.version_id
    if version is None and change.etag is not None:
        stated = change.etag.removeprefix("W/").strip('"')
        version = stated if ID.fullmatch(stated) is not None else None
    if version is None and change.location is not None and "/_history/" in change.location:
        version = change.location.rpartition("/")[2]
    return msgspec.structs.replace(
        entry,
        version_id=version,
        last_updated=entry.last_updated or change.last_modified,
        change=change,
    )


def _invalid(origin: Origin) -> ManagerError:
    region = REGIONS.get(origin.region, origin.region)
    return ManagerError(FailureKind.INVALID, slug=origin.slug, name=origin.name, region=region)
