"""What the commands about topics share: the open log, and whose topics are in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from broker.commands.terminal import run
from broker.core import topics
from broker.settings import Settings
from broker.sync.change_log import ChangeLog

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML file of settings.")]
Slug = Annotated[
    str | None, typer.Option("--gestionnaire", metavar="ID", help="This manager only; none: every one.")
]


def with_log(config: Path | None, work: Callable[[ChangeLog, str], Awaitable[T]]) -> T:
    """Run `work` with the log of the settings and the prefix of its topics. Raises `BrokerError`."""
    from broker.wiring_sync import open_log  # loads the logs' clients, which `--help` need not wait for

    settings = Settings.load(config=config)

    async def session() -> T:
        async with open_log(settings) as log:
            return await work(log, settings.topic_prefix)

    return run(session())


async def subscribers(log: ChangeLog, prefix: str, slug: str | None, *, dead: bool = False) -> list[str]:
    """The slugs that have a topic (`dead`: of dead letters), in order; or the one that is asked for."""
    if slug is not None:
        return [slug]
    beginning = topics.dead_letters("", prefix) if dead else topics.replication("", prefix)
    return [name.removeprefix(beginning) for name in await log.topics() if name.startswith(beginning)]


def age(seconds: float) -> str:
    """`12 s`, `7 min`, `3 h`, `5 d`."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


Json = dict[str, Any]
