"""One event applied: what the manager holds is looked up, decided on (`broker.core.replica`), and written.

Between the look and the write somebody else may write. The manager's own conditions tell (If-Match, If-None-Exist), and it
is looked at again. Killed in the middle, what was written is found by the next run: each write stands for itself, actors
before what refers to them, and the circle, whose mark says that all is done, comes last.

What it costs: one search finds the replica and all the actors that it has, where the manager includes. Each actor that is
neither found so nor remembered costs a search, and mostly a create. Then comes one write for the circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.core.business_identifier import token_criterion
from broker.core.change_event import CIRCLE, Operation
from broker.core.entry import Entry
from broker.core.event_content import ChangeEvent
from broker.core.replica import (
    Apply,
    DeadLetter,
    Holdings,
    Leave,
    Lookups,
    Remove,
    Unfit,
    Why,
    decide,
    lookups,
)
from broker.core.replica_actors import Write
from broker.core.replica_marks import is_copy_of, sequence_of
from broker.federation.context import RequestContext
from broker.federation.writing.records import usable
from broker.ports import Clock
from broker.sync.agent_manager import AgentManager, ChangedError, TurnedDownError
from broker.sync.agent_memory import ActorKey, ActorMemory, Turns
from broker.sync.agent_removed import Removed
from broker.sync.agent_worker import DeadEndError, Outcome
from broker.sync.dead_letters import Reason

_LOOKS = 6
"""At a circle that others write at the same time, or that the manager's search does not show yet."""

_FIRST_PAUSE = 0.05
"""Seconds before the second look, twice as many before each further one."""

