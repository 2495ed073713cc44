"""One write's dealings with one manager: what it is asked, and what its answers hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.aside import aside
from broker.core.bundle import read_resource, read_searchset
from broker.core.entry import Entry
from broker.core.manager_failure import failed
from broker.core.query_values import escape
from broker.errors import FailureKind
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.writing.records import Target, usable
from broker.ports import ManagerAnswer
from registry.locator_model import Identifier

_FRESH = {"Cache-Control": "no-cache"}
"""Some servers keep answers to searches for a while."""


@dataclass(frozen=True, slots=True)
class Errand:
    """`aliases`: of what the manager answered, to be remembered before anything of it leaves (`remember`).

    What is asked raises `ManagerError`.
    """

    federation: Federation
    target: Target
    context: RequestContext
    aliases: dict[str, str] = field(default_factory=dict)

    async def remember(self) -> None:
        """Raises `StoreError`."""
        await self.federation.remember(self.aliases)

    async def get(self, path: str) -> ManagerAnswer:
        """What is under a path as it is now, whatever the status."""
        return await self.target.calls.get(path, self.context, headers=_FRESH)

    async def matching(self, resource_type: str, pairs: Sequence[tuple[str, str]]) -> list[Entry]:
        """The first page of what the manager finds by these parameters, its own ids in them."""
        body = await self.target.calls.search(resource_type, list(pairs), self.context, headers=_FRESH)
        origins = self.federation.origins.all()
        found = await aside(
            len(body), read_searchset, body, self.target.origin, resource_type, self.aliases, origins
        )
        return [one for one in found.entries if one.type == resource_type and one.mode == "match"]

    async def by_identifier(self, resource_type: str, identifier: Identifier) -> Entry | None:
        """The manager's resource of a business identifier, the oldest of several.

        Raises `ManagerError` not-supported where the manager shows others alone: it does not know the parameter, and what
        it does not show may be there.
        """
        found = await self._by_identifier(resource_type, identifier)
        entries = _bearing(identifier, found)
        if found and not entries:
            raise failed(self.target.calls.manager, FailureKind.NOT_SUPPORTED, detail="identifier")
        return oldest(entries)

    async def all_by_identifier(self, resource_type: str, identifier: Identifier) -> list[Entry]:
        """Every one; a manager that does not know the parameter shows anything at all, which is left out."""
        return _bearing(identifier, await self._by_identifier(resource_type, identifier))

    async def _by_identifier(self, resource_type: str, identifier: Identifier) -> list[Entry]:
        system, value = identifier
        pairs = [("identifier", f"{escape(system)}|{escape(value)}"), ("_count", "10")]
        return await self.matching(resource_type, pairs)

    async def current(self, resource_type: str, local_id: str) -> Entry | ManagerAnswer:
        """A resource as it is now, or the answer (404, 410) that says why it is not."""
        answer = await self.get(f"{resource_type}/{local_id}")
        if answer.status in (404, 410):
            return answer
        return self.read(answer, resource_type, local_id)

    def read(self, answer: ManagerAnswer, resource_type: str, local_id: str | None) -> Entry:
        """The resource of a manager's answer. Raises `ManagerError`, also where it is another one."""
        if answer.status != 200:
            raise failed(self.target.calls.manager, FailureKind.REJECTED, status=answer.status)
        origins = self.federation.origins.all()
        entry = read_resource(answer.body, self.target.origin, resource_type, self.aliases, origins)
        if local_id is not None and entry.local_id != local_id:
            raise failed(self.target.calls.manager, FailureKind.INVALID, detail="another id")
        return entry


def oldest(entries: Sequence[Entry]) -> Entry | None:
    """Of several that are one, the one that was there first, as far as instants tell."""
    return min(entries, key=lambda one: (one.last_updated or "", one.local_id), default=None)


def _bearing(identifier: Identifier, entries: Sequence[Entry]) -> list[Entry]:
    return [one for one in entries if identifier in usable(one.identifiers)]
