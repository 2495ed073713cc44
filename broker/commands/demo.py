"""`cds-broker demo`: several regions and the broker over them, on this machine, with made-up people."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from broker.commands.api_client import DEFAULT_URL
from broker.commands.demo_cast import CAST, FOLLOWED, REPLICATED, REVISED, TWICE
from broker.commands.demo_check import check_everything, checked_for_scripts
from broker.commands.demo_federation import Demo, running_demo
from broker.commands.demo_held import Resource, ins_of_subject, made_public, read_held
from broker.commands.demo_sync import sync_suggestions, working_agent
from broker.commands.demo_writes import JOINED, bodies, writing_suggestions
from broker.commands.log_lines import log_to_stderr
from broker.commands.terminal import FAILED, as_json_line, run, said
from broker.settings_process import LogFormat

_CHECK_DEADLINE, _CHECK_PROBES = 2.0, 2.0  # seconds; shorter than the defaults, so that the check is


def demo(
    managers: Annotated[int, typer.Option(min=2, max=len(CAST), help="How many regions.")] = 5,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The broker's port; 0 takes a free one.")
    ] = 8080,
    check: Annotated[
        bool, typer.Option("--check", help="Run every flux once, print a table, exit 0 or 1.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One line of JSON: with --check what held, else the addresses once it runs."
        ),
    ] = False,
) -> None:
    """Start several sandbox managers with made-up circles and the broker over them; Ctrl-C ends it all."""
    log_to_stderr("error", LogFormat.TEXT)  # what the managers do to the broker is shown in its answers
    show = (_checked_as_json if as_json else _checked) if check else (_told_as_json if as_json else _shown)
    # Standard output is for what is shown, and with --json for nothing else.
    words = Console(highlight=False, stderr=as_json)
    raise typer.Exit(run(_until_interrupted(show, managers, port, console=words, checking=check)))


async def _until_interrupted(
    show: Callable[[Demo, Console], Awaitable[int]],
    managers: int,
    port: int,
    *,
    console: Console,
    checking: bool,
) -> int:
    """Ctrl-C is the way to end the demonstration, whatever it is doing: 0. A check that is cut short has failed."""

    def tell(fr: str, en: str) -> None:
        console.print(said(fr, en), style="dim")

    async def whole() -> int:
        async with (
            running_demo(
                managers,
                port=port,
                tell=tell,
                deadline=_CHECK_DEADLINE if checking else None,
                probe_interval=_CHECK_PROBES if checking else None,
            ) as running,
            # The second region has an agent, as it would run one at home.
            working_agent(running.settings, running.redis_url, running.managers[1]),
        ):
            return await show(running, console)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(whole())
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            tell("Arrêt.", "Stopping.")
            task.cancel()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(name, stop)
    try:
        return await task
    except asyncio.CancelledError:
        return FAILED if checking else 0


async def _checked(running: Demo, console: Console) -> int:
    console.print(_cast(running))
    return 0 if await check_everything(running, console) else FAILED


async def _checked_as_json(running: Demo, _console: Console) -> int:
    document = await checked_for_scripts(running)
    as_json_line(document)
    return 0 if document["held"] else FAILED


async def _told_as_json(running: Demo, _console: Console) -> int:
    managers = [
        {"id": one.slug, "name": one.role.name, "base_url": one.base_url, "pid": one.pid}
        for one in running.managers
    ]
    as_json_line({"base_url": running.base_url, "url": running.url, "managers": managers})
    await asyncio.Event().wait()
    return 0


async def _shown(running: Demo, console: Console) -> int:
    console.print(_cast(running))
    held = await read_held(running)
    home = running.managers[0]
    persons = [ins_of_subject(held[home.slug], circle) for circle in ("cercle-4", TWICE, REPLICATED)]
    circles = held[home.slug]["CareTeam"]
    directory = _bodies(running, circles[JOINED])
    writes = writing_suggestions(running, directory, circles[REVISED]["meta"]["versionId"])
    first = circles[FOLLOWED]["identifier"][0]
    sync = sync_suggestions(running, directory, f"{first['system']}|{first['value']}")
    for (fr, en), command in [*_suggestions(running, persons), *writes, *sync]:
        console.print(f"\n# {said(fr, en)}", markup=False, style="bold", soft_wrap=True)
        console.print(command, markup=False, soft_wrap=True)
    console.print()
    console.print(
        said(
            f"Le courtier répond à {running.base_url} ; toutes les personnes sont inventées. Ctrl-C arrête tout.",
            f"The broker answers at {running.base_url}; all people are made up. Ctrl-C ends it all.",
        ),
        style="bold green",
    )
    await asyncio.Event().wait()
    return 0


def _bodies(running: Demo, circle: Resource) -> Path:
    """What the suggested writes send, as files that go with the demonstration."""
    home = running.managers[0]
    directory = running.settings.data_dir / "bodies"
    directory.mkdir()
    for name, resource in bodies(made_public(circle, home.slug) | {"id": f"{home.slug}.{JOINED}"}).items():
        (directory / f"{name}.json").write_bytes(orjson.dumps(resource))
    return directory


def _cast(running: Demo) -> Table:
    table = Table(
        "Id", said("Gestionnaire", "Manager"), said("Adresse", "Address"), said("Particularité", "Particular")
    )
    for one in running.managers:
        table.add_row(one.slug, one.role.name, one.base_url, said(one.role.fr, one.role.en))
    return table


def _suggestions(running: Demo, persons: list[str]) -> list[tuple[tuple[str, str], str]]:
    """What to try: a sentence in two languages, and the command."""
    base, home = running.base_url, running.managers[0]
    one, twice, replicated = (
        f"curl -s {base}/CareTeam/_search --data-urlencode 'patient.identifier={ins}'" for ins in persons
    )
    broker = shlex.quote(str(Path(sys.executable).with_name("cds-broker")))
    url = "" if running.url == DEFAULT_URL else f" --url {running.url}"
    return [
        (
            (
                "Le cercle d'une personne, par son INS, dans toutes les régions",
                "A person's circle, by INS, over every region",
            ),
            one,
        ),
        (
            (
                "Une personne qui a deux cercles : tous deux sont montrés, le conflit est nommé",
                "A person with two circles: both are shown, the conflict is named",
            ),
            twice,
        ),
        (
            (
                "Tous les cercles, par pages de trois, avec la personne",
                "All circles, by pages of three, with the person",
            ),
            f"curl -s '{base}/CareTeam?_count=3&_include=CareTeam:subject'",
        ),
        (
            ("Un cercle, puis son historique en XML", "A circle, then its history in XML"),
            (
                f"curl -s {base}/CareTeam/{home.slug}.{REVISED}\n"
                f"curl -s '{base}/CareTeam/{home.slug}.{REVISED}/_history?_format=xml'"
            ),
        ),
        (("Ce qu'offre cette fédération", "What this federation offers"), f"curl -s {base}/metadata"),
        (
            (
                f"{home.role.name} ne répond plus : il est nommé, et la copie tenue ailleurs est montrée",
                f"{home.role.name} hangs: it is named, and the replica held elsewhere is shown",
            ),
            f"kill -STOP {home.pid}; {replicated}; kill -CONT {home.pid}",
        ),
        (
            (
                "Un tableau de résultats ; et qui est interrogé, et pourquoi",
                "Results as a table; and who is asked, and why",
            ),
            (
                f"{broker} search 'CareTeam?status=active&_count=5'{url}\n"
                f"{broker} explain 'CareTeam?patient=Patient/{home.slug}.patient-1'{url}"
            ),
        ),
    ]
