"""A real store's keys, made older: what its own clock would do, without the wait."""

from __future__ import annotations

from typing import Any

from registry.redis_keys import RedisKeys


async def age(client: Any, keys: RedisKeys, seconds: float) -> None:
    """Keys that would have expired are gone, the others have that much less to live; dates are that far back."""
    passed = round(seconds * 1000)
    for key in [key async for key in client.scan_iter(match=f"{keys.prefix}:*", count=1000)]:
        left = await client.pttl(key)
        if 0 <= left <= passed:
            await client.delete(key)
        elif left > 0:
            await client.pexpire(key, left - passed)
    for dated in (keys.write_due, keys.write_begun):
        for member, score in await client.zrange(dated, 0, -1, withscores=True):
            await client.zadd(dated, {member: score - passed})
