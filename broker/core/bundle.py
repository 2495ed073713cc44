"""A manager's answer, read for merging: its entries in public terms, as bytes (federation, sections 1 and 3).

The body is never made into a tree. References are rewritten in the text of the whole body (`rewriting`), the
Bundle is decoded down to its entries and no further, and each resource's head is spliced (`resource_head`).
What one entry has wrong costs that entry alone and is noted; what the body has wrong costs the answer
(`ManagerError`, kind invalid).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from broker.core import json_text
from broker.core.identity import ID, Origin
from broker.core.resource_head import Head, IdError, Restater, Tag
from broker.core.rewriting import outward, outward_url
from broker.errors import FailureKind, ManagerError
from registry.model import REGIONS

Mode = Literal["match", "include", "outcome"]
Identifier = tuple[str | None, str]

BAD_ID = "manager.entry-id"
UNREADABLE = "manager.entry-unreadable"
NO_RESOURCE = "manager.entry-empty"
"""Why entries were left out: keys of `MESSAGES`."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """What a history entry tells of the interaction. `location` is public, or None where it was not the
    manager's."""

    method: str
    status: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    location: str | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One resource of a manager. `raw` is its JSON in public terms; empty for a deletion in a history.

    `last_updated` is the text as the manager gave it. `version_id` is the manager's own.
    """

    type: str
    local_id: str
    public_id: str
    version_id: str | None
    last_updated: str | None
    source: str | None
    tags: tuple[Tag, ...]
    raw: bytes
    mode: Mode = "match"
    change: Change | None = None

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """The business identifiers (system, value), read from `raw` at each call; those without a value left
        out."""
        return identifiers(self.raw)


@dataclass(frozen=True, slots=True)
class ManagerBundle:
    """A searchset or history as read. `outcomes` are the manager's own OperationOutcomes, as bytes.

    `next_url` and `self_url` are as the manager gave them. `problems`: why entries were left out, each reason
    once.
    """

    entries: tuple[Entry, ...]
    total: int | None = None
    next_url: str | None = None
    self_url: str | None = None
    outcomes: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()


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


class _Link(msgspec.Struct, gc=False):
    relation: str = ""
    url: str = ""


_NOTHING = msgspec.Raw()


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


class _Identifier(msgspec.Struct, gc=False):
    system: str | None = None
    value: str | None = None


class _Identified(msgspec.Struct, gc=False):
    identifier: list[_Identifier] | _Identifier = []


_decode_searchset = msgspec.json.Decoder(_Searchset).decode
_decode_history = msgspec.json.Decoder(_History).decode
_decode_identified = msgspec.json.Decoder(_Identified).decode


def read_searchset(
    body: bytes, origin: Origin, searched_type: str, aliases: dict[str, str], origins: Iterable[Origin] = ()
) -> ManagerBundle:
    """A manager's answer to a search for `searched_type`. Aliases made are added to `aliases`.

    Only a resource of the searched type is a match, whatever `search.mode` says; one without a mode is. A
    resource that comes twice is kept once, as a match where it was one. `origins`: see `Restater`.
    """
    try:
        bundle = _decode_searchset(outward(json_text.utf8(body), origin, aliases))
    except (msgspec.DecodeError, RecursionError, json_text.JsonError) as error:
        raise _invalid(origin) from error
    reading = _Reading(Restater(origin, aliases, origins))
    entries: dict[tuple[str, str], Entry] = {}
    for found in bundle.entry:
        head = reading.head(bytes(found.resource))
        if head is None:
            continue
        mode = found.search.mode if found.search is not None else None
        is_match = head[0] == searched_type and mode != "include"
        if not is_match and head[0] == "OperationOutcome":
            reading.outcomes.append(head[7])
            continue
        key = head[0], head[2]
        if key not in entries or (is_match and entries[key].mode != "match"):
            entries[key] = Entry(*head, "match" if is_match else "include")
    return reading.bundle(bundle, entries.values())


def read_history(
    body: bytes, origin: Origin, aliases: dict[str, str], origins: Iterable[Origin] = ()
) -> ManagerBundle:
    """A manager's history Bundle, in its own order. A deletion has no resource: `raw` is empty.

    Where there is no resource, the identity is that of `request.url` or `fullUrl`, the version that of
    `response`.
    """
    try:
        bundle = _decode_history(outward(json_text.utf8(body), origin, aliases))
    except (msgspec.DecodeError, RecursionError, json_text.JsonError) as error:
        raise _invalid(origin) from error
    reading = _Reading(Restater(origin, aliases, origins))
    entries: list[Entry] = []
    for past in bundle.entry:
        raw = bytes(past.resource)
        change = _change(past, origin, aliases)
        head = reading.head(raw) if raw else _deleted(past, origin, aliases)
        if head is not None and head.type == "OperationOutcome":
            reading.outcomes.append(head.raw)
        elif head is not None:
            entries.append(Entry(*_dated(head, change), "match", change))
        elif not raw:
            reading.problem(NO_RESOURCE)
    return reading.bundle(bundle, entries)


def read_resource(
    body: bytes,
    origin: Origin,
    expected_type: str,
    aliases: dict[str, str],
    origins: Iterable[Origin] = (),
) -> Entry:
    """A manager's answer to a read or vread. A resource of another type, or without a right id, is
    invalid."""
    try:
        text = outward(json_text.utf8(body).strip(), origin, aliases)
        json_text.check(text)
        if json_text.too_deep(text):
            raise json_text.JsonError("too deep")
        head = Restater(origin, aliases, origins).restate(text)
    except (IdError, json_text.JsonError) as error:
        raise _invalid(origin) from error
    if head.type != expected_type:
        raise _invalid(origin)
    return Entry(*head)


def identifiers(raw: bytes) -> tuple[Identifier, ...]:
    """The top-level `identifier` of a resource as (system, value) pairs; none where it is not as FHIR has
    it."""
    try:
        found = _decode_identified(raw).identifier
    except msgspec.DecodeError:
        return ()
    each = found if isinstance(found, list) else [found]
    return tuple((one.system, one.value) for one in each if one.value)


class _Reading:
    """What gathers while entries are read: outcomes and problems."""

    def __init__(self, restater: Restater) -> None:
        self.outcomes: list[bytes] = []
        self._restate = restater.restate
        self._problems: dict[str, None] = {}

    def problem(self, key: str) -> None:
        self._problems[key] = None

    def head(self, raw: bytes) -> Head | None:
        if not raw or json_text.too_deep(raw):
            self.problem(UNREADABLE if raw else NO_RESOURCE)
            return None
        try:
            return self._restate(raw)
        except IdError:
            self.problem(BAD_ID)
        except json_text.JsonError:
            self.problem(UNREADABLE)
        return None

    def bundle(self, bundle: _Bundle, entries: Iterable[Entry]) -> ManagerBundle:
        links = {link.relation: link.url for link in bundle.link}
        total = bundle.total if bundle.total is not None and bundle.total >= 0 else None
        return ManagerBundle(
            entries=tuple(entries),
            total=total,
            next_url=links.get("next") or None,
            self_url=links.get("self") or None,
            outcomes=tuple(self.outcomes),
            problems=tuple(self._problems),
        )


def _change(past: _Past, origin: Origin, aliases: dict[str, str]) -> Change:
    request, response = past.request or _Request(), past.response or _Response()
    return Change(
        method=request.method or ("PUT" if bytes(past.resource) else "DELETE"),
        status=response.status,
        etag=response.etag,
        last_modified=response.last_modified,
        location=outward_url(response.location, origin, aliases) if response.location else None,
    )


def _deleted(past: _Past, origin: Origin, aliases: dict[str, str]) -> Head | None:
    """The head of an entry without a resource, from the addresses it names; None where they name none of
    ours."""
    for url in (past.request.url if past.request else "", past.full_url):
        public = outward_url(url, origin, aliases)
        if public is not None:
            kind, _, rest = public[len(origin.public_base) + 1 :].partition("/")
            public_id = rest.partition("/")[0]
            local = aliases.get(public_id, public_id[len(origin.slug) + 1 :])
            return Head(kind, local, public_id, None, None, origin.base_url, (), b"")
    return None


def _dated(head: Head, change: Change) -> Head:
    """Version and instant from the response where the resource does not give them."""
    version = head.version_id
    if version is None and change.etag:
        stated = change.etag.removeprefix("W/").strip('"')
        version = stated if ID.fullmatch(stated) else None
    if version is None and change.location and "/_history/" in change.location:
        version = change.location.rpartition("/")[2]
    return head._replace(version_id=version, last_updated=head.last_updated or change.last_modified)


def _invalid(origin: Origin) -> ManagerError:
    region = REGIONS.get(origin.region, origin.region)
    return ManagerError(FailureKind.INVALID, slug=origin.slug, name=origin.name, region=region)
