"""Three regions behind one broker, one of which is made to fail: what fault tests of the whole are written with."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from registry.model import REGIONS, TRE_R30, Gestionnaire, Skills
from tests.support.federation import Answered, Broker, federation, ids, outcomes_of
from tests.support.fhir_builders import INS_TEST, Resource, care_team, patient
from tests.support.scripted_manager import ScriptedManager, scripted_manager
from tests.support.valkey import Valkey

REGION = {"bre": "53", "occ": "76", "idf": "11"}
FAULTY = "idf"
CHECKED = Skills(
    checked_at="2999-01-01T00:00:00Z",  # not due for a check, whose requests would be counted with the others
    chaining=True,
    include=True,
    iterate=True,
    revinclude=True,
    sort=True,
    post_search=True,
)


def ins(number: int) -> str:
    """A made-up person's, with its right key."""
    return f"{number:013d}{97 - number % 97:02d}"


def held_by(slug: str, numbers: Sequence[int]) -> list[Resource]:
    """Circles of a region and their persons; the number gives the place in the one order, newest highest."""
    made: list[Resource] = []
    for number in numbers:
        instant = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=number)
        made.append(patient(f"p{number}", ins=ins(number)))
        made.append(
            care_team(
                f"c{number}",
                last_updated=instant.isoformat().replace("+00:00", "Z"),
                identifier=f"{slug}-{number}",
                subject=f"Patient/p{number}",
            )
        )
    return made


@dataclass
class Regions:
    """A broker over `bre`, `occ` and `idf`; circle number n is held by the n-th of them, in turn."""

    broker: Broker
    managers: dict[str, ScriptedManager]
    size: int
    order: list[str] = field(init=False)

    def __post_init__(self) -> None:
        slugs = list(self.managers)
        self.order = [f"{slugs[n % len(slugs)]}.c{n}" for n in reversed(range(self.size))]

    @property
    def faulty(self) -> ScriptedManager:
        return self.managers[FAULTY]

    def without(self, slug: str = FAULTY) -> list[str]:
        """Every circle in order, but those of one region."""
        return [one for one in self.order if not one.startswith(slug + ".")]

    @property
    def everybody(self) -> str:
        """The value of a search for every person by identifier."""
        return ",".join(f"{INS_TEST}|{ins(number)}" for number in range(self.size))

    async def timed(self, target: str, **headers: str) -> tuple[Answered, float]:
        started = time.monotonic()
        answered = await self.broker.get(target, **headers)
        return answered, time.monotonic() - started


@asynccontextmanager
async def regions(
    valkey: Valkey,
    *,
    size: int = 15,
    page_size: int = 100,
    skills: Skills | None = CHECKED,
    faulty: dict[str, Any] | None = None,
    slugs: Sequence[str] = tuple(REGION),
    **settings: Any,
) -> AsyncIterator[Regions]:
    """`page_size` and `faulty` (fields of its registration) are those of `idf`; `settings` those of the broker."""
    async with AsyncExitStack() as stack:
        managers: dict[str, ScriptedManager] = {}
        registered: list[Gestionnaire] = []
        for place, slug in enumerate(slugs):
            manager = await stack.enter_async_context(
                scripted_manager(
                    held_by(slug, range(place, size, len(slugs))),
                    page_size=page_size if slug == FAULTY else 100,
                )
            )
            managers[slug] = manager
            changes = (faulty or {}) if slug == FAULTY else {}
            registered.append(manager.gestionnaire(slug, **{"region": REGION.get(slug, "84"), **changes}))
        broker = await stack.enter_async_context(federation(valkey, *registered, **settings))
        if skills is not None:
            for slug in slugs:
                await broker.running.store.save_skills(slug, skills)
            await broker.running.managers.refresh()
        yield Regions(broker, managers, size)


def issues(bundle: Resource) -> list[Resource]:
    return [issue for outcome in outcomes_of(bundle) for issue in outcome["issue"]]


def assert_told(issue: Resource, key: str, slug: str | None = FAULTY, *, language: str = "fr") -> None:
    """An issue's key, its manager and region as codes, and its text in both languages."""
    codes = {coding["system"]: coding["code"] for coding in issue["details"]["coding"]}
    assert codes["urn:cds-broker:outcome"] == key
    extension = {one["url"]: one for one in issue["details"]["_text"]["extension"][0]["extension"]}
    assert extension["lang"]["valueCode"] == ({"fr", "en"} - {language}).pop()
    texts = [issue["details"]["text"], extension["content"]["valueString"]]
    assert texts[0] != texts[1]
    assert all(text and re.search(r"\?(?!:)|\{[a-z_]+\}", text) is None for text in texts), (
        "a placeholder is left"
    )
    if slug is not None:
        assert codes["urn:cds-broker:gestionnaire"] == slug
        region = REGION.get(slug, "84")
        assert codes[TRE_R30] == region
        assert all(f"Gestionnaire {slug}" in text and REGIONS[region] in text for text in texts)


def assert_nothing_leaks(answered: Answered, *managers: ScriptedManager) -> None:
    """No traceback, and in what is said of failures no number that names a person and no address of a manager."""
    assert b"Traceback" not in answered.body
    said = json.dumps(outcomes_of(answered.json), ensure_ascii=False)
    addresses = (f":{manager.port}" for manager in managers)
    for secret in (*(ins(number) for number in range(60)), "127.0.0.1", "EXEMPLE", *addresses):
        assert secret not in said


def matches(answered: Answered) -> list[str]:
    return ids(answered.json)
