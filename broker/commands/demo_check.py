"""`demo --check`: every flux once, against what the managers themselves say that they hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adapters.clock import SystemClock
from broker.commands import demo_checks_faults as faults
from broker.commands import demo_checks_read as reading
from broker.commands import demo_checks_search as searching
from broker.commands import demo_checks_sync as syncing
from broker.commands import demo_checks_write as writing
from broker.commands.demo_federation import Demo
from broker.commands.demo_held import read_held
from broker.commands.demo_probe import CheckFailedError, Probe
from broker.commands.terminal import progress, said


@dataclass(frozen=True, slots=True)
class Check:
    fr: str
    en: str
    run: Callable[[Probe], Awaitable[str]]


CHECKS = (
    Check("Déclaration", "Statement", reading.statement),
    Check("Recherche, toutes les pages", "Search, every page", searching.everything_paged),
    Check("Recherche par GET et POST", "Search by GET and POST", searching.by_get_and_post),
    Check("Personne par INS", "Person by INS", searching.person),
    Check("Critères chaînés", "Chained criteria", searching.chains),
    Check("Critères de date", "Date criteria", searching.dates),
    Check("_include, :iterate", "_include, :iterate", searching.includes),
    Check("_revinclude", "_revinclude", searching.reverse_include),
    Check("_sort", "_sort", searching.ordered),
    Check("Totaux", "Totals", searching.totals),
    Check("_elements", "_elements", searching.elements),
    Check("Acteurs, plan", "Actors, plan", searching.actors),
    Check("Copie", "Replica", searching.copies),
    Check("Conflit", "Conflict", searching.conflict),
    Check("Liens de page", "Page links", searching.own_links),
    Check("Lecture", "Read", reading.read),
    Check("Lecture conditionnelle", "Conditional read", reading.conditional),
    Check("Lecture de version", "Version read", reading.vread),
    Check("Historique d'un cercle", "History of a circle", reading.history_of_circle),
    Check("Historique des cercles", "History of all circles", reading.history_of_type),
    Check("XML", "XML", reading.xml),
    Check("gzip", "gzip", reading.compressed),
    Check("Paramètre inconnu", "Unknown parameter", reading.strict),
    Check("Entrées mal formées", "Malformed input", reading.malformed),
    Check("Un gestionnaire muet", "One manager hangs", faults.hanging),
    Check("Copie montrée", "Replica shown", faults.replica_shown),
    Check("Réponse partielle refusée", "Partial answer refused", faults.partial_refused),
    Check("Disjoncteur", "Breaker", faults.breaker_open),
    Check("Retour du gestionnaire", "The manager is back", faults.back),
    Check("1a : créer un acteur", "1a: create an actor", writing.create_actor),
    Check("1b : créer un cercle", "1b: create a circle", writing.create_circle),
    Check("1b : second cercle", "1b: second circle", writing.second_circle),
    Check("1c : création, transaction", "1c: create, transaction", writing.create_transaction),
    Check("4a : modifier un acteur", "4a: update an actor", writing.update_actor),
    Check("4b : modifier un cercle", "4b: update a circle", writing.update_circle),
    Check("4c : mise à jour, transaction", "4c: update, transaction", writing.update_transaction),
    Check("Écriture refusée", "Refused write", writing.refused),
    Check("Idempotency-Key", "Idempotency-Key", writing.idempotent),
    Check("Abonnement, état présent", "Subscription, present state", syncing.subscribed),
    Check("Réplication", "Replication", syncing.replicated),
    Check("Copie pour un absent", "Replica for a home away", syncing.answered_for),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one check; `detail`: what was seen, or what was expected and was not."""

    check: Check
    held: bool
    detail: str
    milliseconds: float


async def outcomes(demo: Demo) -> AsyncIterator[Outcome]:
    """Of every check, one after the other, as they come."""
    clock = SystemClock()
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        probe = Probe(demo, await read_held(demo), http, clock)
        for check in CHECKS:
            began = clock.monotonic()
            held, detail = await _outcome(check, probe)
            yield Outcome(check, held, detail, (clock.monotonic() - began) * 1000)


async def check_everything(demo: Demo, console: Console) -> bool:
    """Run every check, print a table, and say whether all held. A bar shows how far it is, on a terminal."""
    table = Table(said("Flux", "Flux"), "", said("Détail", "Detail"), "ms")
    failed = 0
    with progress() as shown:
        bar = shown.add_task("", total=len(CHECKS))
        async for one in outcomes(demo):
            failed += not one.held
            verdict = "[green]ok[/green]" if one.held else "[bold red]FAILED[/bold red]"
            name = said(one.check.fr, one.check.en)
            table.add_row(name, verdict, escape(one.detail), f"{one.milliseconds:.0f}")
            shown.update(bar, advance=1, description=name)
    console.print(table)
    passed = len(CHECKS) - failed
    console.print(said(f"{passed} sur {len(CHECKS)} tiennent.", f"{passed} of {len(CHECKS)} hold."))
    return not failed


async def checked_for_scripts(demo: Demo) -> dict[str, Any]:
    """The same as a document: `held`, and of each check its name, `held`, `detail`, `ms`."""
    checks = [
        {"check": one.check.en, "held": one.held, "detail": one.detail, "ms": round(one.milliseconds, 1)}
        async for one in outcomes(demo)
    ]
    return {"held": all(one["held"] for one in checks), "checks": checks}


async def _outcome(check: Check, probe: Probe) -> tuple[bool, str]:
    try:
        return True, await check.run(probe)
    except CheckFailedError as error:
        return False, str(error)
    except Exception as error:  # noqa: BLE001 - an answer of an unforeseen shape is a failed check, not the end of all
        return False, f"{type(error).__name__}: {error}"[:200]
