"""FHIR dates in the words of a language; what is no date is shown as it stands. Pure."""

from __future__ import annotations

import datetime as dt
import re

from markupsafe import Markup, escape

from broker.console.formats import Formats
from broker.console.texts import TEXTS
from broker.console.timeline import Span
from broker.core.outcome import Language

_MONTHS = {
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "en": "January February March April May June July August September October November December",
}
_PARTIAL = re.compile(r"\d{4}(?:-\d\d(?:-\d\d)?)?", re.ASCII)


def shown_date(value: str, language: Language) -> Markup:
    """`2025`, `2025-03`, `2025-03-01`, or an instant with its zone, in a `<time>`."""
    if _PARTIAL.fullmatch(value):
        return _day(value, language)
    try:
        at = dt.datetime.fromisoformat(value)
    except ValueError:
        return escape(value)
    return escape(value) if at.tzinfo is None else Formats(language, at).time(at)


def shown_period(span: Span, language: Language) -> Markup:
    start, end = shown_date(span.start, language), shown_date(span.end, language)
    key = {
        (True, True): "circle.between",
        (True, False): "circle.from",
        (False, True): "circle.to",
        (False, False): "circle.undated",
    }[bool(span.start), bool(span.end)]
    return Markup(TEXTS[key][0 if language == "fr" else 1]).format(start=start, end=end)  # noqa: S704 - our own text


def _day(value: str, language: Language) -> Markup:
    parts = value.split("-")
    month = int(parts[1]) if len(parts) > 1 else None
    if month is not None and not 1 <= month <= 12:
        return escape(value)
    told = [parts[0]] if month is None else [_MONTHS[language].split()[month - 1], parts[0]]
    if len(parts) > 2:
        day = int(parts[2])
        told.insert(0, "1er" if day == 1 and language == "fr" else str(day))
    return Markup('<time datetime="{}">{}</time>').format(value, " ".join(told))
