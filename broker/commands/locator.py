"""`cds-broker locator …`: the index of who holds what, by the running broker's API.

Exit codes: 0 done, 1 refused or not done, 2 wrong use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from rich.console import Console
from rich.progress import TaskID

from broker.commands.api_client import DEFAULT_URL, ApiClient
from broker.commands.locator_table import generations_table, status_table
from broker.commands.terminal import progress, run, said

app = typer.Typer(no_args_is_help=True, help="The index of who holds which circle (the locator).")

_STATUS = "/registry/locator"
_LOOK = 0.5
_CRAWL_SECONDS = 60.0

Url = Annotated[str, typer.Option("--url", envvar="CDS_URL", help="Address of the running broker.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return at once; see `locator status`.")]


@app.command(epilog="Example: cds-broker locator status")
def status(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show how much of each manager the index holds, how fresh that is, and why no more."""

    async def ask(api: ApiClient) -> Any:
        return await api.call("GET", _STATUS)

    _show(_asked(url, ask), as_json)


@app.command(epilog="Examples: cds-broker locator crawl bre · cds-broker locator crawl (all of them)")
def crawl(
    slugs: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="The managers' ids; none: every active one.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    no_wait: NoWait = False,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds without progress after which waiting ends.")
    ] = 120.0,
) -> None:
    """Crawl managers anew from the start, and wait until the index holds them.

    Searches ask a manager as long as its crawl goes on. Exits 1 where waiting ended before it did.
    """

    async def ask(api: ApiClient) -> tuple[Any, list[str]]:
        before = await api.call("GET", _STATUS)
        wanted = slugs or [one["id"] for one in before["managers"] if one["status"] == "active"]
        for slug in wanted:
            await api.call("POST", f"{_STATUS}/{quote(slug, safe='')}/crawl", seconds=_CRAWL_SECONDS)
        late = [] if no_wait else await _watch(api, wanted, patience)
        return await api.call("GET", _STATUS), late

    found, late = _asked(url, ask)
    _show(found, as_json)
    _end(late)


@app.command("rotate-key", epilog="Example: cds-broker locator rotate-key")
def rotate_key(url: Url = DEFAULT_URL, as_json: AsJson = False, no_wait: NoWait = False) -> None:
    """Fill the index anew under the present secret; what there is answers until that is done.

    To change the secret: give the new one as CDS_LOCATOR_SECRET and the old one as CDS_LOCATOR_PREVIOUS_SECRET, and
    restart the nodes one after the other. The new index is then begun by itself, and this command shows its progress.
    """

    async def ask(api: ApiClient) -> tuple[Any, list[str]]:
        begun = await api.call("POST", f"{_STATUS}/rotate-key")
        active = [one["id"] for one in begun["managers"] if one["status"] == "active"]
        late = [] if no_wait else await _watch(api, active, 120.0, filling=True)
        return await api.call("GET", _STATUS), late

    found, late = _asked(url, ask)
    _show(found, as_json)
    _end(late)


async def _watch(
    api: ApiClient, slugs: Sequence[str], patience: float, *, filling: bool = False
) -> list[str]:
    """Show progress until all is complete, or nothing moved for `patience` seconds; who was not done by then."""
    with progress() as shown:
        bars: dict[str, TaskID] = {slug: shown.add_task(slug, total=None) for slug in slugs}
        still = 0.0
        seen: list[tuple[str, str, int]] = []
        while True:
            now = await api.call("GET", _STATUS)
            lines = {one["id"]: one for one in now["managers"]}
            waiting: list[tuple[str, str, int]] = []
            for slug in slugs:
                line = lines.get(slug)
                if line is None:
                    continue  # it left the registry meanwhile
                state, count = _place(line, filling=filling and now["rotating"])
                shown.update(bars[slug], completed=count, total=line["total"])
                if state != "complete":
                    waiting.append((slug, state, count))
            if not waiting:
                return []
            still = 0.0 if waiting != seen else still + _LOOK
            if still >= patience:
                return [slug for slug, _, _ in waiting]
            seen = waiting
            await asyncio.sleep(_LOOK)


def _place(line: dict[str, Any], *, filling: bool) -> tuple[str, int]:
    if filling and line["filling"] is not None:
        return line["filling"], line["filling_circles"]
    return line["state"], line["circles"]


def _asked(url: str, ask: Any) -> Any:
    async def session() -> Any:
        async with ApiClient(url) as api:
            return await ask(api)

    return run(session())


def _show(found: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console()
    console.print(status_table(found))
    console.print(generations_table(found))


def _end(late: Sequence[str]) -> None:
    if late:
        names = ", ".join(late)
        typer.echo(said(f"Pas terminé : {names}.", f"Not done: {names}."), err=True)
        raise typer.Exit(1)
