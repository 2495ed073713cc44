"""What really happened to a write that was sent and not answered (federation, section 4: a POST is never blindly repeated).

A creation shows by its business identifier, an update by a version that was not there before and holds what was sent. What
does not show may still be under way: only two looks a quiet while apart say that it did not happen (`broker.sync.settler`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.core import json_text
from broker.core.bundle import read_resource, read_searchset
from broker.core.entry import Entry
from broker.core.identity import ID
from broker.core.manager_failure import failed
from broker.core.query_values import escape
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.writing.records import Intent, Step, Target, comparable, usable
from broker.ports import ManagerAnswer
from registry.locator_model import Identifier

_FRESH = {"Cache-Control": "no-cache"}
"""Some servers keep answers to searches for a while."""

_MAY_HAVE_HAPPENED = frozenset({408, 500, 502, 503, 504})
"""Statuses that a proxy gives in place of a manager that was reached. A manager's own 500 tells what went wrong."""


def is_ambiguous(answer: ManagerAnswer) -> bool:
    """Whether an answer leaves open what happened: it is a failure, and not in the manager's own words."""
    return answer.status in _MAY_HAVE_HAPPENED and b'"OperationOutcome"' not in answer.body[:4096]


@dataclass(frozen=True, slots=True)
class Found:
    """What a step made, as it is now (`entry`, in public terms)."""

    entry: Entry
    created: bool


def content_digest(content: Mapping[str, Any] | bytes, *, loose: bool = False) -> bytes:
    """What stands for a content, as the manager has it, in an intent: a tree, or the text of one."""
    tree = _tree(content) if isinstance(content, bytes) else content
    return hashlib.sha256(comparable(tree, loose=loose)).digest()


