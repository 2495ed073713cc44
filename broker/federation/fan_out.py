"""Asking many managers at once: each fails by itself, and nobody waits longer than the request's deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from broker.errors import ManagerError
from broker.tracing import stage

T = TypeVar("T")


async def fan_out(slugs: Sequence[str], ask: Callable[[str], Awaitable[T]]) -> Mapping[str, T | ManagerError]:
    """What each manager gave, or how it failed. Cancelling this cancels every question under way."""
    if len(slugs) == 1:
        return {slugs[0]: await _settled(slugs[0], ask)}
    try:
        with stage("fan-out") as span:
            span.note("cds.managers", len(slugs))
            async with asyncio.TaskGroup() as group:
                tasks = {slug: group.create_task(_settled(slug, ask)) for slug in slugs}
    except (
        ExceptionGroup
    ) as raised:  # what is no manager's failure ends the whole request, and says so itself
        raise raised.exceptions[0] from raised
    return {slug: task.result() for slug, task in tasks.items()}


async def _settled(slug: str, ask: Callable[[str], Awaitable[T]]) -> T | ManagerError:
    try:
        return await ask(slug)
    except ManagerError as error:
        return error
