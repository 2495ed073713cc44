"""Circles that are created, updated and deleted at their homes, through the broker and beside it, by chance."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import orjson

from tests.support.federation import Answered
from tests.support.sync_processes import HOMES, ROLE, SyncSite
from tests.support.write_world import (
    FHIR_JSON,
    Json,
    Person,
    circle,
    located,
    new_mark,
    new_person,
    version_of,
)

UNSURE = {409, 502, 503, 504}
"""What may be answered while it is not known what became of a write."""


@dataclass
class Known:
    """A circle that there is. `public_id`: `bre.12`."""

    public_id: str
    person: Person
    identifier: str

    @property
    def home(self) -> str:
        return self.public_id.partition(".")[0]

    @property
    def local_id(self) -> str:
        return self.public_id.partition(".")[2]


@dataclass
class Creation:
    """One that was not answered. `key`: its Idempotency-Key."""

    body: Json
    key: str
    person: Person
    identifier: str


@dataclass
class Traffic:
    """`accepted`: public id and version of what the broker acknowledged. `unanswered`: creations of unknown end.

    `answers`: how many of each status; None: no answer.
    """

    site: SyncSite
    dice: random.Random
    circles: list[Known] = field(default_factory=list)
    accepted: set[tuple[str, str]] = field(default_factory=set)
    unanswered: list[Creation] = field(default_factory=list)
    answers: dict[int | None, int] = field(default_factory=dict)
    last: Answered | None = None

    # --- one change

    async def create(self) -> bool:
        """A circle of a new person. Whether it was acknowledged."""
        slug = self.dice.choice(HOMES)
        person = new_person(slug)
        mark = new_mark("s")
        body = circle(person.subject(slug), mark, members=self._members(slug))
        key = f'"{uuid.UUID(int=self.dice.getrandbits(128))}"'
        await self.site.managers.know(person)
        made = Creation(body, key, person, body["identifier"][0]["value"])
        if await self._created(made):
            return True
        self.unanswered.append(made)
        return False

    async def _created(self, made: Creation) -> bool:
        answered = self._counted(
            await self._sent("POST", "CareTeam", made.body, {"Idempotency-Key": made.key})
        )
        if answered is None or (answered.status != 201 and "Location" not in answered.headers):
            assert answered is None or answered.status in UNSURE, answered.body
            return False
        identity = located(answered)
        assert identity is not None
        if answered.status == 201:
            self.accepted.add((identity, version_of(answered)))
        # else the first request made it, and its key was forgotten while there was no broker: 409, with its address
        self.circles.append(Known(identity, made.person, made.identifier))
        return True

    async def resume(self, *, seconds: float = 60.0) -> None:
        """Ask again, with their keys, for the creations that were not answered: each comes to its end."""
        end = time.monotonic() + seconds
        while self.unanswered:
            if await self._created(self.unanswered[-1]):
                self.unanswered.pop()
                continue
            assert time.monotonic() < end, f"after {seconds:.0f} s a creation is still answered {self.last}"
            await asyncio.sleep(0.1)

    async def update(self) -> bool:
        """Another name and other members, through the broker. Whether it was acknowledged."""
        if not self.circles:
            return await self.create()
        one = self.dice.choice(self.circles)
        body = {
            "id": one.public_id,
            **circle(
                one.person.subject(one.home),
                new_mark("u"),
                identifier=one.identifier,
                members=self._members(one.home),
            ),
        }
        answered = self._counted(await self._sent("PUT", f"CareTeam/{one.public_id}", body))
        if answered is None or answered.status not in (200, 201):
            assert answered is None or answered.status in {404, 410, 412, *UNSURE}, answered.body
            return False
        self.accepted.add((one.public_id, version_of(answered)))
        return True

    async def change_at_home(self) -> bool:
        """Of which the broker hears by the manager's feed."""
        if not self.circles:
            return await self.create()
        one = self.dice.choice(self.circles)
        held = self.site.boxes[one.home].store.current("CareTeam", one.local_id)
        if held is None or held.deleted:
            return False
        status = self.dice.choice(["active", "suspended", "inactive"])
        body = dict(held.content) | {"name": f"Cercle {new_mark('h')}", "status": status}
        await self.site.managers.put(one.home, body)
        return True

    async def delete_at_home(self) -> bool:
        if len(self.circles) < 2:
            return await self.create()
        one = self.circles.pop(self.dice.randrange(len(self.circles)))
        url = f"{self.site.boxes[one.home].base_url}/CareTeam/{one.local_id}"
        async with self.site.http.delete(url) as answer:
            assert answer.status in (200, 204), await answer.text()
        return True

    async def any(self) -> bool:
        """One of them; creations and updates more often."""
        ways = (self.create, self.update, self.change_at_home, self.delete_at_home)
        return await self.dice.choices(ways, weights=(4, 6, 3, 1))[0]()

    # --- many

    def loaded(self, count: int) -> None:
        """So many that each home had from of old, or was given beside the broker."""
        for number in range(count):
            slug = HOMES[number % len(HOMES)]
            person, mark, store = new_person(slug), new_mark("l"), self.site.boxes[slug].store
            local = f"old{person.number}"
            body = circle(f"Patient/p{person.number}", mark, members=[f"PractitionerRole/{ROLE}"])
            store.load([person.patient() | {"resourceType": "Patient"}, {"id": local, **body}])
            self.circles.append(Known(f"{slug}.{local}", person, body["identifier"][0]["value"]))

    def burst(self, count: int) -> list[asyncio.Task[bool]]:
        """So many at once."""
        return [asyncio.create_task(self.any()) for _ in range(count)]

    async def go_on(self, stop: asyncio.Event, *, pause: float = 0.03) -> int:
        """One after the other until told to stop; how many were acknowledged."""
        count = 0
        while not stop.is_set():
            count += await self.any()
            await asyncio.sleep(pause)
        return count

    # --- requests

    def _members(self, slug: str) -> Sequence[str]:
        """A carer's role there, and an organisation that may be another home's."""
        members = [f"PractitionerRole/{slug}.{ROLE}"] if self.dice.random() < 0.7 else []
        if self.dice.random() < 0.5:
            at = slug if self.dice.random() < 0.7 else self.dice.choice(HOMES)
            members.append(f"Organization/{at}.org")
        return members

    async def _sent(
        self, method: str, path: str, body: Json, headers: dict[str, str] | None = None
    ) -> Answered | None:
        """None where the broker is gone, or went before it answered."""
        url = f"{self.site.broker.base_url}/{path}"
        sent = {"Content-Type": FHIR_JSON} | (headers or {})
        try:
            async with self.site.http.request(method, url, data=orjson.dumps(body), headers=sent) as answer:
                return Answered(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, OSError):
            return None

    def _counted(self, answered: Answered | None) -> Answered | None:
        self.last, status = answered, None if answered is None else answered.status
        self.answers[status] = self.answers.get(status, 0) + 1
        return answered
