"""The locator's one small document: its generations, their managers' numbers and coverage. Pure.

Everything that decides who may be left out is in here, under one key, and is exchanged whole if it still is what was
read. So a reader has all of it in one answer, and a store that lost it has lost all coverage at once: everybody is
asked.

A *generation* is the index as built with one secret and one number of buckets. Its number is drawn at random, so that
one that was lost with its store is never taken for its successor: what somebody still writes for it counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from registry.locator_hash import ENTRIES_PER_BUCKET, LINKS_PER_BUCKET, Kind, bits_for
from registry.locator_model import Coverage, CoverageState
from registry.locator_records import MAX_MANAGER

_T = TypeVar("_T")


class GenerationState(msgspec.Struct, frozen=True, omit_defaults=True):
    """`managers`: slug → number in records, from 1. `retired`: numbers whose records still have to be swept. `free`:
    swept ones, the longest free first; used again when there is no other left.

    `floors`: slug → fence below which nobody's coverage is taken, from when the manager was cleared. `dropping`:
    neither read nor written any more, only deleted.
    """

    number: int
    key_id: str
    expected: int
    managers: Mapping[str, int] = {}
    coverage: Mapping[str, Coverage] = {}
    floors: Mapping[str, int] = {}
    retired: tuple[int, ...] = ()
    free: tuple[int, ...] = ()
    last_number: int = 0
    dropping: bool = False

    def bits(self, kind: Kind) -> int:
        return bits_for(self.expected, ENTRIES_PER_BUCKET if kind is Kind.ENTRIES else LINKS_PER_BUCKET)

    def complete(self) -> frozenset[str]:
        return frozenset(slug for slug, one in self.coverage.items() if one.state is CoverageState.COMPLETE)

    def shape(self) -> tuple[object, ...]:
        """What a reader must have known before it asked: where things are, and whose absence counts."""
        return self.number, self.expected, self.dropping, self.managers, self.complete()


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """`generations`: the oldest first; the last one is being filled or is filled."""

    generations: tuple[GenerationState, ...] = ()

    def find(self, number: int) -> GenerationState | None:
        return next((one for one in self.generations if one.number == number), None)

    def readable(self, key_ids: Iterable[str]) -> tuple[GenerationState, ...]:
        """Those whose secret is at hand."""
        known = frozenset(key_ids)
        return tuple(one for one in self.generations if one.key_id in known and not one.dropping)

    def replaced(self, generation: GenerationState) -> State:
        return State(
            tuple(generation if one.number == generation.number else one for one in self.generations)
        )


EMPTY = State()

_encode = msgspec.json.Encoder(order="deterministic").encode
_decoder = msgspec.json.Decoder(State)


def encode(state: State) -> bytes:
    return _encode(state)


def decode(raw: bytes | None) -> State:
    """Raises `msgspec.MsgspecError`."""
    return EMPTY if not raw else _decoder.decode(raw)


def begun(state: State, number: int, key_id: str, expected: int) -> State:
    floors = state.generations[-1].floors if state.generations else {}
    return State((*state.generations, GenerationState(number, key_id, expected, floors=floors)))


def wants_generation(state: State, current: str, previous: Iterable[str]) -> bool:
    """Nothing there yet; or the secret is a new one and the one before it is at hand: a rotation begins.

    An index that only strangers can read is not pushed aside: it may be this node that has the wrong secret.
    """
    alive = [one for one in state.generations if not one.dropping]
    if not alive:
        return True
    return all(one.key_id != current for one in alive) and alive[-1].key_id in frozenset(previous)


def numbered(state: State, generation: int, slugs: Iterable[str]) -> State | None:
    """With a number for each of the managers; None where they ran out."""
    one = state.find(generation)
    if one is None:
        return state
    managers, last, free = dict(one.managers), one.last_number, one.free
    for slug in slugs:
        if slug in managers:
            continue
        if last < MAX_MANAGER:
            managers[slug] = last = last + 1
        elif free:
            managers[slug], free = free[0], free[1:]
        else:
            return None
    return state.replaced(msgspec.structs.replace(one, managers=managers, last_number=last, free=free))


def covered(state: State, manager: str, coverage: Coverage) -> State | None:
    """None where a later leader has written, or the generation is not there (any more)."""
    one = state.find(coverage.generation)
    if one is None or one.dropping:
        return None
    written = one.coverage.get(manager, Coverage()).fence
    if coverage.fence < max(written, one.floors.get(manager, 0)):
        return None
    return state.replaced(msgspec.structs.replace(one, coverage={**one.coverage, manager: coverage}))


def left(state: State, manager: str, fence: int) -> State:
    """A manager of which nothing is known any more: its number means nothing from here on.

    `fence`: below which a leader of before cannot say that it is complete.
    """
    for one in state.generations:
        number = one.managers.get(manager)
        state = state.replaced(
            msgspec.structs.replace(
                one,
                managers=_without(one.managers, manager),
                coverage=_without(one.coverage, manager),
                floors={**one.floors, manager: fence},
                retired=one.retired if number is None else (*one.retired, number),
            )
        )
    return state


def swept(state: State, generation: int, numbers: Iterable[int]) -> State:
    one = state.find(generation)
    if one is None:
        return state
    gone = [number for number in one.retired if number in frozenset(numbers)]
    left_over = tuple(number for number in one.retired if number not in gone)
    return state.replaced(msgspec.structs.replace(one, retired=left_over, free=(*one.free, *gone)))


def dropping(state: State, generation: int) -> State:
    one = state.find(generation)
    return state if one is None else state.replaced(msgspec.structs.replace(one, dropping=True))


def dropped(state: State, generation: int) -> State:
    return State(tuple(one for one in state.generations if one.number != generation))


def coverage(generations: Iterable[GenerationState]) -> Mapping[str, Coverage]:
    """Every manager's, over generations that are all asked: the newest that is complete, else the newest there is."""
    best: dict[str, Coverage] = {}
    for one in generations:
        for slug, covered_ in one.coverage.items():
            known = best.get(slug)
            if (
                known is None
                or known.state is not CoverageState.COMPLETE
                or covered_.state is CoverageState.COMPLETE
            ):
                best[slug] = covered_
    return best


def superseded(state: State, key_id: str, managers: Iterable[str]) -> tuple[int, ...]:
    """Generations that nobody needs: those before one of this secret that is complete for all `managers`.

    And those whose deletion was begun. Without managers nothing tells that a generation is filled.
    """
    wanted = frozenset(managers)
    begun_ = {one.number for one in state.generations if one.dropping}
    for at in range(len(state.generations) - 1, 0, -1):
        one = state.generations[at]
        if one.key_id == key_id and not one.dropping and wanted and wanted <= one.complete():
            begun_.update(older.number for older in state.generations[:at])
            break
    return tuple(one.number for one in state.generations if one.number in begun_)


def _without(mapping: Mapping[str, _T], slug: str) -> dict[str, _T]:
    return {key: value for key, value in mapping.items() if key != slug}
