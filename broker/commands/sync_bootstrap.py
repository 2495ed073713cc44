"""`cds-broker sync bootstrap`: the present state for a subscriber once more, by the running broker's API."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from rich.console import Console
from rich.progress import TaskID

from broker.commands.api_client import DEFAULT_URL, ApiClient
from broker.commands.sync_status import bootstraps_table
from broker.commands.terminal import progress, run, said

STATUS = "/registry/synchronisation"

_LOOK = 0.5


def bootstrap(
    gestionnaire: Annotated[
        str, typer.Option("--gestionnaire", metavar="ID", help="The subscribed manager; its id.")
    ],
    url: Annotated[
        str, typer.Option("--url", envvar="CDS_URL", help="Address of the running broker.")
    ] = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once; see `sync status`.")] = False,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds without progress after which waiting ends.")
    ] = 120.0,
) -> None:
    """Send a subscriber all circles that its Subscriptions select, as they are now, and wait until that is done.

    It begins by itself when a Subscription becomes active. Here: once more, where a topic was lost, or an agent was away
    for longer than the topic keeps events. What the subscriber has already changes nothing.
    """

    async def session() -> tuple[list[Any], list[str]]:
        async with ApiClient(url) as api:
            path = f"{STATUS}/{quote(gestionnaire, safe='')}/bootstrap"
            found = await api.call("POST", path)
            if no_wait:
                return found, []
            return await _watched(api, gestionnaire, patience)

    found, late = run(session())
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        Console().print(bootstraps_table(found))
    if late:
        names = ", ".join(late)
        typer.echo(said(f"Pas terminé : {names}.", f"Not done: {names}."), err=True)
        raise typer.Exit(1)


async def _watched(api: ApiClient, slug: str, patience: float) -> tuple[list[Any], list[str]]:
    """Show progress until all is sent, or nothing moved for `patience` seconds; and who was not done by then."""
    with progress() as shown:
        bars: dict[str, TaskID] = {}
        still, seen = 0.0, None
        while True:
            status = await api.call("GET", STATUS)
            found = [one for one in status["bootstraps"] if one["id"] == slug]
            for one in found:
                name = f"{one['subscription']} · {one['manager']}"
                if name not in bars:
                    bars[name] = shown.add_task(name, total=None)
                shown.update(bars[name], completed=one["read"], total=one["total"])
            late = sorted({one["manager"] for one in found if one["state"] != "done"})
            if not late:
                return found, []
            still, seen = (still + _LOOK, seen) if found == seen else (0.0, found)
            if still >= patience:
                return found, late
            await asyncio.sleep(_LOOK)
