"""Page states: kept sealed in the shared store, addressed by the tokens of `core.cursor`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from broker.core import cursor
from broker.core.cursor import Cursor
from broker.core.merge import Position
from broker.errors import RequestError
from broker.federation.context import RequestContext
from broker.ports import CursorStore


class PageState(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that a later page needs to be made by any node.

    `kind`: `search` or `history`. `pairs`: the query in canonical names. `watermark`: the key of the last match given
    out (see `core.merge`). `positions`: a stream per manager asked, by slug. `shown`: circle keys already shown, to
    the public id under which they were (see `core.dedup`). `ignored`: criteria by name that a manager showed not to
    apply, by slug. `silent`: managers that were left out because the index says that they hold no match. `first`,
    `previous`: tokens of those pages. `depth`: which page of the search it is, from 1.
    """

    kind: str
    type: str
    pairs: tuple[tuple[str, str], ...]
    size: int
    watermark: tuple[object, ...] = ()
    positions: dict[str, Position] = {}
    shown: dict[str, str] = {}
    ignored: dict[str, frozenset[str]] = {}
    silent: frozenset[str] = frozenset()
    first: str | None = None
    previous: str | None = None
    depth: int = 1


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PageState).decode


@dataclass(frozen=True, slots=True)
class PageKeeper:
    """Saves page states and finds them again. `secret` is shared by every node of the federation; links made under
    one of the `earlier` ones are good too."""

    store: CursorStore
    secret: bytes = field(repr=False)
    seconds: int
    earlier: Sequence[bytes] = field(default=(), repr=False)

    def mint(self, context: RequestContext) -> Cursor:
        """A new page link, behind which nothing is kept yet."""
        expires_at = int(context.clock.now().timestamp()) + self.seconds
        random = secrets.token_bytes(cursor.RANDOM_BYTES)
        return cursor.mint(self.secret, context.caller, expires_at, random)

    async def keep(self, states: Mapping[Cursor, PageState], context: RequestContext) -> None:
        """The states behind their links, in one exchange. Raises `StoreError`."""
        sealed = {made.place: made.seal(_encode(state)) for made, state in states.items()}
        await context.within(self.store.save(sealed, seconds=self.seconds))

    async def load(self, token: str, context: RequestContext) -> PageState:
        """The state behind a token; `page.forged` or `page.expired` as `RequestError`, or `StoreError`."""
        now = context.clock.now().timestamp()
        found = cursor.read(token, self.secret, context.caller, now, *self.earlier)
        sealed = await context.within(self.store.load(found.place))
        if sealed is None:
            raise RequestError("page.expired")
        return _decode(found.open(sealed))
