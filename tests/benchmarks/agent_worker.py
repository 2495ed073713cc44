"""The agent in a process of its own, asked for its figures while it works."""

from __future__ import annotations

import asyncio
from typing import Any

from adapters.clock import SystemClock
from broker.commands.garbage import settle
from broker.settings import Settings
from broker.wiring_sync import open_log, running_agent
from registry.model import Gestionnaire
from tests.benchmarks.children import main, say, serve_commands


async def work(argument: Any) -> None:
    settings = Settings.load(**argument["settings"])
    stop = asyncio.Event()
    manager = Gestionnaire("occ", "Occitanie", "76", argument["base"])
    async with (
        open_log(settings) as log,
        running_agent(log, manager, SystemClock(), stop, settings=settings) as agent,
    ):
        settle()
        working = asyncio.create_task(agent.run(stop))
        say({})
        await serve_commands({"figures": lambda _: dict(agent.tally.figures())})
        stop.set()
        await working


if __name__ == "__main__":
    main(work)
