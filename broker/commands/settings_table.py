"""The README's table of settings, made from `Settings.describe()`: `python -m broker.commands.settings_table README.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from broker.settings import Settings

BEGIN = "<!-- settings: made by broker.commands.settings_table -->"
END = "<!-- end of settings -->"


def settings_table() -> str:
    """A Markdown table, one line for each setting."""
    rows = [f"| `{row.name}` | {_code(row.default)} | {row.en} |" for row in Settings.describe()]
    return "\n".join(["| Setting | Default | |", "|---|---|---|", *rows])


def _code(default: str) -> str:
    return f"`{default}`" if default else ""


def rewritten(document: str) -> str:
    """A document with the table between its two marks made anew."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the document lacks the marks of the table")
    return f"{before}{begin}\n\n{settings_table()}\n\n{end}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
