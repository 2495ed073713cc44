"""What the registry's users ask of its store. One contract suite is run by the fake and by the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.locator_model import Coverage, Generation, Identifier, Pointer, Sighting
from registry.model import Gestionnaire, Registered, Skills
from registry.outbox_model import CircleChange, Numbered, OutboxState, Waiting
from registry.write_model import Begun, Due, Name, Taken


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

    async def copies(self, manager: str, circle_id: str) -> tuple[Sequence[Pointer], Mapping[str, Coverage]]:
        """Where else the circle of a manager's own id is held, by its business identifiers; and every manager's coverage.

        Nothing where it is not known, or has no identifier.
        """
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


class WriteLog(Protocol):
    """Claims on names, and what was sent but not settled. Every method may raise `StoreError`.

    A *claim* keeps a name for one writer. It is taken before anything is sent and ends by itself, so that a writer that
    dies leaves nothing behind. An *intent* says what is about to be sent. Recording it makes its claims last until
    `finish`, because from then on only finding out what happened may free the names. The writer finishes its own
    intent; where it dies, or cannot tell what came of it, the intent becomes due and a settler finishes it.

    Every method is one step, also across names, and one round trip. All times are seconds from now by the store's own
    clock: those of the nodes do not matter. Tokens grow, also over a store that was lost.

    A store that loses claims or intents (emptied, a failover before replication) lets a second writer in. So a name's
    claim saves no look at the managers, and two circles of one person are found as a conflict.
    """

    async def claim(self, names: Sequence[Name], *, seconds: float) -> int | Taken:
        """All of the names or none, for `seconds`; the token of the claim, or who is in the way.

        A kept result is not in the way; the claim clears it.
        """
        ...

    async def intend(
        self, intent: str, blob: bytes, *, names: Sequence[Name] = (), token: int | None = None, due: float
    ) -> bool:
        """Record an intent under an id that was never used before; it becomes due in `due` seconds.

        With a token: False, and nothing recorded, unless that claim still holds every one of the names; they last
        until `finish` now. Without: the names, if any, are claimed at once, as lastingly; False where one is taken.

        Send nothing without a True, and nothing later than the intent is due: a settler may be looking by then.
        """
        ...

    async def finish(
        self,
        intent: str | None,
        *,
        names: Sequence[Name] = (),
        token: int | None = None,
        result: bytes | None = None,
        keep: float = 0,
        changes: Sequence[CircleChange] = (),
    ) -> bool:
        """Clear the intent and its claims; leave `result` under each name for `keep` seconds.

        `changes`: the circles that were written, put in the outbox in the same step (`Outbox.enqueue`), whatever became
        of the claims: so none is lost between the two, and none told twice where two come to the same end.

        Without an intent: clear what `claim` gave, given its names and token; not what has become an intent's. With
        one, `names` may be left out while it is there: it knows its own. (That is what costs a second round trip.)

        False where a later holder has one of the names, or has left its result there: that name is left as it is, and
        what we wrote may not be the only one. May be repeated.
        """
        ...

    async def look(self, names: Sequence[Name]) -> tuple[int | None, bytes | None]:
        """The token that holds the first of the names that is held, and the first result that is kept."""
        ...

    async def due(self, *, limit: int, lease: float) -> Sequence[Due]:
        """Intents whose time has come, the longest due first, each to one caller for `lease` seconds.

        After that it is due again: finish or postpone it before.
        """
        ...

    async def postpone(self, intent: str, *, seconds: float, blob: bytes | None = None) -> None:
        """Due again in `seconds`, with what was learnt so far in a new blob. One that is finished stays so."""
        ...

    async def pending(self) -> tuple[int, float | None]:
        """How many intents there are, and the age in seconds of the oldest."""
        ...


class Outbox(Protocol):
    """Changes of circles on their way to the change log. Every method may raise `StoreError`.

    A change is put there at most once, in the order in which the broker comes to know of the changes of a circle, and
    numbered as it is. What is nothing new is left out: the version that was told last, an older one, the deletion of
    what was told to be deleted. Versions that are numbers are compared as such, others by the manager's instants.
    A version that became known after a later one is left out too: what is published is the circle as it is.

    Numbers grow by one with each change of a circle. The first is the store's own time in milliseconds; so is the next one
    after the store was started again or another took over. So they go on growing over a store that lost all or its last
    moments, or a circle that was forgotten, and a larger step shows that one of these may have happened: with what a store
    lost, changes that waited may never be told.

    One node at a time publishes. Its token is checked wherever it reads or removes, so one that was replaced without
    noticing does neither. What it has in hand by then it may still publish: readers go by the number.

    Every method is one step and one round trip (`enqueue_many`: one for some hundreds).
    """

    async def enqueue(self, change: CircleChange) -> int | None:
        """A change that is certain, as a write is. Its number; None where it is nothing new."""
        ...

    async def enqueue_many(
        self, changes: Sequence[CircleChange], *, since: str | None
    ) -> Sequence[int | None]:
        """What a manager's feed shows, of changes after `since`, and of some before, which are told again to be sure.

        The first `since` of a manager is where following it began, and is kept. Of a circle of which nothing is known,
        what is not after that was there before and is no change.
        """
        ...

    async def numbers(self, manager: str, circle_ids: Sequence[str]) -> Sequence[Numbered]:
        """Of a manager's circles as they are now, in the order asked for. Nothing is written."""
        ...

    async def lead(self, node: str, *, seconds: float) -> int | None:
        """Publish, or go on publishing, for `seconds`; 0 ends it. The token, which grows; None where another does."""
        ...

    async def peek(self, token: int, *, after: str | None, limit: int) -> Sequence[Waiting] | None:
        """What waits behind a place, the oldest first; None where another publishes."""
        ...

    async def remove(self, token: int, places: Sequence[str]) -> bool:
        """These are in the log. False, and nothing removed, where another publishes: it publishes them again."""
        ...

    async def wait(self, after: str | None, *, seconds: float) -> bool:
        """True as soon as something waits behind a place; False after `seconds`, or a second, without."""
        ...

    async def state(self) -> OutboxState: ...

    async def tidy(self, manager: str, part: int, *, older: float) -> int:
        """Forget the circles that have not changed for `older` seconds, in one of 4096 parts of a manager's.

        What the manager's feed then shows of the time of what was forgotten, or before, is old, whatever circle it is of.
        How many were forgotten.
        """
        ...


class IdempotencyStore(Protocol):
    """Answers to requests that carried an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).

    `key`: a keyed digest of caller and header. `fingerprint`: of the request. `owner`: this very request, an id of its
    own. Every method may raise `StoreError`, is one step and one round trip, and may be repeated.
    """

    async def begin(self, key: bytes, fingerprint: bytes, *, owner: str, seconds: int) -> Begun:
        """Whose turn it is. A fresh key counts as running for `seconds` at most."""
        ...

    async def finish(self, key: bytes, owner: str, blob: bytes, *, seconds: int) -> bool:
        """Keep the answer for `seconds`. False, and nothing kept, where the key is no more this owner's."""
        ...

    async def hold(self, key: bytes, owner: str, *, seconds: int) -> bool:
        """Not answered yet, and running for `seconds` more. False where the key is no more this owner's."""
        ...

    async def abandon(self, key: bytes, owner: str) -> None:
        """Nothing was done: the key is as if it had never been used. An answer, or another's key, stays."""
        ...
