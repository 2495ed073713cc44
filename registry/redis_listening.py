"""Following a channel of Redis or Valkey for as long as somebody listens, over lost connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from broker.errors import StoreError
from broker.ports import Clock
from registry.redis_connection import RedisClient, store_errors

MAX_RECONNECT = 5.0
"""Longest wait between two attempts to listen again, in seconds."""


async def listen(client: RedisClient, channel: str, clock: Clock) -> AsyncGenerator[bytes]:
    """Each message; empty as soon as it listens, and again whenever a lost connection came back: some were missed."""
    wait = 0.1
    while True:
        try:
            async with aclosing(_messages(client, channel)) as messages:
                async for message in messages:
                    wait = 0.1
                    yield message
        except StoreError:
            await clock.sleep(wait)
            wait = min(wait * 2, MAX_RECONNECT)


async def _messages(client: Any, channel: str) -> AsyncGenerator[bytes]:
    """`client`: redis-py types its commands as sync-or-async unions."""
    with store_errors():
        await client.initialize()  # a cluster has to know its nodes before it can listen to one
        pubsub = client.pubsub()
    try:
        with store_errors():
            await pubsub.subscribe(channel)
        while True:
            with store_errors():
                # The bound only lets redis-py send its health check on a quiet line.
                message = await pubsub.get_message(timeout=5.0)
            if message is None:
                continue
            if message["type"] == "subscribe":
                yield b""
            elif message["type"] == "message":
                yield message["data"]
    finally:
        with suppress(StoreError), store_errors():
            await pubsub.aclose()
