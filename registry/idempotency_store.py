"""`IdempotencyStore` on Redis or Valkey: one key each, which expires by itself."""

from __future__ import annotations

from registry import write_scripts as scripts
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys
from registry.redis_script import RedisScript
from registry.write_model import Begun, Different, Done, Fresh, Running

_BEGIN = RedisScript(scripts.BEGIN)
_ANSWER = RedisScript(scripts.ANSWER)
_ABANDON = RedisScript(scripts.ABANDON)
_HOLD = RedisScript(scripts.HOLD)

_BEGUN: dict[bytes, Begun] = {b"fresh": Fresh(), b"running": Running(), b"different": Different()}


class RedisIdempotencyStore:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client = client
        self._keys = keys or RedisKeys()

    async def begin(self, key: bytes, fingerprint: bytes, *, owner: str, seconds: int) -> Begun:
        answer: bytes | list[bytes] = await _BEGIN.run(
            self._client, [self._keys.idempotency(key)], (fingerprint, owner, seconds * 1000)
        )
        return _BEGUN[answer] if isinstance(answer, bytes) else Done(answer[0])

    async def finish(self, key: bytes, owner: str, blob: bytes, *, seconds: int) -> bool:
        return bool(
            await _ANSWER.run(self._client, [self._keys.idempotency(key)], (owner, seconds * 1000, blob))
        )

    async def hold(self, key: bytes, owner: str, *, seconds: int) -> bool:
        return bool(await _HOLD.run(self._client, [self._keys.idempotency(key)], (owner, seconds * 1000)))

    async def abandon(self, key: bytes, owner: str) -> None:
        await _ABANDON.run(self._client, [self._keys.idempotency(key)], (owner,))
