"""Disclosures in the trail: what cannot be traced is not sent, and waits where it is kept anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from broker.audit.trail import Trail
from broker.core.audit.disclosure import Disclosure, access_of
from broker.ports import Clock


@dataclass(frozen=True, slots=True)
class TrailDisclosures:
    """`deny`: whether what cannot be traced waits."""

    trail: Trail
    clock: Clock
    deny: bool = True

    async def told(self, disclosures: Sequence[Disclosure]) -> bool:
        if not disclosures:
            return True
        if self.deny and not self.trail.takes:
            return False  # it would be kept, and told again at each attempt
        now = self.clock.now()
        written = await asyncio.gather(*(self.trail.tell(access_of(one, now)) for one in disclosures))
        return all(written) or not self.deny
