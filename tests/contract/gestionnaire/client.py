"""A plain FHIR client: what the suite knows of a Gestionnaire is what HTTP tells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

Json = dict[str, Any]
Pairs = Sequence[tuple[str, str]]

FHIR_JSON = "application/fhir+json"
FHIR_XML = "application/fhir+xml"
_MOST_PAGES = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read to its end. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip()

    @property
    def json(self) -> Json:
        assert self.media_type == FHIR_JSON, f"{self.status} {self.media_type}: {self.text[:300]}"
        body = json.loads(self.text)
        assert isinstance(body, dict)
        return body


@dataclass(frozen=True, slots=True)
class Gestionnaire:
    """The server under test. `base_url` has no slash at its end; `target`s are relative to it or absolute."""

    base_url: str
    session: aiohttp.ClientSession

    async def send(
        self,
        method: str,
        target: str,
        *,
        params: Pairs = (),
        form: Pairs | None = None,
        body: Json | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        url = target if "://" in target else f"{self.base_url}/{target}".rstrip("/")
        data: Any = aiohttp.FormData(list(form)) if form is not None else None
        extra = {"Accept": FHIR_JSON, **(headers or {})}
        if body is not None:
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            extra.setdefault("Content-Type", FHIR_JSON)
        async with self.session.request(
            method, url, params=list(params) or None, data=data, headers=extra, allow_redirects=False
        ) as response:
            text = await response.text(encoding="utf-8")
            lowered = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, lowered, text)

    async def get(self, target: str, params: Pairs = (), **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("GET", target, params=params, headers=named)

    async def search(self, resource_type: str, params: Pairs, *, post: bool = False) -> Json:
        """One searchset (the first page); anything but 200 fails the test."""
        if post:
            answer = await self.send("POST", f"{resource_type}/_search", form=params)
        else:
            answer = await self.send("GET", resource_type, params=params)
        assert answer.status == 200, f"{resource_type}?{_shown(params)}: {answer.status} {answer.text[:500]}"
        bundle = answer.json
        assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
        return bundle

    async def pages(self, first: Json, *, most: int = _MOST_PAGES) -> list[Json]:
        """`first` and every page behind its `next` links, which are opaque and followed by GET."""
        found = [first]
        seen: set[str] = set()
        while (following := link(found[-1], "next")) is not None:
            assert following not in seen, "a next link came twice"
            assert len(found) < most, f"more than {most} pages"
            seen.add(following)
            answer = await self.send("GET", self.absolute(following))
            assert answer.status == 200, f"next link: {answer.status} {answer.text[:300]}"
            found.append(answer.json)
        return found

    async def search_all(self, resource_type: str, params: Pairs, *, post: bool = False) -> list[Json]:
        """Every match of every page, in order."""
        first = await self.search(resource_type, params, post=post)
        return [resource for page in await self.pages(first) for resource in matches(page)]

    def absolute(self, address: str) -> str:
        """A link as given: absolute, or relative to the base."""
        return address if "://" in address else urljoin(f"{self.base_url}/", address)


def _shown(params: Pairs) -> str:
    return "&".join(f"{name}={value}" for name, value in params)


def entries(bundle: Json, mode: str | None = None) -> list[Json]:
    """The entries of a searchset; `mode` is match, include or outcome."""
    found = bundle.get("entry", [])
    return [entry for entry in found if mode is None or entry.get("search", {}).get("mode") == mode]


def matches(bundle: Json) -> list[Json]:
    return [entry["resource"] for entry in entries(bundle, "match")]


def included(bundle: Json) -> list[Json]:
    return [entry["resource"] for entry in entries(bundle, "include")]


def right_total(bundle: Json, number: int) -> bool:
    """Whether `total` is the number of matches. It may be absent (FHIR R4, Bundle); it may not be wrong."""
    return bool(bundle.get("total", number) == number)


def link(bundle: Json, relation: str) -> str | None:
    """The address of a link, which may be there once at most."""
    urls = [item["url"] for item in bundle.get("link", []) if item["relation"] == relation]
    assert len(urls) <= 1, f"{len(urls)} links of relation {relation}"
    return urls[0] if urls else None


def key(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def keys(resources: Iterable[Json]) -> list[str]:
    return [key(resource) for resource in resources]


def target_of(reference: str) -> str:
    """`Type/id` of a literal reference: relative or absolute, with or without a version."""
    parts = urlsplit(reference).path.partition("/_history/")[0].split("/")
    return "/".join(parts[-2:])


def refused(answer: Answer, *statuses: int) -> None:
    """The request was refused with one of the statuses, and an OperationOutcome says why."""
    assert answer.status in statuses, f"{answer.status}: {answer.text[:300]}"
    outcome = answer.json
    assert outcome["resourceType"] == "OperationOutcome"
    assert any(issue["severity"] in {"error", "fatal"} and issue["code"] for issue in outcome["issue"])
