"""What the checks of `demo --check` ask the broker with, and say what they saw with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from broker.commands.demo_federation import Demo
from broker.commands.demo_held import Held
from broker.ports import Clock

Pairs = Sequence[tuple[str, str]]

_MANAGER = "urn:cds-broker:gestionnaire"
_REASON = "urn:cds-broker:outcome"
_SECONDS = 30.0


class CheckFailedError(Exception):
    """What was expected and what was seen instead."""


def expect(held: bool, otherwise: str) -> None:
    if not held:
        raise CheckFailedError(otherwise)


def expect_same(seen: object, expected: object, what: str) -> None:
    """Sets and lists tell what is missing and what is too much; the rest is shown shortened."""
    if seen == expected:
        return
    if isinstance(seen, list | set) and isinstance(expected, list | set):
        missing, extra = sorted(set(expected) - set(seen)), sorted(set(seen) - set(expected))
        detail = (
            f"missing {missing[:5]}, too much {extra[:5]}"
            if missing or extra
            else "another order, or repeated"
        )
    else:
        detail = f"{str(seen)[:80]} instead of {str(expected)[:80]}"
    raise CheckFailedError(f"{what}: {detail}")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # lower-case names
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Probe:
    """`held`: what each manager holds, by slug, in the order of the managers."""

    demo: Demo
    held: Mapping[str, Held]
    http: aiohttp.ClientSession  # without automatic decompression
    clock: Clock

    @property
    def home(self) -> str:
        return self.demo.managers[0].slug

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Pairs = (),
        form: Pairs | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer:
        """`path` below the broker's address, or an absolute URL. Whatever comes back is an answer."""
        url = path if path.startswith("http") else self.demo.url + path
        began = self.clock.monotonic()
        async with self.http.request(
            method,
            url,
            params=list(query) or None,
            data=None if form is None else aiohttp.FormData(list(form)),
            json=body,
            headers={"Accept-Encoding": "identity", **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
            allow_redirects=False,
        ) as response:
            content = await response.read()
        given = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, given, content, self.clock.monotonic() - began)

    async def search(self, kind: str, *pairs: tuple[str, str], prefer: str | None = None) -> Any:
        """A searchset, by POST."""
        headers = {} if prefer is None else {"Prefer": prefer}
        answer = await self.send("POST", f"/fhir/{kind}/_search", form=pairs, headers=headers)
        expect_same(answer.status, 200, f"{kind} search: status")
        return answer.json

    async def pages(self, path: str, *pairs: tuple[str, str], limit: int = 200) -> list[Any]:
        """The page at a path and all that follow it."""
        bundles: list[Any] = []
        query: Pairs = pairs
        while path:
            expect(len(bundles) < limit, f"more than {limit} pages")
            answer = await self.send("GET", path, query=query)
            expect_same(answer.status, 200, f"page {len(bundles) + 1}: status")
            bundles.append(answer.json)
            path, query = link(answer.json, "next") or "", ()
            expect(
                not path or urlsplit(path).path.startswith("/fhir/"), "a page link leads out of the broker"
            )
        return bundles


def link(bundle: Any, relation: str) -> str | None:
    return next((one["url"] for one in bundle.get("link", ()) if one["relation"] == relation), None)


def entries(bundle: Any, mode: str) -> list[Any]:
    """The resources of one search.mode."""
    return [one["resource"] for one in bundle.get("entry", ()) if one.get("search", {}).get("mode") == mode]


def ids(bundle: Any) -> list[str]:
    """Public ids of the matches, in order."""
    return [one["id"] for one in entries(bundle, "match")]


def reasons(bundle: Any) -> set[tuple[str, str]]:
    """What the outcome names: (key of the reason, slug of the manager or nothing)."""
    found = set()
    for outcome in entries(bundle, "outcome"):
        found |= issue_reasons(outcome)
    return found


def issue_reasons(outcome: Any) -> set[tuple[str, str]]:
    found = set()
    for issue in outcome["issue"]:
        codes = {one["system"]: one["code"] for one in issue.get("details", {}).get("coding", ())}
        found.add((codes.get(_REASON, ""), codes.get(_MANAGER, "")))
    return found
