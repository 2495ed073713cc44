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
from broker.commands.terminal import FAILED, as_json_line, run
from broker.errors import BrokerError
from registry.model import REGIONS


def sandbox(
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 9001,
    region: Annotated[str, typer.Option(help="TRE_R30 code of the region.")] = "53",
    seed: Annotated[
        str, typer.Option(help="How many made-up circles, or a file: Bundle, JSON array or NDJSON.")
    ] = "20",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON once it serves: base_url, region, circles.")
    ] = False,
) -> None:
    """Serve a Gestionnaire in a box, in memory, until Ctrl-C."""
    if region not in REGIONS:
        raise typer.BadParameter(f"unknown region {region}", param_hint="--region")
    try:
        resources = _resources(seed, region)
        run(_serve(resources, region=region, host=host, port=port, as_json=as_json))
    except (OSError, BrokerError, ValueError) as error:
        typer.echo(f"cds-broker sandbox: {_reason(error)}", err=True)
        raise typer.Exit(FAILED) from None


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
        raise ValueError("the file holds no FHIR resources")
    return content


def _resources(seed: str, region: str) -> list[dict[str, Any]]:
    if seed.isascii() and seed.isdigit():
        return seed_region(region, int(seed), clock=SystemClock())
    return read_seed(Path(seed).read_bytes())


async def _serve(
    resources: list[dict[str, Any]], *, region: str, host: str, port: int, as_json: bool
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with running_sandbox(resources, host=host, port=port) as box:
        circles = len(box.store.live("CareTeam"))
        if as_json:
            as_json_line({"base_url": box.base_url, "region": region, "circles": circles})
        else:
            typer.echo(
                f"Sandbox Gestionnaire, {REGIONS[region]}: {box.base_url} ({circles} circles). Ctrl-C stops it."
            )
        await stop.wait()


def _reason(error: Exception) -> str:
    """Why it did not start, without repeating what the file holds."""
    if isinstance(error, BrokerError):
        return "the file holds something else than resources of the guide's six types"
    if isinstance(error, orjson.JSONDecodeError):
        return "the file is neither JSON nor NDJSON"
    return str(error)
