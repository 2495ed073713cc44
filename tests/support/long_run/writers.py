"""Clients that create, change and delete, through the broker and beside it; the number of circles stays about the same."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from tests.support.federation import Answered
from tests.support.long_run.book import Book
from tests.support.long_run.people import Known, People
from tests.support.long_run.readers import FAMILY
from tests.support.long_run.site import HOMES, ROLE, Site
from tests.support.sync_traffic import UNSURE, Creation
from tests.support.write_world import (
    FHIR_JSON,
    Json,
    circle,
    entry,
    located,
    new_mark,
    new_person,
    transaction,
    version_of,
)

_AT_HOME = aiohttp.ClientTimeout(total=3)
_PATIENCE = aiohttp.ClientTimeout(total=30)
_JSON = {"Content-Type": FHIR_JSON}


@dataclass
class Writer:
    """`population`: circles that there are to be, about. What goes through the broker has the kind `create`, and so on."""

    site: Site
    book: Book
    people: People
    dice: random.Random
    gate: asyncio.Event
    pause: float
    population: int

    async def run(self) -> None:
        while True:
            await self.gate.wait()
            await self._any()
            await asyncio.sleep(self.dice.uniform(0.5, 1.5) * self.pause)

    async def _any(self) -> None:
        few = len(self.people.circles) < self.population
        weights = (6 if few else 2, 10, 4, 4, 2 if few else 6)
        ways = (self.create, self.update, self.transact, self.change_at_home, self.delete_at_home)
        if self.people.unanswered and self.dice.random() < 0.3:
            await self.resume_one()
        else:
            await self.dice.choices(ways, weights)[0]()

    # --- through the broker

    async def create(self) -> None:
        """A circle of a person whom one home knows."""
        slug = self.dice.choice(HOMES)
        person = new_person(slug)
        if not await self._at_home(slug, "PUT", person.patient()):
            return
        body = circle(person.subject(slug), new_mark("s"), members=self._members(slug))
        key = f'"{uuid.UUID(int=self.dice.getrandbits(128))}"'
        await self._created(Creation(body, key, person, body["identifier"][0]["value"]))

    async def resume_one(self) -> None:
        """Once more, with its key, a creation that was not answered."""
        await self._created(self.people.unanswered.pop(0))

    async def _created(self, made: Creation) -> None:
        answered = await self._sent("create", "POST", "CareTeam", made.body, {"Idempotency-Key": made.key})
        identity = None if answered is None else located(answered)
        if answered is None or identity is None:
            if answered is not None and answered.status not in UNSURE:
                self.book.untrue(f"create: answered {answered.status}: {answered.body[:300]!r}")
            self.people.unanswered.append(made)
            return
        one = Known(identity, made.person, made.identifier)
        if answered.status == 201:
            self.people.acknowledged(one, version_of(answered))
        self.people.circles.append(one)

    async def update(self) -> None:
        one = self.people.one()
        if one is None:
            return
        with one.changing() as alone:
            body = self._changed(one)
            answered = await self._sent("update", "PUT", f"CareTeam/{one.public_id}", body, one=one)
            etag = None if answered is None else answered.headers.get("ETag")
            self._told(one, answered, etag, alone=alone())

    async def transact(self) -> None:
        """The same in a transaction."""
        one = self.people.one()
        if one is None:
            return
        with one.changing() as alone:
            bundle = transaction(entry("PUT", f"CareTeam/{one.public_id}", self._changed(one)))
            answered = await self._sent("transaction", "POST", "", bundle, one=one)
            etag = None
            if answered is not None and answered.status == 200:
                etag = answered.json["entry"][0]["response"]["etag"]
            self._told(one, answered, etag, alone=alone())

    def _told(self, one: Known, answered: Answered | None, etag: str | None, *, alone: bool) -> None:
        if answered is None:
            return
        if answered.status == 200 and etag is not None:
            self.people.acknowledged(one, etag.removeprefix('W/"').removesuffix('"'), alone=alone)
        elif answered.status not in {500, *UNSURE} and not one.gone:
            self.book.untrue(f"{one.public_id} changed: answered {answered.status}: {answered.body[:300]!r}")

    # --- beside it

    async def change_at_home(self) -> None:
        one = self.people.one()
        if one is not None:
            subject, members = f"Patient/p{one.person.number}", [f"PractitionerRole/{ROLE}"]
            body = circle(subject, new_mark("h"), identifier=one.identifier, members=members)
            with one.changing():
                await self._at_home(one.home, "PUT", {"id": one.local_id, **body})

    async def delete_at_home(self) -> None:
        """Forgotten before: whoever asks for it meanwhile may be told either."""
        one = self.people.one()
        if one is not None:
            self.people.forget(one)
            await self._at_home(one.home, "DELETE", {"resourceType": "CareTeam", "id": one.local_id})

    async def _at_home(self, slug: str, method: str, resource: Json) -> bool:
        """Whether it answered: else nobody knows what it did."""
        url = f"{self.site.boxes[slug].base_url}/{resource['resourceType']}/{resource['id']}"
        body = orjson.dumps(resource) if method == "PUT" else None
        try:
            async with self.site.http.request(
                method, url, data=body, headers=_JSON, timeout=_AT_HOME
            ) as answer:
                await answer.read()
                return answer.status in (200, 201, 204)
        except (aiohttp.ClientError, TimeoutError):
            return False

    # --- the rest

    async def load(self, still: int) -> None:
        """What there is at the beginning: circles that nobody will change, and some that will be."""
        async with asyncio.TaskGroup() as group:
            for number in range(still + self.population):
                group.create_task(self._loaded(HOMES[number % len(HOMES)], still=number < still))

    async def _loaded(self, slug: str, *, still: bool) -> None:
        person, identity = new_person(slug), str(uuid.UUID(int=self.dice.getrandbits(128)))
        patient = person.patient()
        if still:
            patient["name"] = [{"family": FAMILY, "given": ["Camille"]}]
        body = circle(f"Patient/p{person.number}", new_mark("l"), members=[f"PractitionerRole/{ROLE}"])
        assert await self._at_home(slug, "PUT", patient)
        assert await self._at_home(slug, "PUT", {"id": identity, **body})
        if still:
            self.people.still.add(f"{slug}.{identity}")
        else:
            self.people.circles.append(Known(f"{slug}.{identity}", person, body["identifier"][0]["value"]))

    async def finish(self, *, seconds: float = 60.0) -> None:
        """Every creation comes to its end."""
        end = time.monotonic() + seconds
        while self.people.unanswered:
            await self.resume_one()
            assert time.monotonic() < end, f"after {seconds:.0f} s: {len(self.people.unanswered)} unanswered"
            await asyncio.sleep(0.05)

    def _changed(self, one: Known) -> Json:
        mark, members = new_mark("u"), self._members(one.home)
        subject = one.person.subject(one.home)
        return {"id": one.public_id, **circle(subject, mark, identifier=one.identifier, members=members)}

    def _members(self, slug: str) -> Sequence[str]:
        members = [f"PractitionerRole/{slug}.{ROLE}"] if self.dice.random() < 0.7 else []
        if self.dice.random() < 0.5:
            at = slug if self.dice.random() < 0.7 else self.dice.choice(HOMES)
            members.append(f"Organization/{at}.org")
        return members

    async def _sent(
        self,
        kind: str,
        method: str,
        path: str,
        body: Json,
        headers: dict[str, str] | None = None,
        *,
        one: Known | None = None,
    ) -> Answered | None:
        """`one`: the circle that it is about, which may be gone by now: then it may be refused."""
        url, begun = f"{self.site.broker.base_url}/{path}".rstrip("/"), self.book.begun()
        try:
            async with self.site.http.request(
                method, url, data=orjson.dumps(body), headers=_JSON | (headers or {}), timeout=_PATIENCE
            ) as answer:
                answered = Answered(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            self.book.ended(kind, begun, None)
            self.book.untrue(f"{kind}: no answer ({type(error).__name__}), although the broker runs")
            return None
        left = one is not None and one.gone and answered.status >= 400
        self.book.ended(kind, begun, 200 if left else answered.status)
        return answered
