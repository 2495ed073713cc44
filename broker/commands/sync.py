"""`cds-broker sync …`: keeping regions in step. `agent`, `status` and `dead-letters` need the change log alone; `bootstrap`
and `conflicts` ask the running broker's API.

Exit codes: 0 done, 1 refused or not done, 2 wrong use.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.commands import sync_dead_letters
from broker.commands.api_client import DEFAULT_URL, ApiClient
from broker.commands.sync_agent import agent
from broker.commands.sync_bootstrap import bootstrap
from broker.commands.sync_status import status
from broker.commands.terminal import run, said

app = typer.Typer(no_args_is_help=True, help="Keeping regions in step.")

Url = Annotated[str, typer.Option("--url", envvar="CDS_URL", help="Address of the running broker.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]


app.command(
    epilog="Examples: cds-broker sync agent --gestionnaire occ --manager-url https://cds.occitanie.example/fhir · "
    "cds-broker sync agent --gestionnaire occ --gestionnaires gestionnaires.toml"
)(agent)
app.command(
    epilog="Examples: cds-broker sync status --json · cds-broker sync status --url http://127.0.0.1:8080"
)(status)
app.command(epilog="Example: cds-broker sync bootstrap --gestionnaire occ")(bootstrap)
app.add_typer(sync_dead_letters.app, name="dead-letters")


@app.callback()
def _group() -> None:
    """Keeping regions in step."""


@app.command(epilog="Example: cds-broker sync conflicts --json")
def conflicts(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the persons with more than one home circle, as those circles. Nothing tells who they are."""

    async def ask() -> Any:
        async with ApiClient(url) as api:
            return await api.call("GET", "/registry/conflicts")

    found = run(ask())
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    if not found["conflicts"]:
        typer.echo(said("Aucun conflit.", "No conflict."))
        return
    table = Table("#", said("Gestionnaire", "Manager"), said("Cercle", "Circle"))
    for number, circles in enumerate(found["conflicts"], 1):
        for one in circles:
            table.add_row(str(number), escape(one["manager"]), escape(one["reference"]))
    Console().print(table)
