"""What a scripted manager answers: canned resources, searched a little, paged. No sockets here."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.fhir_builders import Resource, bundle

Pairs = Sequence[tuple[str, str]]

_ELEMENT = {"patient": {"CareTeam": "subject"}, "organization": {}, "practitioner": {}}


@dataclass
class CannedStore:
    """`resources` in the order of `unsorted` pages; sorted newest first otherwise, ties by id.

    Understood: `_id`, `identifier`, `status`, `patient`/`subject` (and `.identifier`), `_sort` on `_id` and
    `_lastUpdated`, `_count`, `_include` with `:iterate`, `_summary=count`, `_elements` (ignored, as a server
    may). Anything else is ignored in silence: real servers do that too.
    """

    resources: list[Resource]
    page_size: int = 10
    next_links: str = "absolute"  # absolute | relative | hapi
    _pages: dict[str, tuple[str, Pairs, int]] = field(default_factory=dict)
    _tokens: Iterator[int] = field(default_factory=itertools.count)

    def read(self, type_: str, id_: str) -> Resource | None:
        return next((r for r in self.resources if r["resourceType"] == type_ and r["id"] == id_), None)

    def page(self, token: str) -> tuple[str, Pairs, int] | None:
        return self._pages.get(token)

    def search(
        self, type_: str, params: Pairs, *, base: str, offset: int = 0, unsorted: bool = False
    ) -> Resource:
        values = dict(params)
        matches = [r for r in self.resources if r["resourceType"] == type_ and self._fits(r, values)]
        if not unsorted:
            matches = _sorted(matches, values.get("_sort", "-_lastUpdated"))
        total = len(matches)
        count = int(values.get("_count", self.page_size))
        if count == 0 or values.get("_summary") == "count":
            return bundle(base=base, total=total, links={"self": f"{base}/{type_}"})
        size = min(count, self.page_size)
        shown = matches[offset : offset + size]
        links = {"self": f"{base}/{type_}"}
        if offset + size < total:
            links["next"] = self.link(type_, params, offset + size, base)
        return bundle(shown, includes=self._included(shown, params), base=base, total=total, links=links)

    def link(self, type_: str, params: Pairs, offset: int, base: str) -> str:
        token = f"t{next(self._tokens)}"
        self._pages[token] = (type_, params, offset)
        match self.next_links:
            case "hapi":
                return f"{base}?_getpages={token}&_getpagesoffset={offset}&_bundletype=searchset"
            case "relative":
                return f"{type_}?_page={token}"
            case _:
                return f"{base}/{type_}?_page={token}"

    def _fits(self, resource: Resource, values: dict[str, str]) -> bool:
        about: Resource = resource.get("subject") or resource.get("patient") or {}
        subject = str(about.get("reference", ""))
        checks: dict[str, Callable[[str], bool]] = {
            "_id": lambda v: resource["id"] in v.split(","),
            "identifier": lambda v: _has_identifier(resource, v),
            "status": lambda v: resource.get("status") in v.split(","),
        }
        for name in ("patient", "subject"):
            checks[name] = lambda v: _same_reference(subject, v)
            for chained in (f"{name}.identifier", f"{name}:Patient.identifier"):
                checks[chained] = lambda v: _has_identifier(self._resolve(subject), v)
        return all(check(values[name]) for name, check in checks.items() if name in values)

    def _resolve(self, reference: str) -> Resource | None:
        type_, _, id_ = reference.partition("/")
        return self.read(type_, id_)

    def _included(self, matches: list[Resource], params: Pairs) -> list[Resource]:
        seen = {(r["resourceType"], r["id"]) for r in matches}
        found: list[Resource] = []
        turn, iterate = matches, False
        while turn:
            names = ("_include:iterate",) if iterate else ("_include", "_include:iterate")
            wanted = [value for name, value in params if name in names]
            new = []
            for reference in (ref for r in turn for value in wanted for ref in _references(r, value)):
                target = self._resolve(reference)
                if target is not None and (key := (target["resourceType"], target["id"])) not in seen:
                    seen.add(key)
                    new.append(target)
            found += new
            turn, iterate = new, True
        return found


def _sorted(matches: list[Resource], sort: str) -> list[Resource]:
    by_id = sort.lstrip("-") == "_id"
    ordered = sorted(matches, key=lambda r: r["id"])
    return sorted(
        ordered,
        key=lambda r: str(r["id"] if by_id else r.get("meta", {}).get("lastUpdated", "")),
        reverse=sort.startswith("-"),
    )


def _has_identifier(resource: Resource | None, value: str) -> bool:
    if resource is None:
        return False
    for token in value.split(","):
        system, bar, code = token.rpartition("|")
        for identifier in resource.get("identifier", ()):
            if identifier["value"] == code and (not bar or identifier.get("system", "") == system):
                return True
    return False


def _same_reference(reference: str, value: str) -> bool:
    return any(reference == v or reference.partition("/")[2] == v for v in value.split(","))


def _references(resource: Resource, include: str) -> Iterator[str]:
    source, _, rest = include.partition(":")
    if source not in ("*", resource["resourceType"]):
        return
    name, _, target = rest.partition(":")
    element = _ELEMENT.get(name, {}).get(resource["resourceType"], name)
    tree: Any = resource if source == "*" or name == "*" else resource.get(element)
    for reference in _walk(tree):
        if re.fullmatch(r"[A-Z][A-Za-z]+/[^/]+", reference) and (
            not target or reference.startswith(target + "/")
        ):
            yield reference


def _walk(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("reference"), str):
            yield tree["reference"]
        for value in tree.values():
            yield from _walk(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _walk(value)
