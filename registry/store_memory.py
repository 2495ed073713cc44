"""Whether the store may throw keys away: a server at its memory limit evicts by its `maxmemory-policy`.

Read from `INFO`, which is allowed where managed servers forbid `CONFIG GET`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio.cluster import RedisCluster

from registry.redis_connection import RedisClient, store_errors

NO_EVICTION: Final = "noeviction"


@dataclass(frozen=True, slots=True)
class StoreMemory:
    """`policy`: that of a server which evicts where there is one; None where no server tells. `limited`: whether one that
    evicts has a limit, so that it does. `evicted`: keys that were, since the servers started."""

    policy: str | None
    limited: bool
    evicted: int

    @property
    def may_evict(self) -> bool:
        return self.policy not in (None, NO_EVICTION) and self.limited


class RedisMemory:
    def __init__(self, client: RedisClient) -> None:
        self._client: Any = client  # redis-py types its commands as sync-or-async unions

    async def look(self) -> StoreMemory:
        """Of all servers. Raises `StoreError`, also where `INFO` is not allowed."""
        return told(await self._info("memory"), await self._info("stats"))

    async def _info(self, section: str) -> Sequence[Mapping[str, Any]]:
        """Of each server."""
        with store_errors():
            if not isinstance(self._client, RedisCluster):
                return [await self._client.info(section)]
            found = await self._client.info(section, target_nodes=RedisCluster.PRIMARIES)
        return list(found.values()) if all(isinstance(one, dict) for one in found.values()) else [found]


def told(memory: Sequence[Mapping[str, Any]], stats: Sequence[Mapping[str, Any]]) -> StoreMemory:
    """What the servers' sections of `INFO` say."""
    policies = [one["maxmemory_policy"] for one in memory if "maxmemory_policy" in one]
    evicting = [policy for policy in policies if policy != NO_EVICTION]
    limited = any(
        one.get("maxmemory", 0) for one in memory if one.get("maxmemory_policy", NO_EVICTION) != NO_EVICTION
    )
    policy = evicting[0] if evicting else NO_EVICTION if policies else None
    return StoreMemory(policy, limited, sum(int(one.get("evicted_keys", 0)) for one in stats))
