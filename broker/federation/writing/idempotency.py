"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): the same request again is answered as it was before.

On every node, for a day, for the caller whose key it is. A request that ended in an error that nothing was written for frees
its key; one of which nobody knows yet keeps it until the settler does. The store holds a digest of the key and the answer
sealed.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil

import msgspec

from broker.core.sealing import Sealer
from broker.errors import BrokerError, RequestError, StoreError
from broker.federation.context import RequestContext
from broker.federation.writing.records import Replay, WriteAnswer
from broker.ports import Clock
from registry.ports import IdempotencyStore
from registry.write_model import Different, Done, Running

_log = logging.getLogger("broker.writes")

DAY = 86_400
MAX_KEY = 255
_PURPOSE = "idempotency"
_KEPT = frozenset({"etag", "last-modified", "location", "content-location", "warning"})
_AGAIN = (0.05, 0.2, 0.5, 1.0)  # seconds
_UNDECIDED = frozenset({"write.unknown"})
"""Errors after which the key stays taken: what was sent may have happened."""


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    status: int
    body: bytes
    headers: dict[str, str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


@dataclass(frozen=True, slots=True)
class Idempotency:
    """`hold`: seconds for which a key is kept from others while its request runs: until the settler looks, at least.

    Who dies before anything was sent keeps it no longer than that.
    """

    store: IdempotencyStore
    sealer: Sealer
    clock: Clock
    hold: float

    async def once(
        self,
        key: str | None,
        fingerprint: bytes,
        context: RequestContext,
        work: Callable[[Replay | None], Awaitable[WriteAnswer]],
    ) -> WriteAnswer:
        """Do the work, or answer again what it was answered. No key: just do it.

        Raises `idempotency.bad-key` (400), `.other-request` (422), `.running` (409), `StoreError`.
        """
        if key is None:
            return await work(None)
        name = self.sealer.digest(_PURPOSE, f"{context.caller}\n{_checked(key)}".encode())
        owner = secrets.token_hex(16)
        found = await self.store.begin(
            name, hashlib.sha256(fingerprint).digest(), owner=owner, seconds=ceil(self.hold)
        )
        match found:
            case Done():
                return self._again(found.blob)
            case Running():
                raise RequestError("idempotency.running")
            case Different():
                raise RequestError("idempotency.other-request")
        try:
            answer = await work(Replay(name, owner))
        except BrokerError as error:
            if error.key in _UNDECIDED:
                await self.hold_on(Replay(name, owner))
            else:
                await self._abandon(name, owner)
            raise
        if answer.status < 500:
            await self.keep(Replay(name, owner), answer)
        else:
            await self._abandon(name, owner)
        return answer

    async def keep(self, replay: Replay, answer: WriteAnswer) -> bool:
        """Keep an answer for a day. False where the store is out: the key stays taken for a while, rather refused than
        written twice."""
        headers = {name: value for name, value in answer.headers.items() if name in _KEPT}
        blob = self.sealer.seal(_PURPOSE, _encode(_Kept(answer.status, answer.body, headers)))
        try:
            await self.store.finish(replay.key, replay.owner, blob, seconds=DAY)
        except StoreError:
            _log.warning("an answer could not be kept for its Idempotency-Key")
            return False
        return True

    async def hold_on(self, replay: Replay) -> None:
        """Nobody knows yet: the key stays taken for a day, or until it is known."""
        try:
            await self.store.hold(replay.key, replay.owner, seconds=DAY)
        except StoreError:
            _log.warning("an Idempotency-Key could not be held on to")

    async def give_up(self, replay: Replay) -> None:
        """Nothing was written after all: the key is as if it had never been used."""
        await self._abandon(replay.key, replay.owner)

    async def _abandon(self, key: bytes, owner: str) -> None:
        """Where the store is out it is tried again a few times; after `hold` the key is free by itself."""
        for pause in _AGAIN:
            try:
                return await self.store.abandon(key, owner)
            except StoreError:
                await self.clock.sleep(pause)
        _log.warning("an Idempotency-Key could not be freed yet")
        return None

    def _again(self, blob: bytes) -> WriteAnswer:
        plain = self.sealer.open(_PURPOSE, blob)
        if plain is None:  # its secret is gone
            raise RequestError("idempotency.running")
        kept = _decode(plain)
        return WriteAnswer(kept.status, kept.body, kept.headers)


def _checked(key: str) -> str:
    """The key, a quoted string (RFC 8941) or bare as most clients send it."""
    plain = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if not plain or len(plain) > MAX_KEY or not plain.isascii() or not plain.isprintable():
        raise RequestError("idempotency.bad-key", limit=MAX_KEY)
    return plain
