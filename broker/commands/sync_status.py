"""`cds-broker sync status`: how far each manager's agents are behind, and what they could not apply, by the log itself.

With `--url` the running broker is asked, which knows more: what waits to be published, and how far newcomers are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from broker.commands.api_client import ApiClient
from broker.commands.sync_log import AsJson, Config, Json, Slug, age, subscribers, with_log
from broker.commands.terminal import run, said
from broker.sync.change_log import ChangeLog
from broker.sync.dead_letters import DeadLetters

Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="CDS_URL", help="Address of the running broker; none: the change log is asked."
    ),
]


def status(
    gestionnaire: Slug = None, config: Config = None, url: Url = None, as_json: AsJson = False
) -> None:
    """Show for each manager with a topic what its agents have still to apply, and its dead letters.

    Asked of the change log, so that it is true also where no broker runs; with --url of the broker, which also shows what
    waits to be published and how far newcomers are.
    """
    if url is not None:
        _of_broker(url, gestionnaire, as_json)
        return
    found = _asked(gestionnaire, config)
    if as_json:
        typer.echo(orjson.dumps({"managers": found}, option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        typer.echo(said("Aucun gestionnaire abonné.", "No manager is subscribed."))
        return
    Console().print(_subscribers_table(found))


def _subscribers_table(found: list[Json]) -> Table:
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
    return table


def _of_broker(url: str, slug: str | None, as_json: bool) -> None:
    async def ask() -> Json:
        async with ApiClient(url) as api:
            found: Json = await api.call("GET", "/registry/synchronisation")
            return found

    found = run(ask())
    for part in ("subscribers", "bootstraps"):
        found[part] = [one for one in found[part] if slug is None or one["id"] == slug]
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console()
    depth, oldest = found["outbox_depth"], age(found["outbox_seconds"] or 0)
    console.print(
        said(
            f"{found['engine']} ; à publier : {depth} (depuis {oldest}) ; publie : {found['publisher'] or 'personne'}",
            f"{found['engine']}; to be published: {depth} (for {oldest}); publisher: {found['publisher'] or 'nobody'}",
        )
    )
    for name, count in found["waiting_for"].items():
        console.print(said(f"Attend {name} : {count} cercles", f"Waits for {name}: {count} circles"))
    console.print(_subscribers_table(found["subscribers"]))
    console.print(bootstraps_table(found["bootstraps"]))


def bootstraps_table(found: list[Json]) -> Table:
    """How far the present state is on its way to newcomers."""
    table = Table(
        said("Abonné", "Subscriber"),
        said("Gestionnaire", "Manager"),
        said("État initial", "Present state"),
        said("Lus", "Read"),
        said("Envoyés", "Sent"),
        said("Laissés", "Left out"),
        said("Problème", "Problem"),
    )
    for one in found:
        read = str(one["read"]) if one["total"] is None else f"{one['read']} / {one['total']}"
        table.add_row(
            one["id"],
            one["manager"],
            one["state"],
            read,
            str(one["sent"]),
            str(one["failed"]),
            one["problem"] or "",
        )
    return table


def _asked(slug: str | None, config: Path | None) -> list[Json]:
    async def work(log: ChangeLog, prefix: str) -> list[Json]:
        return [await _line(log, prefix, one) for one in await subscribers(log, prefix, slug)]

    return with_log(config, work)


async def _line(log: ChangeLog, prefix: str, slug: str) -> Json:
    from broker.sync.agent import backlog  # loads what `--help` need not wait for

    left = await backlog(log, slug, prefix)
    return {
        "id": slug,
        "backlog_events": None if left is None else left.events,
        "backlog_seconds": None if left is None else round(left.seconds, 3),
        "dead_letters": len(await DeadLetters(log, slug, prefix).all()),
    }
