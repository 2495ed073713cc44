"""The references of a resource: where they stand, what they name, and how they are replaced in its text (pure).

A reference is the string value of a member named `reference`, wherever it stands: see `rewriting`, whose inward pass says
which of them are another manager's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from broker.core import json_text

_PATH = re.compile(
    r"([A-Z][A-Za-z]{1,63})/((?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_NESTED = (dict, list)
_CHOICE = re.compile(r"value[A-Z]\w*")
# Every `"reference"` that no backslash precedes and a colon follows is a key: see `json_text`.
_MEMBER = re.compile(rb'((?<!\\)"reference"\s*:\s*)("(?:[^"\\]++|\\.)*+")', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Named:
    """The resource that a reference in public terms names."""

    type: str
    public_id: str

    @property
    def reference(self) -> str:
        return f"{self.type}/{self.public_id}"

    @property
    def slug(self) -> str:
        """Of its manager; anything where the id is no public id."""
        return self.public_id.partition(".")[0]


def reference_paths(resource: Mapping[str, Any], *, path: str | None = None) -> list[tuple[str, str]]:
    """Every reference of a resource as (FHIRPath of the Reference, its text), in the order of the text.

    `CareTeam.participant[1].member`; an extension's `valueReference` is `extension[0].value`. `path` stands for the type at
    the beginning (`Bundle.entry[2].resource`).
    """
    return list(_references(resource, path or str(resource.get("resourceType", "Resource"))))


def _references(resource: Mapping[str, Any], root: str) -> Iterator[tuple[str, str]]:
    # By hand and not by recursion: how deep a text may nest is bounded elsewhere, and higher than the call stack.
    waiting: list[tuple[str, Any]] = [(root, resource)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, list):
            inner = [(f"[{index}]", one) for index, one in enumerate(value) if isinstance(one, _NESTED)]
        else:
            text = value.get("reference")
            if isinstance(text, str):
                yield path, text
            inner = [(f".{_element(name)}", one) for name, one in value.items() if isinstance(one, _NESTED)]
        waiting += [(path + place, one) for place, one in reversed(inner)]


def _element(name: str) -> str:
    return "value" if _CHOICE.fullmatch(name) else name


def named_by(reference: str, public_base: str) -> Named | None:
    """What a reference names: relative, or absolute under the public base, with or without a version.

    None: contained, `urn:`, elsewhere, conditional.
    """
    path = _PATH.fullmatch(reference.removeprefix(public_base.rstrip("/") + "/"))
    return None if path is None else Named(path[1], path[2])


def with_references(body: bytes, changes: Mapping[str, str]) -> bytes:
    """JSON in UTF-8 with some references replaced; every other byte stays. `changes`: old text to new.

    `body` must be JSON.
    """
    if not changes:
        return body

    def changed(match: re.Match[bytes]) -> bytes:
        old = json_text.text_of(match[2])
        new = None if old is None else changes.get(old)
        return match[0] if new is None else match[1] + orjson.dumps(new)

    return _MEMBER.sub(changed, json_text.with_plain_keys(body))
