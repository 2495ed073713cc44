"""One thing wrong with a declaration. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: the field (dotted path) and the reason, without repeating the value."""

    field: str
    fr: str
    en: str
