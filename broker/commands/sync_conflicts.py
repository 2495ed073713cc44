"""`cds-broker sync conflicts`: persons with more than one home circle, by the running broker's API."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.commands.api_client import DEFAULT_URL, ApiClient
from broker.commands.sync_log import Json, age
from broker.commands.terminal import run, said
from broker.sync.conflict_service import MAX_LIMIT, ConflictState

PATH = "/registry/conflicts"


def conflicts(
    state: Annotated[
        ConflictState, typer.Option(help="open, or resolved within the last week.")
    ] = ConflictState.OPEN,
    url: Annotated[
        str, typer.Option("--url", envvar="CDS_URL", help="Address of the running broker.")
    ] = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")] = False,
) -> None:
    """List the persons with more than one home circle, as those circles: since when, and at which managers.

    Such circles were created while regions were parted from one another, or past the broker. Which of them is to stay is a
    person's decision, taken with those who keep them; once there is one home, the conflict resolves itself. Nothing here
    tells who the person is.
    """

    found = run(_all(url, state))
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    if not found["conflicts"]:
        typer.echo(said("Aucun conflit.", "No conflict."))
    else:
        Console().print(_table(found))
    if found["as_of"] is None:
        typer.echo(said("L'index n'a pas encore été interrogé.", "The index was not asked yet."), err=True)


async def _all(url: str, state: ConflictState) -> Json:
    """Every page."""
    query = {"state": state.value, "limit": str(MAX_LIMIT)}
    async with ApiClient(url) as api:
        found: Json = await api.call("GET", PATH, query=query)
        while (after := found.pop("next")) is not None:
            page = await api.call("GET", PATH, query=query | {"after": after})
            page["conflicts"] = [*found["conflicts"], *page["conflicts"]]
            found = page
    return found


def _table(found: Json) -> Table:
    table = Table(
        said("Conflit", "Conflict"),
        said("Connu depuis", "Known for"),
        said("Publié", "Published"),
        said("Cercle", "Circle"),
        said("Gestionnaire", "Manager"),
    )
    for one in found["conflicts"]:
        since = dt.datetime.fromisoformat(one["since"])
        until = dt.datetime.fromisoformat(one["resolved"] or found["as_of"] or one["since"])
        told = said("oui", "yes") if one["published"] else said("non", "no")
        head = [one["id"], age(max(0.0, (until - since).total_seconds())), told]
        for circle in one["circles"]:
            manager = (
                circle["manager"] if circle["name"] is None else f"{circle['manager']} · {circle['name']}"
            )
            table.add_row(*head, escape(circle["reference"]), escape(manager))
            head = ["", "", ""]
        more = one["count"] - len(one["circles"])
        if more:
            table.add_row("", "", "", said(f"et {more} autres", f"and {more} more"), "")
        table.add_section()
    return table
