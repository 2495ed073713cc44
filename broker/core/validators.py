"""ETag, Last-Modified and the conditions on them (FHIR R4, http.html#cread; RFC 9110, sections 8.8 and 13).

A manager that gives no validators, or does not look at conditions, is made up for: its resources carry both.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import format_datetime, parsedate_to_datetime

_ETAG = re.compile(r'(?:W/)?("[^"]*")')


def validators(version_id: str | None, last_updated: str | None) -> dict[str, str]:
    """`etag` and `last-modified` of a resource, from its `meta`; what that does not say is left out."""
    found: dict[str, str] = {}
    if version_id:
        found["etag"] = f'W/"{version_id}"'
    try:
        instant = dt.datetime.fromisoformat(last_updated or "")
        if instant.tzinfo is not None:
            whole = instant.astimezone(dt.UTC).replace(microsecond=0)
            found["last-modified"] = format_datetime(whole, usegmt=True)
    except (ValueError, OverflowError):  # no instant, or one beyond the first or the last year
        return found
    return found


def is_unchanged(conditions: Mapping[str, str], stated: Mapping[str, str]) -> bool:
    """Whether a read is to be answered with 304. Header names in lower case; `stated` are the answer's own.

    If-None-Match goes before If-Modified-Since (RFC 9110, section 13.2.2) and compares weakly.
    """
    if not conditions:
        return False
    wanted = conditions.get("if-none-match")
    if wanted is not None:
        own = _ETAG.fullmatch(stated.get("etag", ""))
        return own is not None and (wanted.strip() == "*" or own[1] in _ETAG.findall(wanted))
    known, changed = _instant(conditions.get("if-modified-since")), _instant(stated.get("last-modified"))
    return known is not None and changed is not None and changed <= known


def _instant(header: str | None) -> dt.datetime | None:
    try:
        instant = parsedate_to_datetime(header or "")
    except (ValueError, TypeError):
        return None
    return instant if instant.tzinfo is not None else None
