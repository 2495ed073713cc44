"""The agent's own manager: asked by business identifier, written to in its own terms (FHIR R4, http.html).

Answers are judged here. What says nothing of the event but of the manager is a `ManagerError`, to be waited for or tried
again; what the manager does not take is `TurnedDownError`; what is not as it was when it was looked at is `ChangedError`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from broker.core import json_text
from broker.core.entry import Entry
from broker.core.identity import ID
from broker.core.manager_failure import failed, kind_of_status
from broker.core.plain_head import read_head
from broker.core.preferences import Preferences
from broker.core.query_values import escape
from broker.core.replica_marks import is_copy_of
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.manager_calls import ManagerCalls
from broker.ports import Clock, ManagerAnswer, ManagerClient, ManagerRequest
from registry.locator_model import Identifier
from registry.model import Gestionnaire, Skills

VIA = "1.1 cds-broker-agent"

_FRESH = {"Cache-Control": "no-cache"}
"""Some servers keep answers to searches for a while."""

_INCLUDES = (
    ("_include", "CareTeam:subject"),
    ("_include", "CareTeam:participant"),
    ("_include", "CareTeam:managingOrganization"),
    ("_include:iterate", "PractitionerRole:practitioner"),
    ("_include:iterate", "PractitionerRole:organization"),
    ("_include:iterate", "RelatedPerson:patient"),
    ("_include:iterate", "Organization:partof"),
)
"""A circle's actors in one exchange, where the manager does that."""

_COUNT = ("_count", "20")
_PAGE = ("_count", "200")
_MAX_PAGES = 2000
_CIRCLE = "CareTeam"
_LOCATION = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]*)?")
_ETAG = re.compile(r'(?:W/)?"([A-Za-z0-9\-.]{1,64})"')
_ISSUE_CODE = re.compile(r"[a-z][a-z\-]{1,30}")
_CHANGED = frozenset({404, 409, 410, 412})
_GONE = frozenset({404, 410})
_KEEPS = frozenset({403, 405, 409, 501})
"""What servers say that do not delete, or not this one, which others refer to."""

_NO_RIGHT = 403
_FOUND = 200


class TurnedDownError(Exception):
    """The manager does not take what it was sent. `detail`: its status and issue codes, nothing of its texts."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ChangedError(Exception):
    """What was to be written is not as it was when it was looked at: look again."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a create made. `local_id`: None where the manager does not say. `found`: it was there already."""

    local_id: str | None
    version_id: str | None
    found: bool


