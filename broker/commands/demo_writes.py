"""The writes that the demonstration suggests: one of each flux, their bodies in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.commands.demo_cast import REVISED
from broker.commands.demo_federation import Demo
from broker.commands.demo_people import circle, creation, joining, patient

JOINED = "cercle-5"
"""The first manager's circle to which the suggested 4c adds a member."""

_PLACEHOLDER = "PATIENT"

Suggestion = tuple[tuple[str, str], str]
"""A sentence in two languages, and the command."""


def bodies(joined: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By name. `joined`: the circle `JOINED` in public terms."""
    changed = dict(joined)
    return {
        "patient": patient("35000"),
        "circle": circle(f"Patient/{_PLACEHOLDER}"),
        "creation": creation("29200"),
        "update": joining(changed, joined["subject"]["reference"]),
    }


def writing_suggestions(running: Demo, directory: Path, revised_version: str) -> list[Suggestion]:
    """`directory`: where the bodies are. `revised_version`: that of the first manager's circle `REVISED`."""
    base, slug = running.base_url, running.managers[0].slug
    send = "curl -si -H 'Content-Type: application/fhir+json'"
    revised = f"{base}/CareTeam/{slug}.{REVISED}"
    structure = f"{base}/Organization/{slug}.structure-1"
    create = f"sed s/{_PLACEHOLDER}/$P/ {directory}/circle.json | {send} {base}/CareTeam -d @-"
    return [
        (
            (
                "1a : une personne, chez le gestionnaire de son département",
                "1a: a person, at the manager of their department",
            ),
            f"P=$({send} {base}/Patient -d @{directory}/patient.json | grep -o '{slug}[.][0-9a-f-]*' | head -1); echo $P",
        ),
        (
            (
                "1b : son cercle ; un second est refusé, avec l'adresse du premier",
                "1b: their circle; a second one is refused, with the first one's address",
            ),
            f"{create}\n{create}",
        ),
        (
            (
                "1c : un cercle et tous ceux qui y sont, d'un coup, chez un seul gestionnaire",
                "1c: a circle and everybody in it, at once, at one manager",
            ),
            f"{send} {base} -d @{directory}/creation.json",
        ),
        (
            ("4a : une structure change de nom", "4a: a structure gets another name"),
            f'curl -s {structure} | sed \'s/"name":"/&Nouvelle /\' | {send} -X PUT {structure} -d @-',
        ),
        (
            (
                "4b : un cercle est suspendu, si sa version est celle-là ; une seconde fois : 412",
                "4b: a circle is suspended, if its version is that one; a second time: 412",
            ),
            (
                f'curl -s {revised} | sed \'s/"status":"[a-z]*"/"status":"suspended"/\' |\n'
                f"  {send} -X PUT {revised} -H 'If-Match: W/\"{revised_version}\"' -d @-"
            ),
        ),
        (
            ("4c : un proche entre dans un cercle", "4c: a relative joins a circle"),
            f"{send} {base} -d @{directory}/update.json",
        ),
    ]
