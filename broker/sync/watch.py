"""Figures of synchronisation that must be asked for: looked at now and then, so that showing them waits for nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from broker.core import topics
from broker.errors import StoreError
from broker.ports import Clock
from broker.sync.agent import Backlog, backlog
from broker.sync.change_log import ChangeLog
from broker.sync.dead_letters import DeadLetters
from registry.outbox_model import OutboxState
from registry.ports import Outbox

_LAGS_EVERY = 3  # looks at the outbox
_LETTERS_EVERY = 12


@dataclass(slots=True)
class SyncWatch:
    """`subscribers`: slugs with a replication topic. `outbox_state`: None while the store is out.

    `backlogs`: what each manager's agents have not settled; `letters`: dead letters of each. Kept from the last look that
    was answered; a manager of which nothing could be learnt yet is left out.
    """

    outbox: Outbox
    log: ChangeLog
    clock: Clock
    subscribers: Callable[[], Iterable[str]]
    prefix: str = topics.DEFAULT_PREFIX
    outbox_state: OutboxState | None = None
    backlogs: dict[str, Backlog] = field(default_factory=dict)
    letters: dict[str, int] = field(default_factory=dict)

    async def run(self, every: float = 5.0) -> None:
        """Until cancelled."""
        looks = 0
        while True:
            await self.look_at_outbox()
            if looks % _LAGS_EVERY == 0:
                await self.look_at_subscribers(letters=looks % _LETTERS_EVERY == 0)
            looks += 1
            await self.clock.sleep(every)

    async def look_at_outbox(self) -> None:
        try:
            self.outbox_state = await self.outbox.state()
        except StoreError:
            self.outbox_state = None

    async def look_at_subscribers(self, *, letters: bool = True) -> None:
        wanted = sorted(set(self.subscribers()))
        for gone in {*self.backlogs, *self.letters} - {*wanted}:
            self.backlogs.pop(gone, None)
            self.letters.pop(gone, None)
        for slug in wanted:
            with suppress(StoreError):
                found = await backlog(self.log, slug, self.prefix)
                if found is not None:
                    self.backlogs[slug] = found
                if letters:
                    self.letters[slug] = len(await DeadLetters(self.log, slug, self.prefix).all())
