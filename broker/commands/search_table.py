"""What `search` and `explain` show to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from broker.commands.api_error import language
from broker.commands.terminal import said
from registry.model import REGIONS, TRE_R30

_TRANSLATION = "http://hl7.org/fhir/StructureDefinition/translation"


def searchset_table(bundle: Mapping[str, Any]) -> Table:
    """The matches of a searchset, one on a line."""
    matches = [
        entry["resource"]
        for entry in bundle.get("entry", ())
        if entry.get("search", {}).get("mode") == "match" and "resource" in entry
    ]
    table = Table(
        Column("Id", overflow="fold"),  # what is cut off cannot be copied
        said("Nom", "Name"),
        said("État", "Status"),
        said("Région", "Region"),
        said("Modifié", "Updated"),
        said("Membres", "Members"),
        caption=_caption(bundle, len(matches)),
    )
    for resource in matches:
        participants = resource.get("participant")
        table.add_row(
            *map(
                escape,
                (
                    resource.get("id", "?"),
                    _name(resource.get("name")),
                    str(resource.get("status", resource.get("active", ""))),
                    _region(resource),
                    resource.get("meta", {}).get("lastUpdated", "")[:19],
                    str(len(participants)) if isinstance(participants, list) else "",
                ),
            )
        )
    return table


def issues_of(bundle: Mapping[str, Any]) -> Iterator[str]:
    """What the broker has to say about the answer, in the language of the terminal."""
    for entry in bundle.get("entry", ()):
        if entry.get("search", {}).get("mode") == "outcome":
            for issue in entry.get("resource", {}).get("issue", ()):
                yield f"{issue.get('severity', '?')}: {told(issue)}"


def told(issue: Mapping[str, Any]) -> str:
    """An issue's text; its translation where that is the terminal's language."""
    details = issue.get("details", {})
    for extension in details.get("_text", {}).get("extension", ()):
        if extension.get("url") == _TRANSLATION:
            parts = {part.get("url"): part for part in extension.get("extension", ())}
            if parts.get("lang", {}).get("valueCode") == language():
                return str(parts.get("content", {}).get("valueString", ""))
    return str(details.get("text") or issue.get("diagnostics") or issue.get("code", "?"))


def explained_plan(plan: Mapping[str, Any]) -> Table:
    """One line for each manager: asked or not, why, and what the broker does in its place."""
    ignored = ", ".join(plan["ignored"])
    table = Table(
        Column("Id", overflow="fold"),  # what is cut off cannot be copied
        said("Nom", "Name"),
        said("Interrogé", "Asked"),
        said("Pourquoi", "Why"),
        said("Fait par le courtier", "Done by the broker"),
        caption=said(f"Ignoré : {escape(ignored)}", f"Ignored: {escape(ignored)}") if ignored else None,
    )
    for one in plan["managers"]:
        asked = said("oui", "yes") if one["asked"] else said("non", "no")
        table.add_row(*map(escape, (one["id"], one["name"], asked, one[language()], _bridged(one))))
    return table


def _bridged(one: Mapping[str, Any]) -> str:
    done = [
        *(said(f"chaîne {name}", f"chain {name}") for name in one["resolved_here"]),
        *(said(f"filtre {name}", f"filter {name}") for name in one["filtered_here"]),
    ]
    if one["includes_here"]:
        done.append("_include")
    if one["sorted_here"]:
        done.append("_sort")
    return ", ".join(done)


def _caption(bundle: Mapping[str, Any], shown: int) -> str:
    total = bundle.get("total")
    if total is None:
        return said(f"{shown} sur cette page", f"{shown} on this page")
    return said(f"{shown} sur {total}", f"{shown} of {total}")


def _name(name: Any) -> str:
    """A circle's or an organisation's name is a string, a person's a list of HumanName."""
    if isinstance(name, str):
        return name
    first = name[0] if isinstance(name, list) and name else None
    if not isinstance(first, dict):
        return ""
    return str(first.get("text") or " ".join([*first.get("given", ()), first.get("family", "")]))


def _region(resource: Mapping[str, Any]) -> str:
    for tag in resource.get("meta", {}).get("tag", ()):
        if tag.get("system") == TRE_R30:
            code = str(tag.get("code", ""))
            return f"{code} {REGIONS.get(code, '')}".strip()
    return ""