_UNFIT = frozenset({Unfit.ID_ONLY, Unfit.NO_IDENTIFIER})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for about one event. `keys`: of its actors, by `Type/public id`."""

    event: ChangeEvent
    lookups: Lookups
    keys: Mapping[str, ActorKey]

    @classmethod
    def by(cls, event: ChangeEvent) -> _Wanted:
        asked = lookups(event)
        return cls(event, asked, {one: (one.partition("/")[0], key) for one, key in asked.actors.items()})

    @property
    def gone(self) -> bool:
        return self.event.change.operation is Operation.DELETED


@dataclass(slots=True)
class EventApplier:
    """`slug`: of the manager."""

    slug: str
    manager: AgentManager
    memory: ActorMemory
    removed: Removed
    clock: Clock
    turns: Turns = field(default_factory=Turns)

    async def __call__(self, event: ChangeEvent) -> Outcome:
        """See `agent_worker.Apply`; also raises `StoreError`."""
        if event.change.manager == self.slug:
            return Outcome.ECHO
        wanted = _Wanted.by(event)
        told = "changed meanwhile"
        for look in range(_LOOKS):
            if look:
                self.memory.forget(wanted.keys.values())
                await self.clock.sleep(_FIRST_PAUSE * 2.0 ** (look - 1))
            try:
                return await self._applied(wanted, self.manager.context(event.change.event_id))
            except ChangedError:
                continue
            except TurnedDownError as error:
                told = error.detail
                if look:
                    break  # else it may have been a reference to what was deleted since it was remembered
        raise DeadEndError(Reason.REFUSED, told)

    async def _applied(self, wanted: _Wanted, context: RequestContext) -> Outcome:
        event, change = wanted.event, wanted.event.change
        while True:
            holdings = await self._holdings(wanted, context)
            decision = decide(event, self.slug, holdings, removed=self.removed.number(change.public_id))
            match decision:
                case Leave(why):
                    if why is Why.ABSENT:
                        await self.removed.add(change)  # or an agent that was killed had no time for it
                    return Outcome.NEEDLESS
                case DeadLetter(reason, detail):
                    kind = Reason.UNFIT if reason in _UNFIT else Reason.CONFLICT
                    raise DeadEndError(kind, f"{reason.value} {detail}")
                case Remove():
                    await self._remove(decision, context)
                    await self.removed.add(change)
                    return Outcome.APPLIED
                case Apply(writes):
                    if await self._write(writes, wanted, holdings, context):
                        return Outcome.APPLIED

    # --- looking

    async def _holdings(self, wanted: _Wanted, context: RequestContext) -> Holdings:
        """What the manager holds of all that the event is about."""
        remembered = {one: self.memory.get(key) for one, key in wanted.keys.items()}
        lacking = [one for one, held in remembered.items() if held is None]
        circles, brought = await self._circles(wanted, context, actors=bool(lacking))
        if _is_known(wanted, self.slug, circles):
            return Holdings(circles)
        actors: dict[str, tuple[Entry, ...]] = {
            one: (held,) for one, held in remembered.items() if held is not None
        }
        at_hand = _by_key(brought)
        for one in lacking:
            kind, identifier = key = wanted.keys[one]
            held = at_hand.get(key) or tuple(
                found
                for found in await self.manager.by_identifier(kind, identifier, context)
                if found.type == kind and identifier in found.identifiers
            )
            actors[one] = held
            if len(held) == 1:
                self.memory.put(key, held[0])
        return Holdings(circles, actors)

    async def _circles(
        self, wanted: _Wanted, context: RequestContext, *, actors: bool
    ) -> tuple[tuple[Entry, ...], list[Entry]]:
        """By identifier, else by the address of its original; and the actors that came along."""
        identifier, brought = wanted.lookups.circle, list[Entry]()
        if identifier is not None:
            found = await self.manager.by_identifier(CIRCLE, identifier, context, actors=actors)
            circles = tuple(one for one in found if one.type == CIRCLE and identifier in one.identifiers)
            if circles:
                return circles, [one for one in found if one.type != CIRCLE]
        if wanted.event.change.operation is not Operation.CREATED:  # before that there was none
            address = wanted.lookups.address
            return tuple(await self.manager.by_address(address, context, thorough=wanted.gone)), brought
        return (), brought

    # --- writing

    async def _write(
        self, writes: Sequence[Write], wanted: _Wanted, holdings: Holdings, context: RequestContext
    ) -> bool:
        """False where another event wrote, or just writes, something of it: look again."""
        keys = _names(writes, wanted, holdings)
        async with self.turns.taken(keys.values()) as waited:
            if waited or self._overtaken(wanted, holdings):
                return False
            made: dict[str, str] = {}
            for write in writes:
                held = await self._written(write, made, context)
                made[write.full_url] = _reference(held)
                key = keys.get(write.full_url)
                if write.type != CIRCLE and key is not None:
                    self.memory.put(key, held)
        return True

    def _overtaken(self, wanted: _Wanted, holdings: Holdings) -> bool:
        """Whether it is known by now that an actor is there, or is another one, or of another version."""
        for one, key in wanted.keys.items():
            known = self.memory.get(key)
            there = [(held.local_id, held.version_id) for held in holdings.actors.get(one, ())]
            if known is not None and (known.local_id, known.version_id) not in there:
                return True
        return False

    async def _written(self, write: Write, made: Mapping[str, str], context: RequestContext) -> Entry:
        """What stands at the manager then. Raises `ChangedError`, `TurnedDownError`, `ManagerError`."""
        body = write.body(made)
        if write.local_id is not None:
            version = await self.manager.update(write.type, write.local_id, write.version_id, body, context)
            return _held(write, write.local_id, version)
        done = await self.manager.create(write.type, body, write.criterion, context)
        if done.local_id is None or done.found:
            raise ChangedError  # the next look shows what it is
        return _held(write, done.local_id, done.version_id)

    async def _remove(self, decision: Remove, context: RequestContext) -> None:
        for held, instead in zip(decision.replicas, decision.instead, strict=True):
            if not await self.manager.delete(CIRCLE, held.local_id, context):
                await self._written(instead, {}, context)


def _is_known(wanted: _Wanted, slug: str, circles: tuple[Entry, ...]) -> bool:
    """Whether the replica tells by itself that nothing is to be done: for what is delivered again, actors need no look."""
    number, address = wanted.event.change.sequence, wanted.lookups.address
    later = (one for one in circles if is_copy_of(one, address) and (sequence_of(one) or 0) >= number)
    return any(later) and isinstance(decide(wanted.event, slug, Holdings(circles)), Leave)


def _by_key(brought: Iterable[Entry]) -> dict[ActorKey, tuple[Entry, ...]]:
    found: dict[ActorKey, tuple[Entry, ...]] = {}
    for held in brought:
        for identifier in usable(held.identifiers):
            key = (held.type, identifier)
            found[key] = (*found.get(key, ()), held)
    return found


def _names(writes: Sequence[Write], wanted: _Wanted, holdings: Holdings) -> dict[str, ActorKey]:
    """By `full_url`, under which name each write is made."""
    names: dict[str, ActorKey] = {}
    *actors, circle = writes
    if wanted.lookups.circle is not None:
        names[circle.full_url] = (CIRCLE, wanted.lookups.circle)
    if not actors:
        return names
    created = {(key[0], token_criterion(*key[1])): key for key in wanted.keys.values()}
    updated = {
        _reference(held): key for one, key in wanted.keys.items() for held in holdings.actors.get(one, ())
    }
    for write in actors:
        key = (
            created.get((write.type, write.criterion or ""))
            if write.local_id is None
            else updated.get(write.target)
        )
        if key is not None:
            names[write.full_url] = key
    return names


def _held(write: Write, local_id: str, version: str | None) -> Entry:
    """What a write leaves at the manager, as far as it matters to the next event."""
    meta = write.resource["meta"]
    tags = tuple((tag.get("system"), tag["code"]) for tag in meta["tag"] if tag.get("code"))
    return Entry("match", write.type, local_id, local_id, version, None, meta.get("source"), tags, b"")


def _reference(held: Entry) -> str:
    return f"{held.type}/{held.local_id}"
