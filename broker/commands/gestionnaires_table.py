"""What `gestionnaires` shows to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from broker.commands.api_error import language
from broker.core.lacks import describe_lacks
from registry.model import REGIONS, Skills

_NAMES = {
    "id": ("Id", "Id"),
    "name": ("Nom", "Name"),
    "region": ("Région", "Region"),
    "status": ("État", "Status"),
    "base_url": ("Adresse", "Address"),
    "checked": ("Examiné", "Checked"),
    "lacks": ("Ce qui manque", "What is missing"),
    "revision": ("Révision", "Revision"),
    "updated_at": ("Modifié", "Changed"),
}


def listing(registered: Sequence[dict[str, Any]]) -> RenderableType:
    """A table of managers as the API gives them."""
    table = Table(*map(_title, ("id", "name", "region", "status", "base_url", "checked")))
    for one in registered:
        declared = one["gestionnaire"]
        checked = (one.get("skills") or {}).get("checked_at") or "-"
        table.add_row(
            *map(
                escape,
                (
                    declared["id"],
                    declared["name"],
                    _region(declared["region"]),
                    declared.get("status", "active"),
                    declared["base_url"],
                    checked,
                ),
            )
        )
    return table


def detail(registered: dict[str, Any]) -> RenderableType:
    """Everything about one manager."""
    table = Table(show_header=False)
    for name, value in registered["gestionnaire"].items():
        shown = _region(value) if name == "region" else value
        table.add_row(_title(name), escape(str(shown)))
    for name in ("revision", "updated_at"):
        table.add_row(_title(name), escape(str(registered[name])))
    skills = registered.get("skills")
    if not skills:
        return table
    return Group(table, lacks([{"id": registered["gestionnaire"]["id"], "skills": skills}]))


def lacks(results: Sequence[dict[str, Any]]) -> RenderableType:
    """What each checked manager cannot do, or why it could not be checked."""
    table = Table(_title("id"), _title("lacks"))
    for result in results:
        if "error" in result:
            told = [result["error"][language()]]
        else:
            french = language() == "fr"
            found = describe_lacks(msgspec.convert(result["skills"], Skills))
            told = [fr if french else en for fr, en in found] or ["rien" if french else "nothing"]
        table.add_row(escape(result["id"]), escape("\n".join(told)))
    return table


def _title(name: str) -> str:
    french, english = _NAMES.get(name, (name, name))
    return french if language() == "fr" else english


def _region(code: str) -> str:
    return f"{code} {REGIONS.get(code, '')}".strip()
