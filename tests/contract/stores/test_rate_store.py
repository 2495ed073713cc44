"""The rate of a client over workers, on a real server: the same sums as `broker.core.rate`, by the server's clock."""

from __future__ import annotations

import asyncio

import pytest

from adapters.clock import SystemClock
from broker.access.rates import Bounds, Rates
from broker.core.rate import Rate, a_second_at_once
from broker.errors import LimitError
from registry.rate_store import RedisRates
from registry.redis_connection import connect
from tests.support.valkey import Valkey


async def test_what_is_spent_beyond_the_burst_is_waited_for(valkey: Valkey) -> None:
    redis = connect(valkey.url)
    try:
        rates, rate = RedisRates(redis, keys=valkey.keys), Rate(10, 5)
        assert await rates.spend("a", rate, 1) == 0
        assert await rates.spend("a", rate, 3) == 0
        assert 0 <= await rates.spend("a", rate, 1) <= 0.1
        assert 0.9 <= await rates.spend("a", rate, 10) <= 1.1
        assert await rates.spend("b", rate, 1) == 0, "another client"
        assert 9 <= await rates.spend("a", rate, 1_000_000) <= 10.1, "no debt is for ever"
        keys = [key async for key in redis.scan_iter(f"{valkey.keys.prefix}:rate:*")]
        assert len(keys) == 2
        assert min([await redis.pttl(key) for key in keys]) > 0
        assert not any(b":a" in key for key in keys), "no name of a client in a key"
    finally:
        await redis.aclose()


@pytest.mark.parametrize("workers", [2, 4])
async def test_several_workers_let_through_what_one_client_is_due(valkey: Valkey, workers: int) -> None:
    redis, clock = connect(valkey.url), SystemClock()
    shared = RedisRates(redis, keys=valkey.keys)
    each = [Rates(Bounds(a_second_at_once(100), 1000), clock, shared) for _ in range(workers)]
    running = [asyncio.create_task(rates.run()) for rates in each]
    passed, seconds = 0, 1.5
    begun = clock.monotonic()
    try:
        while (now := clock.monotonic()) - begun < seconds:
            for rates in each:
                account = rates.account("c")
                try:
                    rates.admit("c", account)
                except LimitError:
                    continue
                rates.done(account)
                passed += 1
            await asyncio.sleep(0.0005)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await redis.aclose()
    due = 100 + (now - begun) * 100
    # The loop asks far faster than a real client could: up to a few batches (a twentieth of a second's worth each) are
    # on their way when the store says that it is enough.
    assert due * 0.8 <= passed <= due + workers * 20
    assert passed < workers * due * 0.8, "not each the whole"
