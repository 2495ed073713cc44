"""What `locator` shows to people."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from broker.commands.api_error import language
from broker.commands.terminal import said

_STATES = {
    "none": ("inconnu", "none"),
    "crawling": ("parcours en cours", "crawling"),
    "complete": ("complet", "complete"),
}


def status_table(status: dict[str, Any]) -> RenderableType:
    """One line for each manager."""
    table = Table(
        said("Gestionnaire", "Manager"),
        said("État", "State"),
        said("Fait foi", "Trusted"),
        said("Âge (s)", "Age (s)"),
        said("Cercles", "Circles"),
        said("Suivi depuis", "Followed from"),
        said("Ce qui manque", "What is missing"),
    )
    for one in status["managers"]:
        problem = one["problem"]
        table.add_row(
            escape(f"{one['id']} · {one['name']}"),
            _state(one),
            said("oui", "yes") if one["fresh"] else said("non", "no"),
            "-" if one["age"] is None else f"{one['age']:.1f}",
            str(one["circles"]) if one["total"] is None else f"{one['circles']} / {one['total']}",
            escape(one["since"] or "-"),
            escape(problem[language()]) if problem else "",
        )
    return table


def generations_table(status: dict[str, Any]) -> RenderableType:
    """One line for each generation of the index."""
    table = Table(
        said("Index", "Index"),
        said("Clé", "Key"),
        said("Taillé pour", "Laid out for"),
        said("Gestionnaires complets", "Managers complete"),
        "",
    )
    for one in status["generations"]:
        notes = []
        if not one["ours"]:
            notes.append(said("secret inconnu ici", "secret not known here"))
        if one["dropping"]:
            notes.append(said("en cours de suppression", "being dropped"))
        table.add_row(
            str(one["number"]),
            escape(one["key_id"]),
            str(one["laid_out_for"]),
            f"{one['complete']} / {one['managers']}",
            ", ".join(notes),
        )
    return table


def _state(one: dict[str, Any]) -> str:
    if one["status"] != "active":
        return said("suspendu", "suspended")
    state = said(*_STATES[one["state"]])
    if one["filling"] is not None:
        state += said(" · nouveau : ", " · new: ") + said(*_STATES[one["filling"]])
    return state
