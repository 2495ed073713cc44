"""Taking away what nobody needs any more: old generations, and what managers that left had.

Every bucket's name is computed, none is looked for. Work is done in small batches, so that searches go on between them,
and begins again from the start where it was interrupted: the document says what is to be done until it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from broker.ports import Clock
from registry.locator_document import LocatorDocument
from registry.locator_hash import Kind, tag_of
from registry.locator_scripts import SWEEP_ENTRIES, SWEEP_LINKS
from registry.locator_state import GenerationState, dropped, dropping, swept
from registry.locator_wire import EDITS_PER_SCRIPT, Edit, LocatorWire
from registry.ports import Progress
from registry.redis_keys import RedisKeys


class Sweeper:
    """Every method raises `StoreError`."""

    def __init__(self, wire: LocatorWire, keys: RedisKeys, clock: Clock, document: LocatorDocument) -> None:
        self._wire = wire
        self._keys = keys
        self._clock = clock
        self._document = document

    async def drop(self, number: int, progress: Progress | None, grace: float) -> None:
        """Delete a generation. `grace`: seconds given to those who are just writing to it."""
        view = await self._document.change(partial(dropping, generation=number))
        generation = None if view is None else view.state.find(number)
        if generation is None:
            return
        await self._clock.sleep(grace)
        done, total = 0, _buckets(generation)
        for _, edits in self._batches(generation):
            await self._wire.unlink([edit.key for edit in edits])
            done += len(edits)
            if progress is not None:
                progress(done, total)
        await self._wire.unlink([self._keys.locator_conflicts(number)])
        await self._document.change(partial(dropped, generation=number))

    async def sweep(self, progress: Progress | None) -> None:
        """Remove the records of every manager that left."""
        view = await self._document.fresh()
        todo = [one for one in view.state.generations if one.retired and not one.dropping]
        done, total = 0, sum(map(_buckets, todo))
        for one in todo:
            for kind, edits in self._batches(one, bytes(one.retired)):
                await self._wire.run(SWEEP_ENTRIES if kind is Kind.ENTRIES else SWEEP_LINKS, edits)
                done += len(edits)
                if progress is not None:
                    progress(done, total)
            await self._document.change(partial(swept, generation=one.number, numbers=one.retired))

    def _batches(self, one: GenerationState, argument: bytes = b"") -> Iterator[tuple[Kind, list[Edit]]]:
        """Every bucket, those of one hash tag together."""
        for kind in Kind:
            bits = one.bits(kind)
            step = min(EDITS_PER_SCRIPT, 1 << (bits - 8))
            for start in range(0, 1 << bits, step):
                tag = tag_of(start, bits)
                yield (
                    kind,
                    [
                        Edit(tag, self._keys.locator_bucket(one.number, kind, bucket, tag), (argument,))
                        for bucket in range(start, start + step)
                    ],
                )


def _buckets(one: GenerationState) -> int:
    return sum(1 << one.bits(kind) for kind in Kind)
