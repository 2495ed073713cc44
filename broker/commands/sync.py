"""`cds-broker sync …`: keeping regions in step. `agent`, `status` and `dead-letters` need the change log alone; `bootstrap`
and `conflicts` ask the running broker's API.

Exit codes: 0 done, 1 refused or not done, 2 wrong use.
"""

from __future__ import annotations

import typer

from broker.commands import sync_dead_letters
from broker.commands.sync_agent import agent
from broker.commands.sync_bootstrap import bootstrap
from broker.commands.sync_conflicts import conflicts
from broker.commands.sync_status import status

app = typer.Typer(no_args_is_help=True, help="Keeping regions in step.")

app.command(
    epilog="Examples: cds-broker sync agent --gestionnaire occ --manager-url https://cds.occitanie.example/fhir · "
    "cds-broker sync agent --gestionnaire occ --gestionnaires gestionnaires.toml"
)(agent)
app.command(
    epilog="Examples: cds-broker sync status --json · cds-broker sync status --url http://127.0.0.1:8080"
)(status)
app.command(epilog="Example: cds-broker sync bootstrap --gestionnaire occ")(bootstrap)
app.command(epilog="Examples: cds-broker sync conflicts --json · cds-broker sync conflicts --state resolved")(
    conflicts
)
app.add_typer(sync_dead_letters.app, name="dead-letters")


@app.callback()
def _group() -> None:
    """Keeping regions in step."""
