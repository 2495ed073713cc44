"""The parts of a process that know the federation, put together: of each process of a broker, whether it serves or not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from broker.core.access.described import Recognised
from broker.federation.registry_service import RegistryService
from broker.federation.skills_keeper import SkillsKeeper
from broker.observability.metrics import Figures, figures_of_process
from broker.settings import Settings
from broker.sync.disclosures import UNTRACED
from broker.wiring_audit import Audit
from broker.wiring_changes import Changes
from broker.wiring_conflicts import Conflicts
from broker.wiring_ground import Ground, Part
from broker.wiring_locating import Locating
from broker.wiring_reading import Reading
from broker.wiring_store import StoreWatch
from broker.wiring_writes import Writing
from registry.lease_store import RedisLeases


@dataclass(frozen=True, slots=True)
class Parts:
    """None: the broker has no such part."""

    ground: Ground
    registry: RegistryService
    store: StoreWatch
    audit: Audit | None
    locating: Locating | None
    reading: Reading
    writing: Writing
    changes: Changes | None
    conflicts: Conflicts | None

    @classmethod
    async def wired(
        cls, ground: Ground, stack: AsyncExitStack, recognised: Callable[[], Recognised] = Recognised
    ) -> Parts:
        """What is opened closes with the stack. Raises `ConfigurationError`, `AuditError`."""
        settings = ground.settings
        store = await StoreWatch.wired(ground)
        audit = (
            await Audit.wired(ground, stack) if settings.audit_sinks else None
        )  # closes after all it traces
        locating = Locating.wired(ground) if settings.locator else None
        guide = None if locating is None else locating.guide
        reading = Reading.wired(ground, locating, recognised)
        writing = Writing.wired(ground, reading, guide, stack)
        changes = None
        if settings.sync:
            locator = None if guide is None else guide.locator
            disclosures = UNTRACED if audit is None else audit.disclosures()
            changes = await Changes.wired(ground, reading, locator, stack, disclosures)
        conflicts = None
        if guide is not None:
            log = None if changes is None else changes.topics.log
            conflicts = Conflicts.wired(ground, guide.locator, log)
        registry = RegistryService(ground.store, ground.checker, ground.managers.refresh, ground.admit)
        return cls(ground, registry, store, audit, locating, reading, writing, changes, conflicts)

    def all(self) -> Sequence[Part]:
        """In the order in which their routes are tried: those of the index and of synchronisation before the reads."""
        found = (
            self.store,
            self.audit,
            self.locating,
            self.conflicts,
            self.changes,
            self.reading,
            self.writing,
        )
        return [one for one in found if one is not None]

    def chores(self) -> Iterable[Coroutine[Any, Any, None]]:
        """What one process does for all of a broker."""
        ground = self.ground
        leases = RedisLeases(ground.redis, keys=ground.keys)
        yield SkillsKeeper(ground.managers, ground.store, leases, ground.checker, ground.clock).run()
        for part in self.all():
            yield from part.chores()


async def grounded(
    settings: Settings, redis_url: str, secret: bytes, beside: socket.socket | None, stack: AsyncExitStack
) -> Ground:
    """What the parts stand on. `beside`: the way to the other processes of the broker, None where there are none."""
    ground = Ground.wired(settings, redis_url, secret, stack)
    if beside is not None:
        await ground.sharing.join(beside, ground.clock, stack)
    return ground


def show_figures(ground: Ground, parts: Iterable[Part]) -> None:
    rooms = [figure for part in parts for figure in part.figures()]
    ground.sharing.registry = figures_of_process(Figures(ground.managers, ground.guard.states, rooms))


def run_in_background(work: Iterable[Coroutine[Any, Any, None]], stack: AsyncExitStack) -> None:
    """Until the stack closes."""
    for one in work:
        stack.push_async_callback(_cancelled, asyncio.create_task(one))


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End a background task. It is told until it ends: redis-py loses a cancellation that comes while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)
