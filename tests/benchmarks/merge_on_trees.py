"""The merge of `bench_merge` as one would write it first: every Bundle a tree, changed in place, and written again.

It does what the broker owes to a resource (federation, section 1) in its common form and nothing for odd ones: no alias, no
absolute reference, no form that is checked. What comes out is the same as the broker's, which `bench_merge` sees to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from broker.core.identity import Origin
from registry.model import TRE_R30

_REFERENCE = re.compile(r"([A-Z][A-Za-z]+/)([A-Za-z0-9\-.]{1,64})")


def merge_on_trees(answers: Sequence[tuple[Origin, bytes]]) -> list[Any]:
    """The entries, as trees: matches, newest first, then what came with them."""
    matches: list[Any] = []
    others: list[Any] = []
    for origin, body in answers:
        for entry in orjson.loads(body)["entry"]:
            _restate(entry, origin)
            (matches if entry["search"]["mode"] == "match" else others).append(entry)
    matches.sort(key=lambda entry: str(entry["resource"]["id"]))
    matches.sort(key=lambda entry: str(entry["resource"]["meta"]["lastUpdated"]), reverse=True)
    return matches + others


def _restate(entry: Any, origin: Origin) -> None:
    resource = entry["resource"]
    resource["id"] = f"{origin.slug}.{resource['id']}"
    meta = resource["meta"]
    meta.setdefault("source", origin.base_url)
    meta.setdefault("tag", []).append({"system": TRE_R30, "code": origin.region})
    _rewrite(resource, rf"\g<1>{origin.slug}.\g<2>")
    entry["fullUrl"] = f"{origin.public_base}/{resource['resourceType']}/{resource['id']}"


def _rewrite(node: Any, public: str) -> None:
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in children:
        if isinstance(value, (dict, list)):
            _rewrite(value, public)
        elif name == "reference":
            node[name] = _REFERENCE.sub(public, value, count=1)
