"""What the registry's users ask of its store. One contract suite is run by the fake and by the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.locator_model import Coverage, Identifier, Pointer, Sighting
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


@dataclass(frozen=True, slots=True)
class Holders:
    """Slugs of the managers that hold a circle of each person, or hold each circle; and every manager's coverage."""

    persons: Mapping[Identifier, frozenset[str]]
    circles: Mapping[Identifier, frozenset[str]]
    coverage: Mapping[str, Coverage]


@dataclass(frozen=True, slots=True)
class Located:
    """Where exactly, by the identifier asked for; and every manager's coverage."""

    persons: Mapping[Identifier, tuple[Pointer, ...]]
    circles: Mapping[Identifier, tuple[Pointer, ...]]
    coverage: Mapping[str, Coverage]


class Locator(Protocol):
    """The index of persons and circles. Every method may raise `StoreError`.

    Searches need one round trip: `holders` gives the managers alone. Pointers cost one more.
    """

    async def holders(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Holders:
        """One round trip. A superset is right, a subset never: whoever is named is asked, and answers for itself."""
        ...

    async def pointers(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Located:
        """Where exactly: for `$locate`, home and replicas."""
        ...

    async def learn(self, sightings: Sequence[Sighting]) -> None:
        """Add or replace circles, atomically each: what is newer stays, whatever order they come in."""
        ...

    async def forget(self, manager: str, circle_id: str, *, at: float | None) -> None:
        """A circle was deleted at a manager, at its instant `at`."""
        ...

    async def clear(self, manager: str) -> None:
        """A manager left the registry: nothing may point to it any more (in the background, bounded batches)."""
        ...

    async def coverage(self) -> Mapping[str, Coverage]: ...

    async def save_coverage(self, manager: str, coverage: Coverage) -> bool:
        """False (and nothing written) where a later leader, by its fence, has written already."""
        ...

    async def lead(self, manager: str, node: str, *, seconds: float) -> int | None:
        """Become or stay the one that feeds a manager: the fencing token, the same while kept; None: another is."""
        ...

    async def conflicts(self) -> Sequence[tuple[Pointer, ...]]:
        """Persons with two homes, as their circles."""
        ...