@dataclass(frozen=True, slots=True)
class Evidence:
    federation: Federation

    async def happened(
        self, intent: Intent, target: Target, context: RequestContext, aliases: dict[str, str]
    ) -> Found | None:
        """What the witness of an intent shows; None: nothing to be seen. Raises `ManagerError`."""
        return await self.of_step(intent.steps[intent.witness], target, context, aliases)

    async def of_step(
        self, step: Step, target: Target, context: RequestContext, aliases: dict[str, str]
    ) -> Found | None:
        if step.local_id is not None:
            return await self._of_update(step, step.local_id, target, context, aliases)
        if step.identifier is not None:
            entry = await self.by_identifier(step.type, step.identifier, target, context, aliases)
            return None if entry is None else Found(entry, created=True)
        return None

    async def by_identifier(
        self,
        resource_type: str,
        identifier: Identifier,
        target: Target,
        context: RequestContext,
        aliases: dict[str, str],
    ) -> Entry | None:
        """The manager's resource of a business identifier, the oldest of several.

        Raises `ManagerError` not-supported where the manager shows others alone: it does not know the parameter, and what
        it does not show may be there.
        """
        found = await self._by_identifier(resource_type, identifier, target, context, aliases)
        entries = _bearing(identifier, found)
        if found and not entries:
            raise failed(target.calls.manager, FailureKind.NOT_SUPPORTED, detail="identifier")
        return min(entries, key=lambda one: (one.last_updated or "", one.local_id), default=None)

    async def all_by_identifier(
        self,
        resource_type: str,
        identifier: Identifier,
        target: Target,
        context: RequestContext,
        aliases: dict[str, str],
    ) -> list[Entry]:
        """Every one; a manager that does not know the parameter shows anything at all, which is left out."""
        return _bearing(
            identifier, await self._by_identifier(resource_type, identifier, target, context, aliases)
        )

    async def _by_identifier(
        self,
        resource_type: str,
        identifier: Identifier,
        target: Target,
        context: RequestContext,
        aliases: dict[str, str],
    ) -> list[Entry]:
        system, value = identifier
        pairs = [("identifier", f"{escape(system)}|{escape(value)}"), ("_count", "10")]
        return await self.matching(resource_type, pairs, target, context, aliases)

    async def matching(
        self,
        resource_type: str,
        pairs: Sequence[tuple[str, str]],
        target: Target,
        context: RequestContext,
        aliases: dict[str, str],
    ) -> list[Entry]:
        """The first page of what a manager finds by these parameters, its own ids in them."""
        body = await target.calls.search(resource_type, list(pairs), context, headers=_FRESH)
        found = read_searchset(body, target.origin, resource_type, aliases, self.federation.origins.all())
        return [one for one in found.entries if one.type == resource_type and one.mode == "match"]

    async def current(
        self,
        resource_type: str,
        local_id: str,
        target: Target,
        context: RequestContext,
        aliases: dict[str, str],
    ) -> Entry | ManagerAnswer:
        """A resource as it is now, or the answer (404, 410) that says why it is not. Raises `ManagerError`."""
        answer = await target.calls.get(f"{resource_type}/{local_id}", context, headers=_FRESH)
        if answer.status in (404, 410):
            return answer
        return self.read(answer, resource_type, local_id, target, aliases)

    def read(
        self,
        answer: ManagerAnswer,
        resource_type: str,
        local_id: str | None,
        target: Target,
        aliases: dict[str, str],
    ) -> Entry:
        """The resource of a manager's answer. Raises `ManagerError`, also where it is another one."""
        if answer.status != 200:
            raise failed(target.calls.manager, FailureKind.REJECTED, status=answer.status)
        origins = self.federation.origins.all()
        entry = read_resource(answer.body, target.origin, resource_type, aliases, origins)
        if local_id is not None and entry.local_id != local_id:
            raise failed(target.calls.manager, FailureKind.INVALID, detail="another id")
        return entry

    def tree(self, entry: Entry) -> Mapping[str, Any]:
        """An entry's content."""
        return _tree(entry.raw)

    async def _of_update(
        self,
        step: Step,
        local_id: str,
        target: Target,
        context: RequestContext,
        aliases: dict[str, str],
    ) -> Found | None:
        answer = await target.calls.get(f"{step.type}/{local_id}", context, headers=_FRESH)
        if answer.status in (404, 410):
            return None
        now = self.read(answer, step.type, local_id, target, aliases)
        if content_digest(answer.body, loose=step.loose) == step.content:
            return Found(now, created=False)  # also where the write changed nothing, and made no version
        if now.version_id == step.before:
            return None
        # Somebody wrote after it, or in its place: the versions between tell.
        version = await self._version_of(step, local_id, target, context)
        if version is None:
            return None
        past = await target.calls.get(f"{step.type}/{local_id}/_history/{version}", context, headers=_FRESH)
        return Found(self.read(past, step.type, local_id, target, aliases), created=False)

    async def _version_of(
        self, step: Step, local_id: str, target: Target, context: RequestContext
    ) -> str | None:
        """The version that holds what was sent, of those since the one before the write."""
        try:
            answer = await target.calls.get(f"{step.type}/{local_id}/_history", context, headers=_FRESH)
        except ManagerError:
            return None
        history = _tree(answer.body) if answer.status == 200 else {}
        since = [version for version, content in _since(step, history) if content == step.content]
        return since[-1] if since else None


def _bearing(identifier: Identifier, entries: Sequence[Entry]) -> list[Entry]:
    return [one for one in entries if identifier in usable(one.identifiers)]


def _since(step: Step, history: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Version and digest of each, the newest first."""
    entries = history.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        meta = resource.get("meta") if isinstance(resource, dict) else None
        version = meta.get("versionId") if isinstance(meta, dict) else None
        if not isinstance(resource, dict) or not isinstance(version, str) or ID.fullmatch(version) is None:
            continue
        if version == step.before:
            return
        yield version, content_digest(resource, loose=step.loose)


def _tree(body: bytes) -> Mapping[str, Any]:
    """A manager's JSON; nothing where it is none: what cannot be read is no evidence."""
    try:
        json_text.check(body)
        found = json_text.tree(body)
    except (json_text.JsonError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
