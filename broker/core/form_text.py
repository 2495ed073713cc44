"""Names and values as `application/x-www-form-urlencoded` text (the URL standard's form serialiser, as `urlencode`)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote_plus

_ASCII = {code: quote_plus(chr(code)) for code in range(128)}


def form_text(pairs: Sequence[tuple[str, str]]) -> str:
    """What `urllib.parse.urlencode` makes of the pairs; it goes through each text byte by byte, in Python."""
    return "&".join([f"{_escaped(name)}={_escaped(value)}" for name, value in pairs])


def _escaped(text: str) -> str:
    return text.translate(_ASCII) if text.isascii() else quote_plus(text)
