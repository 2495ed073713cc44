"""The command line, `cds-broker`. Exit codes: 0 done, 1 failed, 2 wrong use or configuration; never a traceback."""

from __future__ import annotations

import logging
import sys
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from broker import __version__

# Each command's modules are imported when it is asked for: `--version` waits for none of them.


def _serve() -> Any:
    from broker.commands.serve import serve, settings_help

    return _command(serve, settings_help())


def _demo() -> Any:
    from broker.commands.demo import demo

    return _command(demo, "Examples: cds-broker demo --managers 3 · cds-broker demo --check")


def _sandbox() -> Any:
    from broker.commands.sandbox import sandbox

    return _command(sandbox, "Example: cds-broker sandbox --port 9001 --region 53 --seed 50")


def _search() -> Any:
    from broker.commands.search import search

    return _command(search, "Example: cds-broker search 'CareTeam?patient.family=Moreau&_count=5'")


def _explain() -> Any:
    from broker.commands.search import explain

    return _command(explain, "Example: cds-broker explain 'CareTeam?patient=Patient/bre.patient-1'")


def _gestionnaires() -> Any:
    from broker.commands import gestionnaires

    return _group("gestionnaires", gestionnaires.app)


def _locator() -> Any:
    from broker.commands import locator

    return _group("locator", locator.app)


def _sync() -> Any:
    from broker.commands import sync

    return _group("sync", sync.app)


def _audit() -> Any:
    from broker.commands import audit

    return _group("audit", audit.app)


_COMMANDS: Mapping[str, Callable[[], Any]] = {
    "serve": _serve,
    "demo": _demo,
    "sandbox": _sandbox,
    "search": _search,
    "explain": _explain,
    "gestionnaires": _gestionnaires,
    "locator": _locator,
    "sync": _sync,
    "audit": _audit,
}
"""In the order of the help."""


def _command(function: Callable[..., None], epilog: str) -> Any:
    alone = typer.Typer(add_completion=False)
    alone.command(epilog=epilog)(function)
    return typer.main.get_command(alone)


def _group(name: str, held: typer.Typer) -> Any:
    group = typer.main.get_group(held)
    group.name = name
    return group


class _Commands(UserDict[str, Any]):
    """Names, and what makes a command when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        return self.data[name]()


class _Root(typer.core.TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands(_COMMANDS)


app = typer.Typer(
    name="cds-broker",
    cls=_Root,
    no_args_is_help=True,
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


def main() -> None:
    """The entry point."""
    try:
        app(prog_name="cds-broker")
    except Exception as error:  # noqa: BLE001 - the boundary to a person: a sentence, never a traceback
        sys.exit(_ended(error))


def _ended(error: Exception) -> int:
    """The exit code, once the error was told."""
    from broker.commands.api_error import ApiError
    from broker.commands.terminal import FAILED, complain, exit_code, explained, said
    from broker.errors import BrokerError

    if isinstance(error, BrokerError | ApiError):
        complain(explained(error))
        return exit_code(error)
    logging.getLogger("broker").debug("defect", exc_info=error)
    kind = type(error).__name__
    complain(said(f"erreur interne ({kind}).", f"internal error ({kind})."))
    return FAILED


if __name__ == "__main__":
    main()
