"""What really happened to a write that was sent and not answered (federation, section 4: a POST is never blindly repeated).

A creation shows by its business identifier, an update by a version that was not there before and holds what was sent. What
does not show may still be under way: only two looks a quiet while apart say that it did not happen (`broker.sync.settler`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.core import json_text
from broker.core.entry import Entry
from broker.core.identity import ID
from broker.errors import ManagerError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.writing.errand import Errand
from broker.federation.writing.records import Intent, Step, Target, comparable
from broker.ports import ManagerAnswer
from registry.locator_model import Identifier

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
    """For those who are on no errand of their own. `aliases` are filled, and theirs to remember. Raises `ManagerError`."""

    federation: Federation

    async def happened(
        self, intent: Intent, target: Target, context: RequestContext, aliases: dict[str, str]
    ) -> Found | None:
        """What the witness of an intent shows; None: nothing to be seen."""
        return await self.of_step(intent.steps[intent.witness], target, context, aliases)

    async def of_step(
        self, step: Step, target: Target, context: RequestContext, aliases: dict[str, str]
    ) -> Found | None:
        return await what_became(step, Errand(self.federation, target, context, aliases))

    async def all_by_identifier(
        self,
        resource_type: str,
        identifier: Identifier,
        target: Target,
        context: RequestContext,
        aliases: dict[str, str],
    ) -> list[Entry]:
        """See `Errand.all_by_identifier`."""
        errand = Errand(self.federation, target, context, aliases)
        return await errand.all_by_identifier(resource_type, identifier)

    def tree(self, entry: Entry) -> Mapping[str, Any]:
        """An entry's content."""
        return _tree(entry.raw)


async def what_became(step: Step, errand: Errand) -> Found | None:
    """What a step made; None: nothing to be seen. Raises `ManagerError`."""
    if step.local_id is not None:
        return await _of_update(step, step.local_id, errand)
    if step.identifier is not None:
        entry = await errand.by_identifier(step.type, step.identifier)
        return None if entry is None else Found(entry, created=True)
    return None


async def _of_update(step: Step, local_id: str, errand: Errand) -> Found | None:
    place = f"{step.type}/{local_id}"
    answer = await errand.get(place)
    if answer.status in (404, 410):
        return None
    now = errand.read(answer, step.type, local_id)
    if content_digest(answer.body, loose=step.loose) == step.content:
        return Found(now, created=False)  # also where the write changed nothing, and made no version
    if now.version_id == step.before:
        return None
    # Somebody wrote after it, or in its place: the versions between tell.
    version = await _version_of(step, place, errand)
    if version is None:
        return None
    past = await errand.get(f"{place}/_history/{version}")
    return Found(errand.read(past, step.type, local_id), created=False)


async def _version_of(step: Step, place: str, errand: Errand) -> str | None:
    """The version that holds what was sent, of those since the one before the write."""
    try:
        answer = await errand.get(f"{place}/_history")
    except ManagerError:
        return None
    history = _tree(answer.body) if answer.status == 200 else {}
    since = [version for version, content in _since(step, history) if content == step.content]
    return since[-1] if since else None


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
