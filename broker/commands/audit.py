"""`cds-broker audit …`: the trail of accesses of this node, from its files; the broker need not run.

Exit codes: 0 done and whole, 1 something is missing or changed, or could not be read, 2 wrong use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adapters.audit.reader import FileAuditReader, Follower
from adapters.clock import SystemClock
from broker.audit.sink import AuditQuery, AuditRecord
from broker.commands.audit_verify import verify
from broker.commands.sync_log import AsJson, Config
from broker.commands.terminal import run, said
from broker.errors import AuditError
from broker.settings import Settings
from broker.wiring_audit import audit_directory

app = typer.Typer(no_args_is_help=True, help="The trail of accesses.")

_LOOK_SECONDS = 0.5


@app.callback()
def _group() -> None:
    """The trail of accesses."""


app.command(epilog="Examples: cds-broker audit verify · cds-broker audit verify --topic --json")(verify)


@app.command(epilog="Examples: cds-broker audit tail -n 50 · cds-broker audit tail --follow --json")
def tail(
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=10_000, help="How many to begin with.")
    ] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come, until Ctrl-C.")] = False,
    client: Annotated[str | None, typer.Option("--client", help="Of this client alone.")] = None,
    person: Annotated[
        str | None,
        typer.Option("--person", metavar="REFERENCE", help="Of this person alone: Patient/bre.12."),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest accesses, oldest first: when, who, what, whose data. With --json one FHIR AuditEvent a line."""
    directory = audit_directory(Settings.load(config=config))
    query = AuditQuery(client=client, person=person, count=lines)
    if not directory.is_dir():
        raise AuditError("audit.file", reason=said("aucun dans ce dossier", "none in this directory"))
    run(_shown(directory, query, follow=follow, as_json=as_json))


async def _shown(directory: Path, query: AuditQuery, *, follow: bool, as_json: bool) -> None:
    clock = SystemClock()
    follower = Follower(
        directory
    )  # before the look back: what comes in between is shown by the one or the other
    found = await _latest(FileAuditReader(directory), query)
    _show(found, as_json=as_json, headed=True)
    seen = {(one.stream, one.number) for one in found}
    while follow:
        fresh = [one for one in follower.more(query) if (one.stream, one.number) not in seen]
        _show(fresh, as_json=as_json, headed=False)
        await clock.sleep(_LOOK_SECONDS)


async def _latest(reader: FileAuditReader, query: AuditQuery) -> list[AuditRecord]:
    """Oldest first. The reader bounds what it looks through for a page; here it goes on until it has enough."""
    found: list[AuditRecord] = []
    after: str | None = None
    while len(found) < query.count:
        page = await reader.page(
            AuditQuery(client=query.client, person=query.person, count=query.count - len(found), after=after)
        )
        found += page.records
        after = page.next
        if after is None:
            break
    return found[::-1]


def _show(records: Sequence[AuditRecord], *, as_json: bool, headed: bool) -> None:
    if as_json:
        for one in records:
            typer.echo(orjson.dumps(one.event).decode())
        return
    if not records and headed:
        typer.echo(said("Aucune trace.", "No trace."), err=True)
    if not records:
        return
    table = Table(
        said("Quand", "When"),
        said("Client", "Client"),
        said("Personne agissante", "User"),
        said("Quoi", "What"),
        said("Issue", "Outcome"),
        said("Données de", "Data of"),
        show_header=headed,
        box=None,
    )
    for one in records:
        table.add_row(*(escape(cell) for cell in _row(one.event)))
    Console().print(table)


def _row(event: dict[str, Any]) -> tuple[str, ...]:
    who = [one.get("who", {}) for one in event["agent"] if one.get("network", {}).get("type") != "5"]
    names = [one.get("identifier", {}).get("value") or one.get("display", "") for one in who]
    references = [
        entity["what"]["reference"].rsplit("/", 1)[-1]
        for entity in event["entity"]
        if entity["type"]["code"] == "1"
    ]
    outcome = event["outcome"] + (f" {event['outcomeDesc']}" if "outcomeDesc" in event else "")
    return (
        event["recorded"],
        names[0] if names else "",
        names[1] if len(names) > 1 else "",
        event["subtype"][0]["code"],
        outcome,
        ", ".join(references),
    )
