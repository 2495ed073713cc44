"""`broker.access.rates.SharedRates` on Redis: one number for each client, by the server's own clock."""

from __future__ import annotations

import hashlib
from typing import Final

from broker.core.rate import Rate
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys
from registry.redis_script import RedisScript

_DEBT: Final = 10.0
"""Seconds: what workers let through beyond the rate is not held against a client for longer."""

_SPEND: Final = RedisScript(
    """
-- KEYS[1]: instant up to which is paid, microseconds. ARGV: interval, tolerance, longest debt (microseconds), count
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local paid = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + ARGV[1] * ARGV[4]
paid = math.min(paid, now + ARGV[2] + ARGV[3])
redis.call('SET', KEYS[1], string.format('%.0f', paid), 'PX', math.ceil((paid - now) / 1000) + 1000)
return math.ceil(math.max(0, paid - ARGV[2] - now))
"""
)


class RedisRates:
    def __init__(self, client: RedisClient, *, keys: RedisKeys | None = None) -> None:
        self._client = client
        self._keys = keys or RedisKeys()

    async def spend(self, client: str, rate: Rate, count: int) -> float:
        """Seconds until the next is due. Raises `StoreError`."""
        name = hashlib.sha256(client.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        arguments = [_micro(rate.interval), _micro(rate.tolerance), _micro(_DEBT), count]
        wait = await _SPEND.run(self._client, [self._keys.rate(name)], arguments)
        return int(wait) / 1_000_000


def _micro(seconds: float) -> int:
    return max(0, round(seconds * 1_000_000))
