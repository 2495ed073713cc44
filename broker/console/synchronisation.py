"""The page *Synchronisation*: what waits, who is behind, what could not be applied, who has two homes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from broker.console.frame import Frame, NavItem
from broker.console.live import Line
from broker.core import topics
from broker.errors import RequestError, StoreError
from broker.ports import Managers
from broker.sync.change_log import ChangeLog
from broker.sync.conflict_service import ConflictList, ConflictService, ConflictState
from broker.sync.dead_letters import DeadLetter, DeadLetters, Reason
from broker.sync.sync_service import SyncService, SyncStatus, subscribers

PATH: Final = "/console/synchronisation"
NAV: Final = NavItem("sync.title", PATH)
TOPIC: Final = "synchronisation"
MOST: Final = 100
"""Dead letters of a manager, and conflicts, that are listed."""


@dataclass(frozen=True, slots=True)
class Letters:
    """Of one manager: the oldest of them, and how many there are."""

    slug: str
    name: str
    listed: Sequence[DeadLetter]
    count: int


@dataclass(frozen=True, slots=True)
class Synchronised:
    """`service`, `log`: None without synchronisation. `conflicts`: None without an index."""

    managers: Managers
    service: SyncService | None
    log: ChangeLog | None
    conflicts: ConflictService | None
    prefix: str

    def look(self) -> Mapping[str, Line]:
        """What is followed, of the last look that somebody had: rounded, so that time passing is no news."""
        if self.service is None:
            return {}
        watch = self.service.watch
        outbox = watch.outbox_state
        lines: dict[str, Line] = {"": {"depth": None if outbox is None else outbox.depth}}
        for slug in subscribers(self.service.view):
            left = watch.backlogs.get(slug)
            lines[slug] = {
                "behind": None if left is None else left.events,
                "letters": watch.letters.get(slug),
            }
        return lines

    async def letters(self) -> Sequence[Letters]:
        """Of whoever had some at the last look. Raises `StoreError`."""
        found = []
        for slug, count in sorted(self.service.watch.letters.items()) if self.service is not None else ():
            one = self.managers.get(slug)
            listed = await self.of(slug).all() if one is not None and count else []
            if one is not None and listed:
                found.append(Letters(slug, one.gestionnaire.name, listed[:MOST], len(listed)))
        return found

    def of(self, slug: str) -> DeadLetters:
        """Raises `RequestError` where there is no such manager, or no change log."""
        if self.log is None or self.managers.get(slug) is None:
            raise RequestError("registry.unknown", slug=slug)
        return DeadLetters(self.log, slug, self.prefix)


@dataclass(frozen=True, slots=True)
class SynchronisationPage:
    frame: Frame
    synchronised: Synchronised

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get(PATH, self._show)
        yield web.post(PATH + "/{slug}/replay", self._replay)

    async def _show(self, request: web.Request) -> web.Response:
        shown = self.synchronised
        status: SyncStatus | None = None
        letters: Sequence[Letters] = ()
        conflicts: ConflictList | None = None
        out = False
        try:
            if shown.service is not None:
                status, letters = await shown.service.status(), await shown.letters()
            if shown.conflicts is not None:
                conflicts = await shown.conflicts.list(ConflictState.OPEN, limit=MOST)
        except StoreError:
            out = True
        names = {one.gestionnaire.id: one.gestionnaire.name for one in shown.managers.all()}
        return self.frame.render(
            request,
            "synchronisation.html",
            active=shown.service is not None,
            told=status,
            letters=letters,
            conflicts=conflicts,
            out=out,
            names=names,
            reasons=tuple(Reason),
            topic_of=lambda slug: topics.replication(slug, shown.prefix),
        )

    async def _replay(self, request: web.Request) -> web.Response:
        """Of one manager, the letter that the form names, or all of them."""
        fields = await self.frame.form(request)
        slug, wanted = request.match_info["slug"], fields.get("letter", "")
        letters = self.synchronised.of(slug)
        chosen = [one for one in await letters.all() if wanted in ("", one.id)]
        done = await letters.replay(chosen)
        key = "sync.done.replayed" if done else "sync.done.none"
        return self.frame.done(request, PATH, key, slug=slug, count=done)
