"""`cds-broker sandbox`: one Gestionnaire in a box, for demonstrations and for vendors' clients."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.seed import seed_region
from broker.errors import BrokerError
from registry.model import REGIONS


def sandbox(
    port: Annotated[int, typer.Option(help="Port ; 0 en prend un libre.")] = 9001,
    region: Annotated[str, typer.Option(help="Code TRE_R30 de la région.")] = "53",
    seed: Annotated[
        str, typer.Option(help="Nombre de cercles inventés, ou fichier JSON (Bundle, tableau) ou NDJSON.")
    ] = "20",
    host: Annotated[str, typer.Option(help="Adresse d'écoute.")] = "127.0.0.1",
) -> None:
    """Sert un Gestionnaire d'essai, en mémoire, jusqu'à Ctrl-C."""
    if region not in REGIONS:
        raise typer.BadParameter(f"région inconnue : {region}", param_hint="--region")
    try:
        resources = _resources(seed, region)
        asyncio.run(_serve(resources, region=region, host=host, port=port))
    except (OSError, BrokerError, ValueError) as error:
        typer.echo(f"cds-broker sandbox : {_reason(error)}", err=True)
        raise typer.Exit(1) from None


def read_seed(raw: bytes) -> list[dict[str, Any]]:
    """The resources of a Bundle, of an array, or of NDJSON. Raises ValueError for anything else."""
    text = raw.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        content = [orjson.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(content, dict):
        bundled = content.get("resourceType") == "Bundle"
        content = [entry.get("resource") for entry in content.get("entry", [])] if bundled else [content]
    if not isinstance(content, list) or not all(isinstance(resource, dict) for resource in content):
        raise ValueError("le fichier ne contient pas de ressources FHIR")
    return content


def _resources(seed: str, region: str) -> list[dict[str, Any]]:
    if seed.isascii() and seed.isdigit():
        return seed_region(region, int(seed), clock=SystemClock())
    return read_seed(Path(seed).read_bytes())


async def _serve(resources: list[dict[str, Any]], *, region: str, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with running_sandbox(resources, host=host, port=port) as box:
        circles = len(box.store.live("CareTeam"))
        typer.echo(
            f"Gestionnaire d'essai, {REGIONS[region]} : {box.base_url} ({circles} cercles). Ctrl-C l'arrête."
        )
        await stop.wait()


def _reason(error: Exception) -> str:
    """Why it did not start, without repeating what the file holds."""
    if isinstance(error, BrokerError):
        return "le fichier contient autre chose que des ressources des six types du guide"
    if isinstance(error, orjson.JSONDecodeError):
        return "le fichier n'est ni du JSON ni du NDJSON"
    return str(error)
