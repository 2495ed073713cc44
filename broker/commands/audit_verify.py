"""`cds-broker audit verify`: whether the trail is whole, and where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adapters.audit.verification import Report, Stored, verify_files, verify_topic
from broker.commands.sync_log import AsJson, Config
from broker.commands.terminal import FAILED, complain, run, said
from broker.core import topics
from broker.core.audit.chain import ChainKey
from broker.core.audit.verify import Finding, Flaw
from broker.errors import AuditError, ConfigurationError, StoreError
from broker.locator_secret import audit_secrets, locator_secret, previous_secrets
from broker.settings import Settings
from broker.wiring_audit import audit_directory, open_heads
from broker.wiring_sync import open_log

_FLAWS: Mapping[Flaw, tuple[str, str]] = {
    Flaw.CHANGED: ("modifiée", "changed"),
    Flaw.REMOVED: ("retirées", "removed"),
    Flaw.MOVED: ("déplacée ou insérée", "moved or inserted"),
    Flaw.UNLINKED: ("non reliée à la précédente", "not linked to the one before"),
    Flaw.UNREADABLE: ("illisible", "unreadable"),
    Flaw.UNKNOWN_KEY: ("clé inconnue", "unknown key"),
    Flaw.CUT: ("fin coupée", "end cut off"),
    Flaw.MISSING: ("flux absent", "stream missing"),
    Flaw.TORN: ("dernière ligne inachevée", "last line not finished"),
    Flaw.REPEATED: ("répétée", "repeated"),
}


def verify(
    config: Config = None,
    topic: Annotated[
        bool, typer.Option("--topic", help="The topic of the change log, not the files.")
    ] = False,
    trimmed: Annotated[
        bool, typer.Option("--trimmed", help="Older files were put elsewhere: the beginning may be missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look whether any trace was changed, removed, moved or cut off, and say where.

    The end of each stream is compared with what the store knows; where the store is away that is said, and a cut end
    does not show. Exits 1 where anything is wrong.
    """
    report = run(_verified(Settings.load(config=config), topic=topic, trimmed=trimmed))
    if as_json:
        typer.echo(orjson.dumps(_document(report), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(report)
    if not report.heads_known:
        complain(
            said(
                "le magasin ne répond pas : une fin coupée ne se verrait pas.",
                "the store does not answer: an end that was cut off would not show.",
            )
        )
    if not report.intact:
        raise typer.Exit(FAILED)


async def _verified(settings: Settings, *, topic: bool, trimmed: bool) -> Report:
    stored = await _stored(settings)
    keys = await asyncio.to_thread(_keys, settings)
    if topic:
        async with open_log(settings) as log:
            return await verify_topic(log, topics.audit(settings.topic_prefix), keys, stored)
    try:
        return await asyncio.to_thread(verify_files, audit_directory(settings), keys, stored, trimmed=trimmed)
    except OSError as error:
        raise AuditError("audit.file", reason=error.strerror or type(error).__name__) from error


async def _stored(settings: Settings) -> Stored | None:
    """Asked before the trail is read: what is written meanwhile is only ahead of it."""
    try:
        async with open_heads(settings) as heads:
            return Stored(await heads.load(), await heads.mourned())
    except StoreError:
        return None
    except ConfigurationError as error:
        if error.key != "config.embedded-store":
            raise
        return None


def _keys(settings: Settings) -> dict[str, ChainKey]:
    secrets = audit_secrets(settings, (locator_secret(settings), *previous_secrets(settings)))
    keys = [ChainKey.of(secret) for secret in secrets]
    return {key.id: key for key in keys}


def _show(report: Report) -> None:
    for stream, lines in report.lines.items():
        typer.echo(said(f"{stream} : {lines} traces.", f"{stream}: {lines} records."))
    if report.elsewhere:
        known = ", ".join(report.elsewhere)
        typer.echo(
            said(f"Connus du magasin, ailleurs : {known}.", f"Known to the store, elsewhere: {known}.")
        )
    shown = [*report.findings, *report.notices]
    if shown:
        table = Table(
            said("Constat", "Finding"),
            said("Flux", "Stream"),
            said("Numéros", "Numbers"),
            said("Fichier ou partition", "File or partition"),
            said("Ligne", "Line"),
        )
        for one in shown:
            table.add_row(
                said(*_FLAWS[one.flaw]), one.stream, _numbers(one), escape(one.place), str(one.line or "")
            )
        Console().print(table)
    typer.echo(
        said("La trace est entière.", "The trail is whole.")
        if report.intact
        else said("La trace n'est pas entière.", "The trail is not whole.")
    )


def _numbers(one: Finding) -> str:
    if one.first is None:
        return ""
    return str(one.first) if one.last in (None, one.first) else f"{one.first}–{one.last}"


def _document(report: Report) -> dict[str, Any]:
    return {
        "intact": report.intact,
        "heads_compared": report.heads_known,
        "streams": [{"stream": stream, "records": lines} for stream, lines in report.lines.items()],
        "elsewhere": report.elsewhere,
        "findings": [_finding(one) for one in report.findings],
        "notices": [_finding(one) for one in report.notices],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "flaw": one.flaw,
        "stream": one.stream,
        "place": one.place,
        "line": one.line,
        "first": one.first,
        "last": one.last,
    }
