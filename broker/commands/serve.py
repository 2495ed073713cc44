"""`cds-broker serve`: the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adapters.clock import SystemClock
from adapters.embedded_valkey import EmbeddedValkey
from broker.commands.log_lines import log_to_stderr
from broker.commands.start import Start
from broker.commands.supervisor import Supervisor, held_address
from broker.commands.terminal import run
from broker.locator_secret import locator_secret
from broker.settings import Settings
from broker.settings_process import Background
from broker.settings_serving import check_access
from broker.wiring_tracing import check_tracing


def settings_help() -> str:
    """Every setting on a line of its own, as typer's epilogs want them: one paragraph each."""
    head = (
        "Example: CDS_AUTH=none cds-broker serve --gestionnaires gestionnaires.toml",
        " ",
        "Settings: environment variables, or keys of the TOML file without CDS_ and in lower case.",
    )
    rows = [
        f"{row.name}  {row.en}" + (f" (default {row.default})" if row.default else "")
        for row in Settings.describe()
    ]
    return "\n\n".join([*head, *rows])


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", metavar="HOST")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", metavar="PORT")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve.", metavar="N")] = None,
    gestionnaires: Annotated[
        Path | None, typer.Option(help="TOML file of managers, read at start and on SIGHUP.", metavar="FILE")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", metavar="FILE")] = None,
) -> None:
    """Serve the federation until SIGTERM or Ctrl-C."""
    settings = Settings.load(
        host=host, port=port, workers=workers, gestionnaires=gestionnaires, config=config
    )
    raise typer.Exit(served(settings))


def served(settings: Settings) -> int:
    """Serve until stopped; the exit code. Raises `ConfigurationError`, `StoreError`."""
    check_access(settings)
    check_tracing(settings)
    log_to_stderr(settings.log_level, settings.log_format)
    secret = locator_secret(settings)
    if settings.redis_url is not None:
        return _run(Start(settings, settings.redis_url.get_secret_value(), secret))
    embedded = EmbeddedValkey(settings.data_dir)
    try:
        return _run(Start(settings, embedded.start(), secret))
    finally:
        embedded.stop()


def _run(start: Start) -> int:
    if start.settings.workers == 1 and start.settings.background is Background.WORKER:
        from broker.commands.worker import work

        run(work(start))
        return 0
    with held_address(start.settings) as held:
        settings = start.settings.model_copy(update={"port": held.getsockname()[1]})
        return run(Supervisor(Start(settings, start.redis_url, start.secret), SystemClock()).run())
