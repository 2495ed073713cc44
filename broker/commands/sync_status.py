"""`cds-broker sync status`: how far each manager's agents are behind, and what they could not apply, by the log itself."""

from __future__ import annotations

from pathlib import Path

import orjson
import typer
from rich.console import Console
from rich.table import Table

from broker.commands.sync_log import AsJson, Config, Json, Slug, age, subscribers, with_log
from broker.commands.terminal import said
from broker.sync.agent import backlog
from broker.sync.change_log import ChangeLog
from broker.sync.dead_letters import DeadLetters


def status(gestionnaire: Slug = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show for each manager with a topic what its agents have still to apply, and its dead letters.

    Asked of the change log, so that it is true also where no agent runs.
    """
    found = _asked(gestionnaire, config)
    if as_json:
        typer.echo(orjson.dumps({"managers": found}, option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        typer.echo(said("Aucun gestionnaire abonné.", "No manager is subscribed."))
        return
    table = Table(
        said("Gestionnaire", "Manager"),
        said("À appliquer", "To apply"),
        said("Depuis", "For"),
        said("Lettres mortes", "Dead letters"),
    )
    for one in found:
        events, seconds = one["backlog_events"], one["backlog_seconds"]
        waits = said("pas de sujet", "no topic") if events is None else str(events)
        table.add_row(one["id"], waits, age(seconds) if events else "", str(one["dead_letters"]))
    Console().print(table)


def _asked(slug: str | None, config: Path | None) -> list[Json]:
    async def work(log: ChangeLog, prefix: str) -> list[Json]:
        return [await _line(log, prefix, one) for one in await subscribers(log, prefix, slug)]

    return with_log(config, work)


async def _line(log: ChangeLog, prefix: str, slug: str) -> Json:
    left = await backlog(log, slug, prefix)
    return {
        "id": slug,
        "backlog_events": None if left is None else left.events,
        "backlog_seconds": None if left is None else round(left.seconds, 3),
        "dead_letters": len(await DeadLetters(log, slug, prefix).all()),
    }
