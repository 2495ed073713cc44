"""What the registry's users ask of its store. One contract suite is run by the fake and by the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from registry.model import Gestionnaire, Registered, Skills


class GestionnaireStore(Protocol):
    """The registry of managers. Every method may raise `StoreError` when the store does not answer."""

    async def all(self) -> Sequence[Registered]:
        """Every registered manager, active or not, in the order of their slugs."""
        ...

    async def get(self, slug: str) -> Registered | None: ...

    async def put(self, gestionnaire: Gestionnaire, *, expected_revision: int | None = None) -> Registered:
        """Create or replace a declaration; `RequestError("registry.conflict")` where the revision is another.

        Writing what is already there changes nothing and keeps the revision. `expected_revision=0`: create only.
        """
        ...

    async def remove(self, slug: str) -> bool:
        """True where there was one."""
        ...

    async def save_skills(self, slug: str, skills: Skills) -> None:
        """Keep what was learnt; does not make a new revision. Unknown slug: ignored (it was removed meanwhile)."""
        ...

    async def history(self, slug: str) -> Sequence[tuple[Registered, bool]]:
        """Versions of one manager, newest first; the flag tells a removal."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Yields once at each change made by any worker or node, and once after a lost connection came back."""
        ...
