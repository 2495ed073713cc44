"""What the watch over conflicts asks of its store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.core.conflict import Conflict


@dataclass(frozen=True, slots=True)
class KnownConflicts:
    """`conflicts`: open and lately resolved ones. `looked`: when the index was last asked, seconds since 1970, if ever."""

    conflicts: Sequence[Conflict] = ()
    looked: float | None = None


class ConflictStore(Protocol):
    """Conflicts as they were left by whoever looked last. Every method may raise `StoreError`, and is one round trip."""

    async def lead(self, node: str, *, seconds: float) -> int | None:
        """Look for conflicts, or go on doing so, for `seconds`; 0 ends it. The token, which grows; None: another does."""
        ...

    async def known(self) -> KnownConflicts:
        """All of them, oldest first."""
        ...

    async def save(
        self,
        token: int,
        changed: Sequence[Conflict] = (),
        *,
        gone: Collection[str] = (),
        looked: float | None = None,
    ) -> bool:
        """Keep these, forget those, all in one step. False, and nothing done, where another node looks by now."""
        ...
