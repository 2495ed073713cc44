"""A Bundle as a probe sees it. Tolerant: what has the wrong shape is not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import orjson

Resource = Mapping[str, Any]

_MAX_ENTRIES: Final = 1000
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def is_id(value: object) -> TypeGuard[str]:
    """A FHIR id or version: nothing else becomes part of an address."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None and value.strip(".") != ""


@dataclass(frozen=True, slots=True)
class Page:
    """A searchset or history Bundle as a probe sees it: what matched, what came along, by type and id."""

    kind: str  # Bundle.type
    matches: tuple[Resource, ...]
    others: tuple[Resource, ...]
    total: int | None
    entries: int
    next_url: str | None = None
    asked: int | None = None  # the `_count` that was asked for

    @property
    def more(self) -> bool:
        return self.next_url is not None

    @property
    def full(self) -> bool:
        return self.asked is not None and len(self.matches) >= self.asked

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(str(resource["id"]) for resource in self.matches)

    def held(self) -> dict[tuple[str, str], Resource]:
        """Everything on the page by (type, id)."""
        return {(str(r["resourceType"]), str(r["id"])): r for r in (*self.matches, *self.others)}

    def total_is_true(self) -> bool | None:
        """Whether the total can be right; None: not given."""
        if self.total is None:
            return None
        may_go_on = self.more or self.full  # some servers give a true total and no `next` link
        return self.total >= len(self.matches) if may_go_on else self.total == len(self.matches)


def read_page(body: bytes, resource_type: str, *, asked: int | None = None) -> Page | None:
    """A Bundle as a page of `resource_type`, `asked` matches long; None where the bytes are no Bundle.

    A resource without a well-formed id is left out. An entry without `search.mode` is a match where it is of
    the type that was searched.
    """
    try:
        bundle = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return None
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        return None
    entries = bundle.get("entry")
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    matched: list[Resource] = []
    others: list[Resource] = []
    for entry in entries[:_MAX_ENTRIES]:
        resource, search = entry.get("resource"), entry.get("search")
        if not isinstance(resource, dict) or not is_id(resource.get("id")):
            continue
        kind = resource.get("resourceType")
        mode = search.get("mode") if isinstance(search, dict) else None
        is_match = mode == "match" or (mode is None and kind == resource_type)
        if isinstance(kind, str):
            (matched if is_match else others).append(resource)
    total = bundle.get("total")
    links = bundle.get("link")
    links = links if isinstance(links, list) else []
    return Page(
        kind=str(bundle.get("type")),
        matches=tuple(matched),
        others=tuple(others),
        total=total if isinstance(total, int) and not isinstance(total, bool) else None,
        entries=len(entries),
        next_url=next(
            (
                link["url"]
                for link in links
                if isinstance(link, dict)
                and link.get("relation") == "next"
                and isinstance(link.get("url"), str)
            ),
            None,
        ),
        asked=asked,
    )
