"""Reading keys on one connection for everybody at once: what is asked during an exchange goes with the next one.

A pool gives each reader a connection and an exchange of its own; that costs a search more than planning it does. Here
sixteen searches at a time share a few exchanges, and what all of them read (the locator's document) is sent once in each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from broker.errors import StoreError
from registry.redis_connection import store_errors

MOST_AT_ONCE = 256
"""Readers that one exchange serves, so that none holds the server up."""

Values = list[bytes | None]

_Asked = tuple[Sequence[str], "asyncio.Future[Values]"]


class SharedReader:
    """`MGET` on a connection that is held. For one server; the nodes of a cluster hold different keys."""

    __slots__ = ("_connection", "_pool", "_reading", "_waiting")

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool  # which closes the connection when the client is closed
        self._connection: Any = None
        self._waiting: list[_Asked] = []
        self._reading: asyncio.Task[None] | None = None

    async def read(self, keys: Sequence[str]) -> Values:
        """The values at one instant, in the order of their keys. Raises `StoreError`."""
        answer: asyncio.Future[Values] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, answer))
        if self._reading is None:
            # A task, so that a reader who leaves takes nobody else's answer along.
            self._reading = asyncio.create_task(self._serve(), name="shared reader")
        return await answer

    async def _serve(self) -> None:
        served: list[_Asked] = []
        try:
            while self._waiting:
                served, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                await self._answer(served)
        finally:
            self._reading = None
            left, self._waiting = served + self._waiting, []
            _refuse(left, StoreError("federation.store"))  # nobody is left waiting, whatever ended this

    async def _answer(self, readers: Sequence[_Asked]) -> None:
        keys = list(dict.fromkeys(key for asked, _ in readers for key in asked))
        try:
            with store_errors():
                values = dict(zip(keys, await self._values(keys), strict=True))
        except StoreError as error:
            _refuse(readers, error)
            return
        for asked, answer in readers:
            if not answer.done():
                answer.set_result([values[key] for key in asked])

    async def _values(self, keys: Sequence[str]) -> Values:
        if self._connection is None:
            self._connection = await self._pool.get_connection()
        kept = self._connection.is_connected
        try:
            return await self._exchanged(keys)
        except RedisConnectionError:
            if not kept:
                raise
            return await self._exchanged(keys)  # a server closes idle connections when it likes

    async def _exchanged(self, keys: Sequence[str]) -> Values:
        """Connects anew where the connection was lost; one that fails in an exchange is closed by redis-py."""
        connection = self._connection
        await connection.send_packed_command(connection.pack_command("MGET", *keys), check_health=False)
        values: Values = await connection.read_response(disable_decoding=True)
        return values


def _refuse(readers: Sequence[_Asked], error: StoreError) -> None:
    for _, answer in readers:
        if not answer.done():
            answer.set_exception(error)
