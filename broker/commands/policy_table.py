"""The README's table of who may do what, made from the policy: `python -m broker.commands.policy_table README.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from broker.core.access.policy import INTERACTIONS, Interaction
from broker.core.access.principal import Permission, Role

BEGIN = "<!-- policy: made by broker.commands.policy_table -->"
END = "<!-- end of policy -->"

ANYBODY = "anybody"
GRANTED = "✓"


def columns() -> list[str]:
    """What may be granted: nothing, the letters of scopes, the roles that open anything."""
    roles = [role.value for role in Role if any(role in one.need.roles for one in INTERACTIONS)]
    return [ANYBODY, *(one.value for one in Permission), *roles]


def policy_table() -> str:
    """A Markdown table, one line for each interaction: under each right that it takes, the resource type of it."""
    names = columns()
    head = ["Interaction", "HTTP", *(name if name == ANYBODY else f"`{name}`" for name in names)]
    lines = [head, ["---"] * len(head), *(_line(one, names) for one in INTERACTIONS)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rewritten(document: str) -> str:
    """A document with the table between its two marks made anew."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the document lacks the marks of the table")
    return f"{before}{begin}\n\n{policy_table()}\n\n{end}{after}"


def _line(interaction: Interaction, names: list[str]) -> list[str]:
    cells = dict(_cells(interaction))
    routes = "<br>".join(f"`{method} {path}`" for method, path in interaction.routes)
    return [interaction.code, routes, *(cells.get(name, "") for name in names)]


def _cells(interaction: Interaction) -> Iterator[tuple[str, str]]:
    need = interaction.need
    if need.is_public:
        yield ANYBODY, GRANTED
    if need.by_entry:
        yield Permission.CREATE.value, "each `POST`"
        yield Permission.UPDATE.value, "each `PUT`"
    for role in need.roles:
        yield role.value, GRANTED
    for right in need.rights:
        yield right.permission.value, f"`{right.on}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
