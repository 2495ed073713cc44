"""The command line, `cds-broker`. Exit codes: 0 done, 1 failed, 2 wrong use or configuration; never a traceback."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from broker import __version__
from broker.commands import gestionnaires, locator, sync
from broker.commands.api_client import ApiError
from broker.commands.demo import demo
from broker.commands.sandbox import sandbox
from broker.commands.search import explain, search
from broker.commands.serve import serve, settings_help
from broker.commands.terminal import FAILED, complain, exit_code, explained, said
from broker.errors import BrokerError

app = typer.Typer(
    name="cds-broker",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Try it: cds-broker demo",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cds-broker {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Federation broker for the French care-circle guide (Gestion du Cercle de Soins)."""


app.command(epilog=settings_help())(serve)
app.command(epilog="Examples: cds-broker demo --managers 3 · cds-broker demo --check")(demo)
app.command(epilog="Example: cds-broker sandbox --port 9001 --region 53 --seed 50")(sandbox)
app.command(epilog="Example: cds-broker search 'CareTeam?patient.family=Moreau&_count=5'")(search)
app.command(epilog="Example: cds-broker explain 'CareTeam?patient=Patient/bre.patient-1'")(explain)
app.add_typer(gestionnaires.app, name="gestionnaires")
app.add_typer(locator.app, name="locator")
app.add_typer(sync.app, name="sync")


def main() -> None:
    """The entry point."""
    try:
        app(prog_name="cds-broker")
    except (BrokerError, ApiError) as error:
        complain(explained(error))
        sys.exit(exit_code(error))
    except Exception as error:  # the boundary to the person at the terminal: a sentence, never a traceback
        logging.getLogger("broker").debug("defect", exc_info=True)
        kind = type(error).__name__
        complain(said(f"erreur interne ({kind}).", f"internal error ({kind})."))
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
