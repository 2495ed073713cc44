"""The locator's document on Redis: remembered, read again along with every search, and exchanged whole.

A change is decided on what is remembered and written if that is what is still there; else it is decided anew.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from broker.errors import StoreError
from registry.locator_hash import Keyring
from registry.locator_index import ATTEMPTS, GenerationIndex
from registry.locator_model import Coverage
from registry.locator_state import State, begun, coverage, decode, encode, numbered, wants_generation
from registry.locator_wire import LocatorWire
from registry.redis_connection import store_errors
from registry.redis_keys import RedisKeys


@dataclass(frozen=True, slots=True)
class View:
    """The document as last read. `indexes`: the generations whose secret is at hand, the oldest first.

    `shape`: what a search must have known when it set out.
    """

    raw: bytes
    state: State
    indexes: tuple[GenerationIndex, ...]
    coverage: Mapping[str, Coverage]
    shape: tuple[object, ...]


class LocatorDocument:
    """`rings`: the secrets at hand, the present one last. Every method raises `StoreError`."""

    def __init__(
        self, wire: LocatorWire, keys: RedisKeys, rings: Sequence[Keyring], *, expected: int
    ) -> None:
        self._wire = wire
        self._keys = keys
        self._ring = rings[-1]
        self._rings = {ring.key_id: ring for ring in rings}
        self._expected = expected
        self._view: View | None = None

    @property
    def key(self) -> str:
        return self._keys.locator_state

    async def remembered(self) -> View:
        return self._view or await self.fresh()

    async def fresh(self) -> View:
        (raw,) = await self._wire.read([self.key])
        return self.seen(raw)

    def seen(self, raw: bytes | None) -> View:
        """The view of what was read."""
        raw = raw or b""
        if self._view is None or self._view.raw != raw:
            with store_errors():
                state = decode(raw)
            ours = state.readable(self._rings)
            self._view = View(
                raw,
                state,
                tuple(GenerationIndex(self._wire, self._keys, one, self._rings[one.key_id]) for one in ours),
                coverage(ours),
                tuple(one.shape() for one in ours),
            )
        return self._view

    async def change(self, change: Callable[[State], State | None]) -> View | None:
        """The document after it; None where `change` refuses what is there."""
        view = await self.remembered()
        looked = False
        for _ in range(ATTEMPTS):
            new = change(view.state)
            if new is None or new == view.state:
                if looked:
                    return None if new is None else view
                view, looked = await self.fresh(), True
                continue
            raw = encode(new)
            view = self.seen(await self._wire.replace(self.key, view.raw, raw))
            if view.raw == raw:
                return view
            looked = True
        raise StoreError("federation.store")

    def knows(self, key_id: str) -> bool:
        return key_id in self._rings

    @property
    def key_id(self) -> str:
        """Of the present secret."""
        return self._ring.key_id

    async def begun(self) -> View:
        """With a generation to write to, where this node may begin one."""
        view = await self.remembered()
        if not self._lacking(view.state):
            return view
        start = partial(begun, number=drawn(), key_id=self.key_id, expected=self._expected)
        return await self._surely(lambda state: start(state) if self._lacking(state) else state)

    async def started(self) -> int:
        """The number of a generation that is begun whatever there is."""
        number = drawn()
        await self._surely(partial(begun, number=number, key_id=self.key_id, expected=self._expected))
        return number

    async def numbered(self, managers: frozenset[str]) -> View:
        """With a generation to write to, and a number for each of these managers in each that is written to.

        Raises `StoreError("locator.too-many-managers")`.
        """
        view = await self.begun()
        for index in view.indexes:
            if not managers <= index.generation.managers.keys():
                give = partial(numbered, generation=index.generation.number, slugs=sorted(managers))
                changed = await self.change(give)
                if changed is None:
                    raise StoreError("locator.too-many-managers")
                view = changed
        return view

    def _lacking(self, state: State) -> bool:
        return wants_generation(state, self.key_id, self._rings.keys() - {self.key_id})

    async def _surely(self, change: Callable[[State], State]) -> View:
        view = await self.change(change)
        assert view is not None  # noqa: S101 - for the type checker: such a change refuses nothing
        return view


def drawn() -> int:
    """A generation's number: never 0, and never one that was before."""
    return secrets.randbits(31) | 1 << 30
