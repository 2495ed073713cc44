"""What the registry's users ask of its store. One contract suite is run by the fake and by the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.locator_model import Coverage, Generation, Identifier, Pointer, Sighting
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


Progress = Callable[[int, int], None]
"""Told how much is done, and of how much in all."""


class Locator(Protocol):
    """The index of persons and circles. Every method may raise `StoreError`.

    Searches need one round trip: `holders` gives the managers alone. Pointers cost one more.

    There may be several *generations* of the index: one is being filled while those before it still answer (another
    secret, another size). What is learnt goes to all of them, a search asks them all, and coverage counts in each.
    """

    async def holders(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Holders:
        """One round trip. A superset is right, a subset never: whoever is named is asked, and answers for itself."""
        ...

    async def pointers(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Located:
        """Where exactly: for `$locate`, home and replicas."""
        ...

    async def learn(self, sightings: Sequence[Sighting]) -> None:
        """Add or replace circles, atomically each: what is newer stays, whatever order they come in.

        Of two with the same date the one that comes last stays. Sightings without a date follow the order they come in.
        Raises `StoreError` also for what the index cannot hold: then that manager never is complete.
        """
        ...

    async def forget(self, manager: str, circle_id: str, *, at: float | None) -> None:
        """A circle was deleted at a manager, at its instant `at`; with None, at or after all that was seen of it."""
        ...

    async def clear(self, manager: str, *, progress: Progress | None = None) -> None:
        """A manager left the registry, or is begun anew: nothing points to it from the first instant on.

        Its coverage is gone too; leaders from before the present one (from before now, where nobody leads) save none
        any more. What it had is then removed in small batches, which takes a while; if that is cut short, the next
        `clear` of any manager does it.
        """
        ...

    async def coverage(self, generation: int | None = None) -> Mapping[str, Coverage]:
        """What a search may count on; with a generation's number, how far that one is."""
        ...

    async def save_coverage(self, manager: str, coverage: Coverage) -> bool:
        """Of one generation, named in it. False, and nothing written, where a later leader, by its fence, has written
        already, or where that generation is no more (dropped, or lost with the store): then begin anew from
        `generations`."""
        ...

    async def lead(self, manager: str, node: str, *, seconds: float) -> int | None:
        """Become or stay the one that feeds a manager: the fencing token, the same while kept; None: another is.

        Tokens grow, also over a store that was lost. With a new token, go on from what `coverage` says. `seconds=0`
        gives the lead up.
        """
        ...

    async def conflicts(self) -> Sequence[tuple[Pointer, ...]]:
        """Persons with two homes, as their circles, each set of circles once."""
        ...

    async def generations(self) -> Sequence[Generation]:
        """The oldest first; fill the last of `ours`. Begins one where there is none, or where the secret is new and the
        one before it is still at hand."""
        ...

    async def start_generation(self) -> int:
        """Begin one more with the present secret (another size, numbers used up), and give its number."""
        ...

    async def superseded(self, managers: Iterable[str]) -> Sequence[int]:
        """Generations to be dropped: those before one that is complete for all these managers, and half dropped ones."""
        ...

    async def drop_generation(
        self, number: int, *, progress: Progress | None = None, grace: float = 5.0
    ) -> None:
        """Ask it no more, wait `grace` seconds for who is writing to it, delete it in small batches. May be repeated."""
        ...
