"""Not waiting for a slow manager where another one holds the same (decision 11): what reads and searches have in common.

Nobody waits for a replica whose home has spoken: that changes no answer. Showing a replica because its home is slow does, so
it takes the client's word (`Prefer: replica=allow`), or the operator's for all; and the replica must be **proven**: no older
than any change of its circle that the broker was told of or made itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from broker.core.copies import original_of
from broker.core.dedup import is_replica
from broker.core.entry import Entry
from broker.core.preferences import Replica
from broker.core.replica_marks import sequence_of
from broker.errors import StoreError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.hedging_paces import PacedManagers
from broker.federation.locating import LocatorGuide
from registry.ports import Outbox, WriteLog

T = TypeVar("T")

_SHARE: Final = 0.05
_BURST: Final = 5.0
_PATIENCE: Final = 0.25  # seconds for what the store is asked


@dataclass(slots=True)
class HedgeBudget:
    """Requests that nobody needs strictly: one for twenty that were, so that no slowness doubles the load."""

    share: float = _SHARE
    burst: float = _BURST
    left: float = 1.0

    def earn(self) -> None:
        """One request that may be hedged."""
        self.left = min(self.left + self.share, self.burst)

    def spend(self) -> bool:
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


@dataclass(slots=True)
class HedgeCounts:
    """How often, by outcome:

    `spared`: a search did not wait for a manager whose replicas' homes had spoken. `stood-in`: a search shows replicas, as
    their home was slow. Of reads: `replica` answered, `home` was quicker after all; `none`: no replica could be asked;
    `unproven`: it may be older than it should be; `budget`: too many already.
    """

    outcomes: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("spared", "stood-in", "replica", "home", "none", "unproven", "budget"), 0
        )
    )

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] += 1


@dataclass(frozen=True, slots=True)
class Proof:
    """What the broker knows of the changes of circles."""

    outbox: Outbox
    writes: WriteLog

    async def number(self, manager: str, circle_id: str) -> int | None:
        """The number of a circle's last change; None where it is not certain.

        A write that was answered is in the outbox, or else still has its intent, where the store was out when it was
        cleared: so while any write is not settled, nothing is proven. In this order. Raises `StoreError`.
        """
        unsettled, _ = await self.writes.pending()
        if unsettled:
            return None
        (known,) = await self.outbox.numbers(manager, [circle_id])
        return known.number if known.known else None


@dataclass(frozen=True, slots=True)
class Hedging:
    """`proof`: None where changes are not followed, and nothing is ever proven. `everybody`: a client need not say that it
    takes replicas; it may still say that it does not."""

    federation: Federation
    managers: PacedManagers
    guide: LocatorGuide
    proof: Proof | None = None
    everybody: bool = False
    budget: HedgeBudget = field(default_factory=HedgeBudget)
    counts: HedgeCounts = field(default_factory=HedgeCounts)

    def takes_replicas(self, context: RequestContext) -> bool:
        wish = context.preferences.replica
        return self.proof is not None and (wish is Replica.ALLOW or (self.everybody and wish is None))

    async def number(self, manager: str, circle_id: str) -> int | None:
        """The number of a circle's last change, as far as is certain."""
        return None if self.proof is None else await self.asked(self.proof.number(manager, circle_id))

    def stands_for(self, shown: Entry, circle: str, number: int) -> bool:
        """Whether what another manager shows is the replica of this circle (a public id), of this change or a later one."""
        if not is_replica(shown):
            return False
        federation = self.federation
        original = original_of(shown.source, federation.options.public_base, federation.origins.all())
        sequence = sequence_of(shown)
        return original == f"CareTeam/{circle}" and sequence is not None and sequence >= number

    def doubt(self, slug: str) -> None:
        registered = self.federation.managers.get(slug)
        if registered is not None:
            self.managers.doubt(registered)

    async def asked(self, work: Awaitable[T]) -> T | None:
        """What the store says; None where it does not, or not soon."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await work
        except (StoreError, TimeoutError):
            return None
