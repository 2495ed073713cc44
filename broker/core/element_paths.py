"""Element paths of `broker.core.search_parameters`, followed through a parsed resource.

A path is a row of member names joined by dots. Every repeating element on the way is spread out. A step
`ext[URL]` takes the extensions of that URL; the dots inside the brackets belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_STEP = re.compile(r"ext\[([^\]]*)\]|([^.\[\]]+)")


@lru_cache(maxsize=256)
def steps(path: str) -> tuple[tuple[str, str], ...]:
    """The steps of a path: (`extension`, URL) for an `ext[URL]` step, (member, ``) for any other."""
    return tuple(("extension", url) if url else (member, "") for url, member in _STEP.findall(path))


def values_at(resource: Mapping[str, Any], path: str) -> list[Any]:
    """What a resource holds at a path, in document order: primitives or objects, never lists, never None.

    A primitive that is null or has only extensions (`_name`) is not a value.
    """
    found: list[Any] = [resource]
    for member, url in steps(path):
        following: list[Any] = []
        for element in found:
            value = element.get(member) if isinstance(element, dict) else None
            if isinstance(value, list):
                following += [item for item in value if item is not None]
            elif value is not None:
                following.append(value)
        found = [e for e in following if isinstance(e, dict) and e.get("url") == url] if url else following
        if not found:
            break
    return found
