"""Tables that fit a terminal of 80 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table


def table(title: str, first: str = "", *headings: str) -> Table:
    """With a column on the left for names, and columns of figures."""
    made = Table(
        title=f"\n{title}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption_justify="left",
    )
    if headings:
        made.add_column(first)
        for heading in headings:
            made.add_column(heading, justify="right", no_wrap=True)
    return made
