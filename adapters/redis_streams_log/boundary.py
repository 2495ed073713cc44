"""The one place where what Redis raises becomes the change log's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from broker.errors import StoreError
from registry.redis_connection import store_errors


@contextmanager
def log_errors() -> Iterator[None]:
    """No answer, a refusal, a bound passed: `StoreError("federation.log")`. A cancellation is heeded."""
    try:
        with store_errors():
            yield
    except StoreError as error:
        if error.key != "federation.store":
            raise
        raise StoreError("federation.log") from error.__cause__


async def piped(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """One round trip, no transaction. `client`: redis-py types its commands as sync-or-async unions."""
    if not commands:
        return []
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute()
    return answers
