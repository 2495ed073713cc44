"""One connection for everybody at once: what is asked during an exchange goes with the next one.

A pool gives each caller a connection and an exchange of its own; that costs a search more than planning it does. Here
sixteen callers at a time share a few exchanges, and what all of them read (the locator's document) is sent once in each.

What is asked must be quick, for whoever comes next waits for it, and such that it may be done twice: where the connection
breaks, all of it is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.errors import StoreError
from registry.redis_connection import RedisClient, store_errors
from registry.redis_script import Arguments, RedisScript

MOST_AT_ONCE = 256
"""Callers that one exchange serves, so that none holds the server up."""

Values = list[bytes | None]


class _Asked:
    """Keys to be read, or a whole command; and the future of who waits for the answer."""

    __slots__ = ("answer", "command", "keys")

    def __init__(self, keys: Sequence[str], command: tuple[Any, ...]) -> None:
        self.keys = keys
        self.command = command
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class SharedConnection:
    """For one server; the nodes of a cluster hold different keys.

    The commands of one exchange are done in the order in which they were asked, and the keys are read after them.
    """

    __slots__ = ("_connection", "_patience", "_pool", "_serving", "_waiting")

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool  # which closes the connection when the client is closed
        self._connection: Any = None
        self._patience: float | None = None
        self._waiting: list[_Asked] = []
        self._serving: asyncio.Task[None] | None = None

    async def read(self, keys: Sequence[str]) -> Values:
        """The values at one instant, in the order of their keys. Raises `StoreError`."""
        values: Values = await self._ask(_Asked(keys, ()))
        return values

    async def run(self, script: RedisScript, keys: Sequence[str], arguments: Arguments) -> Any:
        """What a script answers. Raises `StoreError`; its cause is of redis-py."""
        try:
            return await self._ask(_Asked((), ("EVALSHA", script.hash, len(keys), *keys, *arguments)))
        except StoreError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return await self._ask(_Asked((), ("EVAL", script.text, len(keys), *keys, *arguments)))

    async def _ask(self, asked: _Asked) -> Any:
        self._waiting.append(asked)
        if self._serving is None:
            # A task, so that a caller who leaves takes nobody else's answer along.
            self._serving = asyncio.create_task(self._serve(), name="shared connection")
        return await asked.answer

    async def _serve(self) -> None:
        served: list[_Asked] = []
        try:
            while self._waiting:
                served, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                await self._answer(served)
        finally:
            self._serving = None
            left, self._waiting = served + self._waiting, []
            _refuse(left, StoreError("federation.store"))  # nobody is left waiting, whatever ended this

    async def _answer(self, served: Sequence[_Asked]) -> None:
        keys = list(dict.fromkeys(key for one in served for key in one.keys))
        commands = [one.command for one in served if one.command]
        if keys:
            commands.append(("MGET", *keys))
        try:
            with store_errors():
                try:
                    answers = await self._exchanged(commands)
                finally:
                    await self._left_by(served)
        except StoreError as error:
            _refuse(served, error)
            return
        values = dict(zip(keys, answers.pop(), strict=True)) if keys else {}
        each = iter(answers)
        for one in served:
            found = next(each) if one.command else [values[key] for key in one.keys]
            if one.answer.done():
                continue
            if isinstance(found, ResponseError):
                one.answer.set_exception(_refusal(found))
            else:
                one.answer.set_result(found)

    async def _left_by(self, served: Sequence[_Asked]) -> None:
        """Where all have left, the client may be closed by now: what was opened since would stay open."""
        if self._connection is not None and all(one.answer.done() for one in served):
            await self._connection.disconnect(nowait=True)

    async def _exchanged(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers, in order; refusals of the server among them."""
        if self._connection is None:
            self._connection = await self._pool.get_connection()
            # One clock for a whole exchange, in place of one for each part of it.
            self._patience, self._connection.socket_timeout = self._connection.socket_timeout, None
        kept = self._connection.is_connected
        try:
            return await self._within(commands)
        except RedisConnectionError:
            if not kept:
                raise
            return await self._within(commands)  # a server closes idle connections when it likes

    async def _within(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Connects anew where the connection was lost; one that fails in an exchange is closed by redis-py."""
        connection = self._connection
        packed = b"".join([_packed(command) for command in commands])
        answers: list[Any] = []
        try:
            async with asyncio.timeout(self._patience):
                await connection.send_packed_command(packed, check_health=False)
                for _ in commands:
                    try:
                        answers.append(await connection.read_response(disable_decoding=True))
                    except ResponseError as error:
                        answers.append(error)
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise RedisTimeoutError("no answer in time") from None
        return answers


class ScriptRunner:
    """Runs the scripts of one store: over one shared connection; on a cluster by its client."""

    __slots__ = ("_client", "_shared")

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._shared = None if isinstance(client, RedisCluster) else SharedConnection(client)

    async def run(self, script: RedisScript, keys: Sequence[str], arguments: Arguments) -> Any:
        """Raises `StoreError`."""
        if self._shared is None:
            return await script.run(self._client, keys, arguments)
        return await self._shared.run(script, keys, arguments)


def _packed(command: Sequence[str | bytes | int]) -> bytes:
    """As RESP has it, in half the time that redis-py takes for a script with many keys."""
    parts = [b"*%d\r\n" % len(command)]
    for one in command:
        data = one if isinstance(one, bytes) else str(one).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _refusal(error: ResponseError) -> StoreError:
    refused = StoreError("federation.store")
    refused.__cause__ = error
    return refused


def _refuse(callers: Sequence[_Asked], error: StoreError) -> None:
    for one in callers:
        if not one.answer.done():
            one.answer.set_exception(error)