@dataclass(slots=True)
class AgentManager:
    """`timeout`: seconds for the exchanges about one event, after which the manager counts as not answering."""

    manager: Gestionnaire
    client: ManagerClient
    clock: Clock
    timeout: float = 30.0
    _calls: ManagerCalls = field(init=False)
    _no_source: bool = False

    def __post_init__(self) -> None:
        self._calls = ManagerCalls(self.manager, Skills(), self.client)

    def context(self, trace: str) -> RequestContext:
        """For the exchanges about one event. `trace`: its id, by which both sides find it in their logs."""
        return RequestContext(
            request_id=trace,
            caller="agent",
            language="en",
            preferences=Preferences(),
            deadline=self.clock.monotonic() + self.timeout,
            via=VIA,
            clock=self.clock,
        )

    async def by_identifier(
        self, kind: str, identifier: Identifier, context: RequestContext, *, actors: bool = False
    ) -> list[Entry]:
        """What the manager finds under a business identifier; `actors`: with those that a circle refers to.

        Whether it really has that identifier is the caller's to see: a manager that does not know the parameter shows
        anything. Raises `ManagerError`, and `TurnedDownError` where it does not take such a search.
        """
        system, value = identifier
        pairs = [("identifier", f"{escape(system)}|{escape(value)}"), _COUNT]
        return self._read(await self._searched(kind, [*pairs, *_INCLUDES] if actors else pairs, context))

    async def by_address(self, address: str, context: RequestContext, *, thorough: bool) -> list[Entry]:
        """The replicas of the circle at a public address. Raises as `by_identifier` does.

        A manager that cannot be searched by `_source` is not asked again; `thorough`: all its circles are looked through,
        which only what is seldom is worth.
        """
        if not self._no_source:
            found = self._read(await self._searched(_CIRCLE, [("_source", escape(address)), _COUNT], context))
            if all(is_copy_of(one, address) for one in found):
                return found
            self._no_source = True
        if not thorough:
            return []
        return [one async for one in self._circles(context) if is_copy_of(one, address)]

    async def create(self, kind: str, body: bytes, criterion: str | None, context: RequestContext) -> Made:
        """Raises `ChangedError` where several of this criterion are there by now."""
        answer = await self._send(
            "POST", kind, body, context, {} if criterion is None else {"If-None-Exist": criterion}
        )
        if answer.status == 412:
            raise ChangedError
        self._taken(answer, kind)
        return Made(_local_id(answer, kind), _version(answer), found=answer.status == _FOUND)

    async def update(
        self, kind: str, local_id: str, version: str | None, body: bytes, context: RequestContext
    ) -> str | None:
        """Its version from now on, where the manager says it.

        Raises `ChangedError` where it is not of this version any more, or gone; None: whatever version it is of.
        """
        headers = {} if version is None else {"If-Match": f'W/"{version}"'}
        answer = await self._send("PUT", f"{kind}/{local_id}", body, context, headers)
        if answer.status in _CHANGED:
            raise ChangedError
        self._taken(answer, kind)
        return _version(answer)

    async def delete(self, kind: str, local_id: str, context: RequestContext) -> bool:
        """Whether it is gone; False: the manager does not delete it. Raises `ManagerError`, `TurnedDownError`."""
        target = f"{kind}/{local_id}"
        answer = await self._calls.send(ManagerRequest("DELETE", target, headers=context.headers()), context)
        if answer.status in _KEEPS:
            return False
        if answer.status in _GONE:
            # Which may also be how it says that it does not know the interaction.
            return (await self._calls.get(target, context, headers=_FRESH)).status in _GONE
        self._taken(answer, kind)
        return True

    async def _circles(self, context: RequestContext) -> AsyncIterator[Entry]:
        body = await self._searched(_CIRCLE, [_PAGE], context)
        for _ in range(_MAX_PAGES):
            for one in self._read(body):
                yield one
            following = self._calls.next_url(_next(body))
            if following is None:
                return
            body = await self._calls.follow(following, self.context(context.request_id))

    async def _searched(self, kind: str, pairs: list[tuple[str, str]], context: RequestContext) -> bytes:
        try:
            return await self._calls.search(kind, pairs, context, headers=_FRESH)
        except ManagerError as error:
            if error.kind is FailureKind.REJECTED:
                raise TurnedDownError(f"{kind} search {error.status}") from error
            raise

    async def _send(
        self, method: str, target: str, body: bytes, context: RequestContext, headers: Mapping[str, str]
    ) -> ManagerAnswer:
        sent = {
            **context.headers(),
            "Content-Type": "application/fhir+json",
            "Prefer": "return=minimal",
            **headers,
        }
        return await self._calls.send(ManagerRequest(method, target, headers=sent, body=body), context)

    def _taken(self, answer: ManagerAnswer, kind: str) -> None:
        failure = kind_of_status(answer.status)
        if failure is None:
            return
        if failure is FailureKind.REJECTED:
            raise TurnedDownError(" ".join((kind, str(answer.status), *_issue_codes(answer.body))))
        raise failed(self.manager, failure, status=answer.status)

    def _read(self, body: bytes) -> list[Entry]:
        """The resources of a searchset, whatever their types; entries that are none are passed over."""
        try:
            bundle = _decode_searchset(json_text.utf8(body))
        except (msgspec.DecodeError, RecursionError, json_text.JsonError) as error:
            raise failed(self.manager, FailureKind.INVALID, detail="searchset") from error
        if bundle.resource_type != "Bundle":
            raise failed(self.manager, FailureKind.INVALID, detail="searchset")
        found = []
        for entry in bundle.entry:
            raw = bytes(entry.resource)
            try:
                head = read_head(raw)
            except json_text.JsonError:
                continue
            # In the manager's own terms: its ids are the only ones here.
            found.append(
                Entry(
                    "match",
                    head.type,
                    head.id,
                    head.id,
                    head.version_id,
                    head.last_updated,
                    head.source,
                    head.tags,
                    raw,
                )
            )
        return found


class _Found(msgspec.Struct, gc=False):
    resource: msgspec.Raw = msgspec.Raw()


class _Link(msgspec.Struct, gc=False):
    relation: str = ""
    url: str = ""


class _Searchset(msgspec.Struct, rename="camel", gc=False):
    resource_type: str
    link: list[_Link] = []
    entry: list[_Found] = []


class _Head(msgspec.Struct, rename="camel", gc=False):
    resource_type: str = ""
    id: str = ""


class _Issue(msgspec.Struct, gc=False):
    code: str = ""


class _Outcome(msgspec.Struct, gc=False):
    issue: list[_Issue] = []


_decode_searchset = msgspec.json.Decoder(_Searchset).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_outcome = msgspec.json.Decoder(_Outcome).decode


def _next(body: bytes) -> str | None:
    links = {link.relation: link.url for link in _decode_searchset(json_text.utf8(body)).link}
    return links.get("next") or None


def _local_id(answer: ManagerAnswer, kind: str) -> str | None:
    for name in ("location", "content-location"):
        path = _LOCATION.fullmatch(answer.headers.get(name, ""))
        if path is not None and path[1] == kind and ID.fullmatch(path[2]):
            return path[2]
    try:
        head = _decode_head(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return head.id if head.resource_type == kind and ID.fullmatch(head.id) else None


def _version(answer: ManagerAnswer) -> str | None:
    found = _ETAG.fullmatch(answer.headers.get("etag", ""))
    return None if found is None else found[1]


def _issue_codes(body: bytes) -> Sequence[str]:
    """Of an OperationOutcome: FHIR's own codes, and nothing that a manager may have written of a person."""
    try:
        issues = _decode_outcome(body).issue
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return [one.code for one in issues[:3] if _ISSUE_CODE.fullmatch(one.code)]
