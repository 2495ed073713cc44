"""Instants, durations and shares as they are written in a language. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from broker.console.texts import text
from broker.core.outcome import Language

_MONTHS: Final = {
    "fr": ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
    "en": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
}


@dataclass(frozen=True, slots=True)
class Formats:
    """In templates: `f`. `now`: of the page."""

    language: Language
    now: dt.datetime

    def time(self, instant: dt.datetime | str | None) -> Markup:
        """`<time datetime=…>` in UTC; scripts make it the browser's own. An RFC 3339 text, or an aware instant."""
        if instant is None:
            return Markup("{}").format(text("frame.unknown", self.language))
        at = dt.datetime.fromisoformat(instant) if isinstance(instant, str) else instant
        local = at.astimezone(dt.UTC)
        month = _MONTHS[self.language][local.month - 1]
        shown = f"{local.day} {month} {local.year} {local:%H:%M:%S} UTC"
        return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="milliseconds"), shown)

    def number(self, value: float | None) -> str:
        """With a thin space or a comma between thousands."""
        if value is None:
            return text("frame.unknown", self.language)
        grouped = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
        if self.language == "fr":
            return grouped.replace(",", "\u202f").replace(".", ",")
        return grouped

    def seconds(self, value: float | None) -> str:
        """A duration in the unit that fits it."""
        if value is None:
            return text("frame.unknown", self.language)
        for least, unit, size in (
            (172_800, "days", 86_400),
            (7_200, "hours", 3_600),
            (120, "minutes", 60),
        ):
            if value >= least:
                return text(f"frame.{unit}", self.language, value=self.number(round(value / size)))
        if value >= 1 or value == 0:
            return text("frame.seconds", self.language, value=self.number(round(value, 1)))
        return text("frame.ms", self.language, value=self.number(max(1, round(value * 1000))))

    def percent(self, share: float | None) -> str:
        if share is None:
            return text("frame.unknown", self.language)
        return text("frame.percent", self.language, value=self.number(round(share * 100, 1)))
