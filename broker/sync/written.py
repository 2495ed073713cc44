"""The index learns of a write before its client is answered: whoever asks next, through any node, finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.core.entry import Entry
from broker.sync.instants import epoch
from broker.sync.sightings import sightings
from registry.locator_model import Identifier
from registry.ports import Locator


@dataclass(frozen=True, slots=True)
class WriteLearner:
    locator: Locator

    async def learn(self, circle: Entry, persons: Sequence[Identifier], known_at: str | None) -> None:
        """One circle, and every identifier of its person as of the instant `known_at`. Raises `StoreError`."""
        [sighting] = sightings([circle], {})
        instants = [one for one in (sighting.last_updated, epoch(known_at)) if one is not None]
        whole = replace(
            sighting,
            persons=tuple(dict.fromkeys((*sighting.persons, *persons))),
            last_updated=max(instants, default=None),
        )
        await self.locator.learn([whole])
