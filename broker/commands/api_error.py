"""What the running broker's JSON API refused, for the person at the terminal. Light: every command loads it."""

from __future__ import annotations

import locale
import os
from typing import Literal


class ApiError(Exception):
    """The broker refused, or none answers. `fr` and `en` are for the person at the terminal."""

    def __init__(self, fr: str, en: str, *, status: int | None = None) -> None:
        super().__init__(en)
        self.fr = fr
        self.en = en
        self.status = status

    def told(self) -> str:
        """The text in the language of the terminal."""
        return self.fr if language() == "fr" else self.en


def language() -> Literal["fr", "en"]:
    """French where the environment says so (`LC_ALL`, `LC_MESSAGES`, `LANG`), else English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return "fr" if (locale.normalize(value) or value).lower().startswith("fr") else "en"
    return "en"
