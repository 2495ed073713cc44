"""`SentCircles` on Redis or Valkey: some 60 bytes for a circle, as small hashes are kept packed (`hash-max-listpack-…`)."""

from __future__ import annotations

import zlib
from typing import Any

from registry.redis_connection import RedisClient, store_errors
from registry.redis_keys import RedisKeys
from registry.redis_script import RedisScript

_BUCKETS = 65_536  # a hundred circles in each hash, of six million

# KEYS: bucket · ARGV: circle, 1 to add or 0 to take away, subscriptions
_CHANGE = RedisScript("""
local kept, seen = {}, {}
for place = 3, #ARGV do seen[ARGV[place]] = true end
for one in string.gmatch(redis.call('HGET', KEYS[1], ARGV[1]) or '', '%S+') do
  if not seen[one] then kept[#kept + 1] = one end
end
if ARGV[2] == '1' then
  for place = 3, #ARGV do kept[#kept + 1] = ARGV[place] end
end
if #kept == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], table.concat(kept, ' '))
end
return 1
""")


class RedisSentCircles:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client = client
        self._keys = keys or RedisKeys()

    async def sent(self, circle: str) -> frozenset[str]:
        redis: Any = self._client  # redis-py types its commands as sync-or-async unions
        with store_errors():
            found: bytes | None = await redis.hget(self._key(circle), circle)
        return frozenset((found or b"").decode().split())

    async def remember(self, circle: str, subscriptions: frozenset[str]) -> None:
        await self._change(circle, 1, subscriptions)

    async def forget(self, circle: str, subscriptions: frozenset[str]) -> None:
        await self._change(circle, 0, subscriptions)

    async def _change(self, circle: str, add: int, subscriptions: frozenset[str]) -> None:
        if subscriptions:
            await _CHANGE.run(self._client, [self._key(circle)], (circle, add, *sorted(subscriptions)))

    def _key(self, circle: str) -> str:
        return self._keys.sent_circles(zlib.crc32(circle.encode()) % _BUCKETS)
