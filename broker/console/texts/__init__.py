"""Every text of the console: one table by page, key → French, English. Placeholders are filled by `text`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Final

from broker.core.outcome import Language

AREAS: Final = ("frame", "federation", "registry", "synchronisation", "search")
"""Modules of this package, each with its `TEXTS`."""

Texts = Mapping[str, tuple[str, str]]


def _one_table(areas: Iterable[str]) -> Texts:
    table: dict[str, tuple[str, str]] = {}
    for area in areas:
        texts: Texts = importlib.import_module(f"{__name__}.{area}").TEXTS
        twice = table.keys() & texts.keys()
        if twice:
            raise ValueError(f"texts given twice: {sorted(twice)}")
        table.update(texts)
    return table


TEXTS: Final = _one_table(AREAS)


def text(key: str, language: Language, **params: str | int | float) -> str:
    """`KeyError` for a key that the table does not hold, or a placeholder that is not given."""
    fr, en = TEXTS[key]
    return (fr if language == "fr" else en).format(**params)
