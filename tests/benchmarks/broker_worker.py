"""A real worker of the broker, on a real Valkey, whose managers are registered and known to be able."""

from __future__ import annotations

import asyncio
import cProfile
import multiprocessing
import pstats
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import msgspec
from redis.asyncio.connection import AbstractConnection

from adapters.clock import SystemClock
from broker.commands.colleagues import Colleagues
from broker.commands.garbage import settle
from broker.commands.life import begin
from broker.commands.start import Duty, Start
from broker.core.dialects import effective_skills
from broker.current_request import CURRENT
from broker.settings import Settings
from broker.wiring import listening_socket, running_broker
from registry.model import REGIONS, Gestionnaire, Registered, Skills
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.redis_store import RedisGestionnaireStore
from tests.benchmarks.children import main, say, serve_commands
from tests.benchmarks.write_parts import Parts

SECRET = b"a secret for benchmarks, long enough"


def managers(bases: list[str], patience: float = 1.0) -> list[Gestionnaire]:
    """More of them than there are regions share these in turn."""
    return [
        Gestionnaire(f"reg{number:02}", name, code, base, timeout=patience)
        for number, (base, (code, name)) in enumerate(
            zip(bases, cycle(sorted(REGIONS.items())), strict=False)
        )
    ]


def able(manager: Gestionnaire, now: str) -> Skills:
    """Skills as a check of the guide's whole manager finds them: nothing is left to be bridged."""
    preset = msgspec.structs.replace(manager, dialect="gestionnaire")
    return msgspec.structs.replace(effective_skills(Registered(preset, 1, now)), checked_at=now)


async def register(redis_url: str, prefix: str, bases: list[str], patience: float = 1.0) -> None:
    """Before the broker starts, so that it finds nothing left to check. `patience`: seconds for one manager."""
    clock = SystemClock()
    redis = connect(redis_url)
    store = RedisGestionnaireStore(redis, clock, keys=RedisKeys(prefix))
    for manager in managers(bases, patience):
        await store.put(manager)
        await store.save_skills(manager.id, able(manager, clock.now().isoformat()))
    await redis.aclose()


class Profiler:
    """cProfile over the worker, switched from outside."""

    def __init__(self) -> None:
        self._profile = cProfile.Profile()

    def start(self, _: str) -> None:
        self._profile.enable()

    def stop(self, rows: str) -> None:
        self._profile.disable()
        pstats.Stats(self._profile, stream=sys.stderr).sort_stats("tottime").print_stats(int(rows))


class Exchanges:
    """Round trips to Redis that requests make, counted from `start` on; what runs in the background is not."""

    def __init__(self) -> None:
        self._count = 0

    def start(self, _: str) -> None:
        inner = AbstractConnection.send_packed_command

        async def counted(connection: Any, *args: Any, **named: Any) -> Any:
            self._count += CURRENT.get() is not None
            return await inner(connection, *args, **named)

        AbstractConnection.send_packed_command = counted  # type: ignore[method-assign,assignment]  # only here

    def told(self, _: str) -> int:
        told, self._count = self._count, 0
        return told


@dataclass(frozen=True, slots=True)
class Chores:
    """A process that does them, and the way to it for the one that serves."""

    pid: int | None
    beside: socket.socket


@asynccontextmanager
async def background(start: Start) -> AsyncIterator[Chores]:
    """Started as `cds-broker serve` does; what is the parent there is this process here."""
    colleagues = Colleagues(SystemClock())
    ours, theirs = socket.socketpair()
    own, beside = socket.socketpair()
    process = multiprocessing.get_context("spawn").Process(target=begin, args=(Duty.CHORES, start, theirs))
    process.start()
    theirs.close()
    following = [
        asyncio.create_task(colleagues.follow(name, end))
        for name, end in (("background", ours), ("worker-0", own))
    ]
    try:
        yield Chores(process.pid, beside)
    finally:
        process.terminate()
        await asyncio.to_thread(process.join, 20)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def work(argument: Any) -> None:
    """`sync`: whether changes are published, which each benchmark says; `apart`: whether a process of its own does that and
    whatever else is done in the background; `patience`: see `register`; `settings`: more."""
    patience = float(argument.get("patience", 1.0))
    await register(argument["redis"], argument["prefix"], argument["bases"], patience)
    given = {
        "port": 0,
        "auth": "none",
        "redis_prefix": argument["prefix"],
        "data_dir": argument["data_dir"],
        "locator": bool(argument.get("locator", False)),
        "sync": argument["sync"],
        "audit": "none",  # what it costs is measured by bench_access
        "limit_rate": 1e6,
        "limit_address_rate": 1e6,
    }
    settings = Settings.load(**(given | argument.get("settings", {})))
    async with AsyncExitStack() as stack:
        listener = listening_socket(settings)
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        start = Start(settings, argument["redis"], SECRET)
        chores = await stack.enter_async_context(background(start)) if argument.get("apart") else None
        running = await stack.enter_async_context(
            running_broker(
                settings,
                redis_url=start.redis_url,
                secret=SECRET,
                listener=listener,
                beside=None if chores is None else chores.beside,
            )
        )
        settle()
        say({"base": running.base_url, "background": None if chores is None else chores.pid})
        profiler, parts, exchanges = Profiler(), Parts(), Exchanges()
        await serve_commands(
            {
                "profile": profiler.start,
                "report": profiler.stop,
                "parts": parts.start,
                "parts-so-far": parts.told,
                "exchanges": exchanges.start,
                "exchanges-so-far": exchanges.told,
            }
        )


if __name__ == "__main__":
    main(work)
