"""A real worker of the broker, on a real Valkey, whose managers are registered and known to be able."""

from __future__ import annotations

import cProfile
import pstats
import sys
from typing import Any

import msgspec

from adapters.clock import SystemClock
from broker.commands.garbage import settle
from broker.core.dialects import effective_skills
from broker.settings import Settings
from broker.wiring import running_broker
from registry.model import REGIONS, Gestionnaire, Registered, Skills
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.redis_store import RedisGestionnaireStore
from tests.benchmarks.children import main, say, serve_commands
from tests.benchmarks.write_parts import Parts

SECRET = b"a secret for benchmarks, long enough"


def managers(bases: list[str]) -> list[Gestionnaire]:
    return [
        Gestionnaire(f"reg{number:02}", name, code, base, timeout=1.0)
        for number, (base, (code, name)) in enumerate(zip(bases, sorted(REGIONS.items()), strict=False))
    ]


def able(manager: Gestionnaire, now: str) -> Skills:
    """Skills as a check of the guide's whole manager finds them: nothing is left to be bridged."""
    preset = msgspec.structs.replace(manager, dialect="gestionnaire")
    return msgspec.structs.replace(effective_skills(Registered(preset, 1, now)), checked_at=now)


async def register(redis_url: str, prefix: str, bases: list[str]) -> None:
    """Before the broker starts, so that it finds nothing left to check."""
    clock = SystemClock()
    redis = connect(redis_url)
    store = RedisGestionnaireStore(redis, clock, keys=RedisKeys(prefix))
    for manager in managers(bases):
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


async def work(argument: Any) -> None:
    """`sync`: whether changes are published, which each benchmark says; `settings`: more of them."""
    await register(argument["redis"], argument["prefix"], argument["bases"])
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
    async with running_broker(settings, redis_url=argument["redis"], secret=SECRET) as running:
        settle()
        say({"base": running.base_url})
        profiler, parts = Profiler(), Parts()
        await serve_commands(
            {
                "profile": profiler.start,
                "report": profiler.stop,
                "parts": parts.start,
                "parts-so-far": parts.told,
            }
        )


if __name__ == "__main__":
    main(work)
