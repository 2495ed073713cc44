"""`cds-broker sync agent`: a region's agent, which applies its manager's topic. It needs the change log and that manager."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import msgspec
import orjson
import typer

from adapters.clock import SystemClock
from broker.commands.garbage import settle
from broker.commands.log_lines import log_to_stderr, loop_errors_as_lines
from broker.commands.terminal import run, said
from broker.errors import ConfigurationError
from broker.settings import Settings
from registry.model import SLUG, Gestionnaire
from registry.toml_file import read
from registry.validation import InvalidDeclarationError, declaration

_log = logging.getLogger("broker.agent")


def agent(
    gestionnaire: Annotated[
        str, typer.Option("--gestionnaire", metavar="ID", help="The manager to keep in step; its id.")
    ],
    manager_url: Annotated[
        str | None, typer.Option("--manager-url", metavar="URL", help="The manager's FHIR base address.")
    ] = None,
    gestionnaires: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="TOML file of managers with this one in it: address, credentials, TLS."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file of settings.")] = None,
    lanes: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Circles worked on at a time, at most.")
    ] = 16,
    report: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time between two lines of figures in the log.")
    ] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="End as soon as the topic is worked off.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="At the end, the figures as JSON.")] = False,
) -> None:
    """Apply a manager's replication topic to that manager, until SIGTERM or Ctrl-C.

    Each change is applied once, in order per circle, whatever is restarted and however often it is delivered. What cannot
    be applied goes to the dead letters. A manager that is down is waited for.
    """
    settings = Settings.load(config=config, gestionnaires=gestionnaires)
    manager = chosen_manager(gestionnaire, manager_url, settings.gestionnaires)
    log_to_stderr(settings.log_level, settings.log_format)
    figures = run(_worked(settings, manager, lanes=lanes, report=report, once=once))
    if as_json:
        typer.echo(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())


async def _worked(
    settings: Settings, manager: Gestionnaire, *, lanes: int, report: float, once: bool
) -> dict[str, int]:
    # They load the logs' clients, which no other command of `sync` waits for.
    from broker.sync.agent import AgentOptions
    from broker.wiring_sync import open_log, running_agent

    options = AgentOptions(lanes=lanes, report=report, once=once)
    loop = asyncio.get_running_loop()
    loop_errors_as_lines(loop)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(open_log(settings))
        agent = await stack.enter_async_context(
            running_agent(log, manager, SystemClock(), stop, settings=settings, options=options)
        )
        settle()
        _log.info("agent of %s: topic %s, manager %s", agent.slug, agent.topic, manager.base_url)
        await agent.run(stop)
        _log.info("agent of %s: stopped", agent.slug)
        return dict(agent.tally.figures())


def chosen_manager(slug: str, url: str | None, file: Path | None) -> Gestionnaire:
    """The manager of that id: as the file declares it, with another address where one is given.

    Raises `ConfigurationError` where it is not told where the manager is, or what is told cannot be.
    """
    if SLUG.fullmatch(slug) is None:
        raise ConfigurationError("config.agent-manager", slug=slug, reason="[a-z0-9][a-z0-9-]{0,15}")
    declared = [] if file is None else [one for one in read(file) if one.id == slug]
    if not declared and url is None:
        key = "config.agent-address" if file is None else "config.agent-unknown"
        raise ConfigurationError(key, slug=slug, file=str(file))
    if not declared:
        declared = [Gestionnaire(slug, slug, "", "")]
    return declared[0] if url is None else msgspec.structs.replace(declared[0], base_url=_address(slug, url))


def _address(slug: str, url: str) -> str:
    """Checked by the registry's own rules."""
    try:
        return declaration({"id": slug, "name": slug, "region": "11", "base_url": url}).base_url
    except InvalidDeclarationError as error:
        told = error.problems[0]
        raise ConfigurationError(
            "config.agent-manager", slug=slug, reason=f"--manager-url: {said(told.fr, told.en)}"
        ) from error
