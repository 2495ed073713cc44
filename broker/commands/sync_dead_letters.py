"""`cds-broker sync dead-letters …`: what agents could not apply. Nothing here tells who a circle is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.commands.sync_log import AsJson, Config, Json, Slug, subscribers, with_log
from broker.commands.terminal import FAILED, complain, progress, said
from broker.sync.change_log import ChangeLog
from broker.sync.dead_letters import DeadLetter, DeadLetters, Reason

app = typer.Typer(no_args_is_help=True, help="What agents could not apply.")

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids, as `list` shows them.")]

_REASONS: Mapping[str, tuple[str, str]] = {
    Reason.CONFLICT: ("conflit", "conflict"),
    Reason.UNREADABLE: ("illisible", "unreadable"),
    Reason.UNFIT: ("incomplet", "incomplete"),
    Reason.REFUSED: ("refusé", "refused"),
    Reason.FAILING: ("échec répété", "fails every time"),
}


@app.command("list", epilog="Example: cds-broker sync dead-letters list --gestionnaire occ")
def list_(gestionnaire: Slug = None, config: Config = None, as_json: AsJson = False) -> None:
    """List them, oldest first: which circle, why, when, how often it was tried, and where it is in the topic."""

    async def work(log: ChangeLog, prefix: str) -> list[Json]:
        found = []
        for slug in await subscribers(log, prefix, gestionnaire, dead=True):
            found += [_line(slug, one) for one in await DeadLetters(log, slug, prefix).all()]
        return found

    found = with_log(config, work)
    if as_json:
        typer.echo(orjson.dumps({"dead_letters": found}, option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        typer.echo(said("Aucune lettre morte.", "No dead letters."))
        return
    table = Table(
        "ID",
        said("Gestionnaire", "Manager"),
        said("Cercle", "Circle"),
        said("Raison", "Reason"),
        said("Détail", "Detail"),
        said("Quand", "When"),
        said("Essais", "Tries"),
        said("Partition, rang", "Partition, offset"),
    )
    for one in found:
        reason = one["reason"]
        fr_en = _REASONS.get(reason)
        table.add_row(
            escape(one["id"]),
            one["manager"],
            one["circle"] or "?",
            escape(reason) if fr_en is None else said(*fr_en),
            escape(one["detail"]),
            one["at"],
            str(one["attempts"]),
            escape(f"{one['partition']}, {one['offset']}"),
        )
    Console().print(table)


@app.command(epilog="Example: cds-broker sync dead-letters replay --gestionnaire occ 3-1742-9f3a1c52")
def replay(
    ids: Ids = None, gestionnaire: Slug = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Publish them again for the manager's agent, all of them or these, and take them off the list.

    What still cannot be applied comes back to the list. What was overtaken by a newer change meanwhile changes nothing.
    Exits 1 where an id is not known, or its content was not kept.
    """

    async def work(log: ChangeLog, prefix: str) -> tuple[int, list[str]]:
        done, chosen = 0, []
        with progress() as shown:
            for slug in await subscribers(log, prefix, gestionnaire, dead=True):
                letters = DeadLetters(log, slug, prefix)
                mine = _chosen(await letters.all(), ids)
                bar = shown.add_task(slug, total=len(mine))
                done += await letters.replay(mine, lambda _, bar=bar: shown.advance(bar))  # type: ignore[misc]  # a default binds it
                chosen += [one.id for one in mine if one.replayable]
        return done, _missing(ids, chosen)

    done, missing = with_log(config, work)
    if as_json:
        typer.echo(orjson.dumps({"replayed": done, "not_replayed": missing}).decode())
    else:
        typer.echo(said(f"{done} rejouée(s).", f"{done} replayed."))
    _end(missing)


@app.command(epilog="Example: cds-broker sync dead-letters discard --gestionnaire occ 3-1742-9f3a1c52")
def discard(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids, as `list` shows them.")],
    gestionnaire: Slug = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Give these up for good, their content too. Exits 1 where an id is not known."""

    async def work(log: ChangeLog, prefix: str) -> list[str]:
        done = []
        for slug in await subscribers(log, prefix, gestionnaire, dead=True):
            letters = DeadLetters(log, slug, prefix)
            for one in _chosen(await letters.all(), ids):
                await letters.discard(one)
                done.append(one.id)
        return done

    done = with_log(config, work)
    missing = _missing(ids, done)
    if as_json:
        typer.echo(orjson.dumps({"discarded": len(done), "not_discarded": missing}).decode())
    else:
        typer.echo(said(f"{len(done)} abandonnée(s).", f"{len(done)} discarded."))
    _end(missing)


def _line(slug: str, letter: DeadLetter) -> Json:
    return {
        "id": letter.id,
        "manager": slug,
        "circle": letter.circle,
        "reason": letter.reason,
        "detail": letter.detail,
        "at": letter.at.isoformat(timespec="seconds"),
        "attempts": letter.attempts,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "replayable": letter.replayable,
    }


def _chosen(letters: Sequence[DeadLetter], ids: Sequence[str] | None) -> list[DeadLetter]:
    return list(letters) if not ids else [one for one in letters if one.id in ids]


def _missing(ids: Sequence[str] | None, done: Sequence[str]) -> list[str]:
    return [one for one in ids or () if one not in done]


def _end(missing: Sequence[str]) -> None:
    if missing:
        listed = ", ".join(missing)
        complain(
            said(f"inconnue(s), ou contenu non conservé : {listed}.", f"unknown, or not kept: {listed}.")
        )
        raise typer.Exit(FAILED)
