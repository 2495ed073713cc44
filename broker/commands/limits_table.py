"""The README's table of limits, made from `LIMITS`: `python -m broker.commands.limits_table README.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from broker.settings import PREFIX, Settings
from broker.settings_limits import LIMITS, Limit

BEGIN = "<!-- limits: made by broker.commands.limits_table -->"
END = "<!-- end of limits -->"


def limits_table() -> str:
    """A Markdown table, one line for each limit."""
    return "\n".join(["| Limit | Setting | Default | Beyond it |", "|---|---|---|---|", *map(_line, LIMITS)])


def rewritten(document: str) -> str:
    """A document with the table between its two marks made anew."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the document lacks the marks of the table")
    return f"{before}{begin}\n\n{limits_table()}\n\n{end}{after}"


def _line(limit: Limit) -> str:
    field = Settings.model_fields[limit.setting]
    what = (field.description or "").partition(";")[0]
    return f"| {what} | `{PREFIX}{limit.setting.upper()}` | `{field.default}` | {limit.answer} |"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
