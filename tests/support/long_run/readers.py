"""Clients that search, page, read and look into histories, and hold each answer against what must be so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.federation import Answered, outcome_codes
from tests.support.long_run.book import Book
from tests.support.long_run.people import Known, People
from tests.support.long_run.site import Site
from tests.support.write_world import PUBLIC, Json, matches

FAMILY = "IMMOBILE"
"""Of those whose circles nobody changes."""

UNABLE = {500, 502, 503, 504}
"""What may be answered while a part is away."""

_TURNS = 100
"""Requests over one set of connections: the kernel gives new ones to either worker."""
_PAGE = 7
_PATIENCE = aiohttp.ClientTimeout(total=30)


@dataclass
class Reader:
    """One client: one request after the other, with a pause, for as long as the gate is open."""

    site: Site
    book: Book
    people: People
    dice: random.Random
    gate: asyncio.Event
    pause: float
    _http: aiohttp.ClientSession = field(init=False, repr=False)

    async def run(self) -> None:
        ways: Mapping[Callable[[], Awaitable[None]], float] = {
            self.locate: 45,
            self.read: 20,
            self.everybody: 10,
            self.still: 6,
            self.history: 8,
            self.directly: 11,
        }
        while True:
            await self.gate.wait()
            async with self._connected():
                for _ in range(_TURNS):
                    if not self.gate.is_set():
                        break
                    await self.dice.choices([*ways], [*ways.values()])[0]()
                    await asyncio.sleep(self.dice.uniform(0.5, 1.5) * self.pause)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(timeout=_PATIENCE) as self._http:
            yield

    # --- ways

    async def locate(self) -> None:
        """A person's circle, by the index."""
        one = self.people.one()
        if one is None:
            return
        known = one.version
        answered = await self._sent(
            "located", "POST", "CareTeam/_search", form={"patient.identifier": one.person.token}
        )
        if answered is None or one.gone:
            return
        found = {each["id"]: each for each in matches(answered)}
        if one.public_id in found:
            self._recent("located", one, known, found[one.public_id])
        else:
            self._explained("located", answered, {one.home}, f"{one.public_id} is missing")

    async def everybody(self) -> None:
        """A page of all managers, with whom it is about."""
        answered = await self._sent("fan-out", "GET", "CareTeam?_count=20&_include=CareTeam:subject")
        if answered is None:
            return
        self.book.checked["fan-out"] += 1
        ids = [one["id"] for one in matches(answered)]
        if len(ids) != len(set(ids)):
            self.book.untrue(f"fan-out: a circle twice on a page: {ids}")

    async def still(self) -> None:
        """Every page of a search whose answer is known."""
        url: str | None = f"CareTeam?patient.family={FAMILY}&_count={_PAGE}"
        ids: list[str] = []
        named: set[str] = set()
        while url is not None:
            answered = await self._sent("page", "GET", url)
            if answered is None:
                return
            ids += [one["id"] for one in matches(answered)]
            named |= {slug or key for key, slug in outcome_codes(answered.json)}
            url = _next(answered.json)
        self.book.checked["page"] += 1
        if len(ids) != len(set(ids)):
            self.book.untrue(f"page: a circle twice: {sorted(ids)}")
        missing = self.people.still - set(ids)
        if "page.unavailable" in named:
            return  # the store keeps no pages now, and the answer says so
        if silent := {one for one in missing if one.partition(".")[0] not in named}:
            self.book.untrue(
                f"page: {len(silent)} circles missing, told of are {named}: {sorted(silent)[:3]}"
            )
        if not missing and (strange := set(ids) - self.people.still):
            self.book.untrue(f"page: {sorted(strange)[:3]} beside all that there are")

    async def read(self) -> None:
        one = self.people.one()
        if one is None:
            return
        known = one.version
        answered = await self._sent("read", "GET", f"CareTeam/{one.public_id}", gone=one)
        if answered is not None and not one.gone:
            self._recent("read", one, known, answered.json)

    async def history(self) -> None:
        one = self.people.one()
        if one is None:
            return
        known = one.version
        answered = await self._sent("history", "GET", f"CareTeam/{one.public_id}/_history?_count=5", gone=one)
        if answered is None or one.gone:
            return
        versions = [each["resource"] for each in answered.json.get("entry", ()) if "resource" in each]
        teams = [each for each in versions if each["resourceType"] == "CareTeam"]
        if teams:
            self._recent("history", one, known, teams[0])
        else:
            self._explained("history", answered, {one.home}, f"{one.public_id} has no versions")

    async def directly(self) -> None:
        """The same search at a manager, with no broker between: how the machine is."""
        one = self.people.one()
        if one is None:
            return
        url = f"{self.site.boxes[one.home].base_url}/CareTeam"
        begun = self.book.begun()
        status = None
        try:
            async with self._http.get(url, params={"patient.identifier": one.person.token}) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            pass  # that it is away is what the load lives through
        if self.book.calm is not None:
            self.book.ended("(direct)", begun, status)

    # --- what must be so

    def _recent(self, kind: str, one: Known, known: int, found: Json) -> None:
        self.book.checked[kind] += 1
        if int(found["meta"]["versionId"]) < known:
            self.book.untrue(
                f"{kind}: {one.public_id} is version {found['meta']['versionId']}, after {known} was acknowledged"
            )

    def _explained(self, kind: str, answered: Answered, homes: set[str], what: str) -> None:
        """What is missing is said to be: its manager is named."""
        self.book.checked[kind] += 1
        named = {slug for _, slug in outcome_codes(answered.json)}
        if not homes <= named:
            self.book.untrue(f"{kind}: {what}, and told of are {named}: {answered.body[:300]!r}")

    async def _sent(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        form: dict[str, str] | None = None,
        gone: Known | None = None,
    ) -> Answered | None:
        """None where it was refused, as it may be while a part is away, or where a circle is `gone`."""
        begun = self.book.begun()
        try:
            async with self._http.request(method, f"{self.site.broker.base_url}/{path}", data=form) as answer:
                answered = Answered(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            self.book.ended(kind, begun, None)
            self.book.untrue(f"{kind}: no answer ({type(error).__name__}), although the broker runs")
            return None
        left = answered.status in (404, 410) and gone is not None and gone.gone
        calm = self.book.ended(kind, begun, 200 if left else answered.status)
        if answered.status == 200:
            self._partial(answered, calm)
            return answered
        if answered.status not in UNABLE and not left:
            self.book.untrue(f"{kind}: answered {answered.status}: {answered.body[:300]!r}")
        return None

    def _partial(self, answered: Answered, calm: bool) -> None:
        if b'"OperationOutcome"' in answered.body and any(slug for _, slug in outcome_codes(answered.json)):
            self.book.partial += 1
            self.book.calm_partial += calm


def _next(bundle: Json) -> str | None:
    """Relative to the broker's base."""
    links: list[dict[str, Any]] = bundle.get("link", [])
    found = next((one["url"] for one in links if one["relation"] == "next"), None)
    return None if found is None else str(found).removeprefix(f"{PUBLIC}/")
