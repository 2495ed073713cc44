"""`WriteLog` on Redis or Valkey, one server or a cluster. What it promises is said at the port.

The log is as sure as its store: the server must not evict keys (`maxmemory-policy noeviction`), and should write each
command to disk (`appendonly yes`) and wait for a replica where one is to take over.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from registry import write_scripts as scripts
from registry.outbox_model import CircleChange
from registry.outbox_wire import change_arguments
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys
from registry.redis_script import RedisScript
from registry.redis_shared import ScriptRunner
from registry.write_model import Due, Name, Taken

_CLAIM = RedisScript(scripts.CLAIM)
_INTEND = RedisScript(scripts.INTEND)
_FINISH = RedisScript(scripts.FINISH)
_LOOK = RedisScript(scripts.LOOK)
_DUE = RedisScript(scripts.DUE)
_POSTPONE = RedisScript(scripts.POSTPONE)
_PENDING = RedisScript(scripts.PENDING)


class RedisWriteLog:
    """`outbox`: whether changes go there; off where nobody publishes them."""

    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None, outbox: bool = True) -> None:
        self._scripts = ScriptRunner(client)
        self._outbox = outbox
        self._keys = keys or RedisKeys()

    async def claim(self, names: Sequence[Name], *, seconds: float) -> int | Taken:
        # The nonce lets a repeated call know its own claim.
        arguments = (_milliseconds(seconds), secrets.token_bytes(9))
        answer: list[bytes] = await self._scripts.run(
            _CLAIM, [self._keys.write_token, *self._of(names)], arguments
        )
        token, *in_the_way = answer
        if not in_the_way:
            return int(token)
        return Taken(int(token), in_the_way[0].decode() or None)

    async def intend(
        self, intent: str, blob: bytes, *, names: Sequence[Name] = (), token: int | None = None, due: float
    ) -> bool:
        keys = [
            self._keys.write_token,
            self._keys.write_intents,
            self._keys.write_blobs,
            self._keys.write_due,
            self._keys.write_begun,
            *self._of(names),
        ]
        arguments = (intent, blob, _milliseconds(due), _text(token), _joined(names))
        return bool(await self._scripts.run(_INTEND, keys, arguments))

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
        buckets, told = change_arguments(changes if self._outbox else (), self._keys)
        while True:
            keys = [
                self._keys.write_intents,
                self._keys.write_blobs,
                self._keys.write_due,
                self._keys.write_begun,
                *self._of(names),
                self._keys.outbox,
                self._keys.outbox_epoch,
                *buckets,
            ]
            kept = 0 if result is None or keep <= 0 else _milliseconds(keep)
            said = (intent or "", _text(token), _joined(names), kept, result or b"", len(names), *told)
            answer: int | bytes = await self._scripts.run(_FINISH, keys, said)
            if isinstance(answer, int):
                return bool(answer)
            names = tuple(dict.fromkeys((*names, *_names(answer))))

    async def look(self, names: Sequence[Name]) -> tuple[int | None, bytes | None]:
        if not names:
            return None, None
        found: list[tuple[bytes | None, bytes | None]] = await self._scripts.run(_LOOK, self._of(names), ())
        tokens = (int(token) for token, result in found if token is not None and result is None)
        return next(tokens, None), next((result for _, result in found if result is not None), None)

    async def due(self, *, limit: int, lease: float) -> Sequence[Due]:
        if limit <= 0:
            return ()
        keys = [self._keys.write_due, self._keys.write_intents, self._keys.write_blobs]
        handed: list[tuple[bytes, bytes, bytes]] = await self._scripts.run(
            _DUE, keys, (limit, _milliseconds(lease))
        )
        return [_due(*one) for one in handed]

    async def postpone(self, intent: str, *, seconds: float, blob: bytes | None = None) -> None:
        keys = [self._keys.write_due, self._keys.write_blobs]
        more = () if blob is None else (blob,)
        await self._scripts.run(_POSTPONE, keys, (intent, _milliseconds(seconds), *more))

    async def pending(self) -> tuple[int, float | None]:
        count, age = await self._scripts.run(_PENDING, [self._keys.write_begun], ())
        return count, age / 1000 if count else None

    def _of(self, names: Sequence[Name]) -> list[str]:
        return [self._keys.write_name(name) for name in names]


def _due(intent: bytes, record: bytes, blob: bytes) -> Due:
    token, attempts, names = record.split(b" ", 2)
    return Due(intent.decode(), int(token), _names(names), blob, int(attempts))


def _joined(names: Sequence[Name]) -> str:
    return " ".join(name.hex() for name in names)


def _names(joined: bytes) -> tuple[Name, ...]:
    return tuple(bytes.fromhex(name.decode()) for name in joined.split())


def _text(token: int | None) -> str:
    return "" if token is None else str(token)


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
