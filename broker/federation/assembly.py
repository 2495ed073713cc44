"""Which of the resources that a manager sent along belong to the matches on this page (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.core.bundle import Entry
from broker.core.identity import Origin
from broker.core.rewriting import references


def include_entries(
    taken: Sequence[Entry], every: Sequence[Entry], others: Sequence[Entry], origin: Origin, *, reverse: bool
) -> list[Entry]:
    """The includes of the matches `taken` out of all the matches that the manager sent, in its own order.

    Where every match is taken, every include is. Else those that are reached from the taken ones by references (and,
    with `reverse`, those that point at what is reached), and those that no match of the page leads to.
    """
    includes = [entry for entry in others if entry.mode == "include"]
    if not includes or len(taken) == len(every):
        return includes
    points_at = {_key(entry): set(references(entry.raw, origin)) for entry in (*every, *includes)}
    pages = {_key(entry) for entry in taken}
    wanted = _reached(pages, points_at, reverse=reverse)
    other = _reached({_key(entry) for entry in every} - pages, points_at, reverse=reverse)
    return [entry for entry in includes if _key(entry) in wanted or _key(entry) not in other]


def _key(entry: Entry) -> bytes:
    return f"{entry.type}/{entry.public_id}".encode()


def _reached(roots: set[bytes], points_at: Mapping[bytes, set[bytes]], *, reverse: bool) -> set[bytes]:
    reached: set[bytes] = set()
    new = roots
    while new:
        reached |= new
        following = {target for key in new for target in points_at.get(key, ())}
        if reverse:
            following |= {key for key, targets in points_at.items() if targets & new}
        new = following - reached
    return reached
