"""One of thirteen managers hangs: what it costs the others, and how it comes back. And the store, killed in mid-paging."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from broker.core.breaker import BreakerState
from registry.redis_keys import RedisKeys
from tests.support.federation import Broker, federation, ids, link, outcome_codes
from tests.support.fhir_builders import care_team
from tests.support.regions import (
    CHECKED,
    FAULTY,
    Regions,
    assert_nothing_leaks,
    assert_told,
    issues,
    regions,
)
from tests.support.scripted_manager import Faults, Received, ScriptedManager, scripted_manager
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until

THIRTEEN = tuple(sorted([FAULTY, *(f"m{number:02d}" for number in range(12))]))
DEADLINE = 1.5
PATIENT = 30.0
"""A deadline that healthy managers keep on a machine busy with other things; the hung one has its own."""

PROBE = ("_elements", "identifier")


@asynccontextmanager
async def thirteen(valkey: Valkey, **settings: Any) -> AsyncIterator[Regions]:
    options: dict[str, Any] = {
        "search_deadline": PATIENT,
        "probe_interval": 0.3,
        "faulty": {"timeout": 0.5},
    } | settings
    async with regions(valkey, size=39, slugs=THIRTEEN, **options) as there:
        yield there


def probes(manager: ScriptedManager) -> list[Received]:
    return [request for request in manager.requests if PROBE in request.params]


def searches(manager: ScriptedManager) -> int:
    return len(manager.requests) - len(probes(manager))


def breaker(there: Regions, slug: str = FAULTY) -> BreakerState:
    health = there.broker.running.guard.state(slug)
    assert health is not None
    return health.breaker


async def shut(there: Regions, *, within: float = PATIENT) -> None:
    """Hang, and search until the breaker is open: two searches, which everybody waits for."""
    there.faulty.faults = Faults(hang=True)
    for _ in range(2):
        answered, seconds = await there.timed("CareTeam?_count=50")
        assert answered.status == 200
        assert seconds < within, "the answer leaves by the deadline"
        assert ids(answered.json) == there.without()
        (issue,) = issues(answered.json)
        assert_told(issue, "manager.timeout")
        assert_nothing_leaks(answered, there.faulty)
    assert breaker(there) is BreakerState.OPEN


async def test_with_one_of_thirteen_hung_searches_answer_by_the_deadline_and_name_it(valkey: Valkey) -> None:
    async with thirteen(valkey, search_deadline=DEADLINE, faulty=None) as there:
        assert ids(await there.broker.bundle("CareTeam?_count=50")) == there.order
        await shut(there, within=DEADLINE)
        assert [breaker(there, slug) for slug in THIRTEEN if slug != FAULTY] == [BreakerState.CLOSED] * 12


async def test_once_its_breaker_is_open_searches_cost_what_they_cost_without_it(valkey: Valkey) -> None:
    """Counted rather than timed: nothing reaches it but probes, and the others are asked once each, as ever."""
    async with thirteen(valkey) as there:
        await shut(there)
        asked_before = searches(there.faulty)
        others_before = {slug: len(one.requests) for slug, one in there.managers.items() if slug != FAULTY}
        times = []
        for _ in range(20):
            answered, seconds = await there.timed("CareTeam?_count=50")
            times.append(seconds)
            assert ids(answered.json) == there.without()
            assert outcome_codes(answered.json) == [("manager.breaker-open", FAULTY)]
        assert sorted(times)[10] < 0.4, "nobody waits for its half second any more"
        for _ in range(2):  # fewer at a time than a manager has connections: no search waits for one
            concurrent = await asyncio.gather(*(there.broker.bundle("CareTeam?_count=50") for _ in range(10)))
            assert all(ids(found) == there.without() for found in concurrent)
        assert searches(there.faulty) == asked_before, "no person's search reaches it"
        for slug, before in others_before.items():
            assert len(there.managers[slug].requests) - before == 40, "one request for each search"
        denied = await there.broker.get("CareTeam", Prefer="partial=deny")
        assert denied.status == 503
        assert denied.headers["Retry-After"]
        read = await there.broker.get(f"CareTeam/{FAULTY}.c0")
        assert read.status == 503
        assert outcome_codes(read.json) == [("manager.breaker-open", FAULTY)]
        assert searches(there.faulty) == asked_before


async def test_at_most_one_probe_is_in_flight_whatever_the_load(valkey: Valkey) -> None:
    async with thirteen(valkey, probe_interval=0.1) as there:
        await shut(there)
        await until(lambda: there.faulty.active == 0)
        there.faulty.max_active = 0
        seen = len(probes(there.faulty))
        until_then = time.monotonic() + 5
        while len(probes(there.faulty)) < seen + 3:
            assert time.monotonic() < until_then, "probes go on"
            await asyncio.gather(*(there.broker.bundle("CareTeam?_count=5") for _ in range(4)))
        assert there.faulty.max_active == 1
        assert all(request.params == [("_count", "1"), PROBE] for request in probes(there.faulty))


async def test_when_it_returns_it_is_asked_again_within_its_probe_interval(valkey: Valkey) -> None:
    async with thirteen(valkey, probe_interval=0.3) as there:
        await shut(there)
        health = there.broker.running.guard.state(FAULTY)
        assert health is not None
        there.faulty.faults = Faults()
        back_at = time.monotonic()

        async def whole_again() -> bool:
            return ids(await there.broker.bundle("CareTeam?_count=50")) == there.order

        await until(whole_again, seconds=10)
        # The probe under way when it came back may have been lost in the hang; the next one finds it.
        health = there.broker.running.guard.state(FAULTY)
        assert health is not None
        assert time.monotonic() - back_at < 2 * health.probe_interval + 1.0
        assert breaker(there) is BreakerState.CLOSED
        found = await there.broker.bundle("CareTeam?_count=50")
        assert outcome_codes(found) == []
        assert found["total"] == len(there.order)


async def test_a_hung_manager_that_nobody_knows_yet_costs_no_more(valkey: Valkey) -> None:
    """Unchecked, it is being checked in the background all the while: that must not reach searches either."""
    async with regions(valkey, skills=None, search_deadline=DEADLINE, probe_interval=60) as there:
        there.faulty.faults = Faults(hang=True)
        for _ in range(2):
            answered, seconds = await there.timed("CareTeam?_count=50")
            assert seconds < DEADLINE
            assert sorted(ids(answered.json)) == sorted(there.without())
        assert breaker(there) is BreakerState.OPEN
        before = len(there.faulty.requests)
        answered, seconds = await there.timed("CareTeam?_count=50")
        assert seconds < DEADLINE / 2
        assert outcome_codes(answered.json) == [("manager.breaker-open", FAULTY)]
        assert len(there.faulty.requests) == before


# --- the store, killed while pages are being read


async def first_pages(broker: Broker) -> tuple[str, list[str]]:
    page = await broker.bundle("CareTeam?_count=4")
    return str(link(page, "next")), ids(page)


async def test_a_dead_store_costs_the_pages_after_the_first_and_nothing_else(
    own_valkey: ValkeyServer,
) -> None:
    async with regions(_own(own_valkey), search_deadline=5.0) as there:
        url, first = await first_pages(there.broker)
        own_valkey.kill()
        answered, seconds = await there.timed("CareTeam?_count=4")
        assert seconds < 5.0
        assert answered.status == 200
        assert ids(answered.json) == first
        assert link(answered.json, "next") is None
        (issue,) = issues(answered.json)
        assert_told(issue, "page.unavailable", None)
        whole = await there.broker.bundle("CareTeam?_count=50")
        assert ids(whole) == there.order
        assert outcome_codes(whole) == [], "what fits on one page needs no store"
        later, seconds = await there.timed(url)
        assert seconds < 5.0
        assert later.status == 503
        assert later.headers["Retry-After"]
        assert_told(issues(later.json)[0], "federation.store", None)
        assert_nothing_leaks(later)
        read = await there.broker.get("CareTeam/bre.c0")
        assert read.status == 200
        own_valkey.restart()

        async def back() -> bool:
            return (await there.broker.get(url)).status == 200

        await until(back, seconds=20)
        rest = [one for page in await there.broker.pages(url) for one in ids(page)]
        assert first + rest == there.order, "a link given before goes on where it was"


async def test_a_hung_store_does_not_hold_a_first_page_past_its_deadline(own_valkey: ValkeyServer) -> None:
    async with regions(_own(own_valkey), search_deadline=DEADLINE) as there:
        url, first = await first_pages(there.broker)
        with paused(own_valkey):
            answered, seconds = await there.timed("CareTeam?_count=4")
            assert answered.status == 200
            assert seconds < DEADLINE + 0.5
            assert ids(answered.json) == first
            assert outcome_codes(answered.json) == [("page.unavailable", None)]
            later, seconds = await there.timed(url)
            assert later.status == 503
            assert seconds < DEADLINE + 0.5


@contextmanager
def paused(server: ValkeyServer) -> Iterator[None]:
    """Stopped, not ended: it takes connections and answers nothing."""
    pid = server.embedded.server_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _own(server: ValkeyServer) -> Valkey:
    return Valkey(server.url, RedisKeys("own"))


# --- ids too long to carry their manager's name


LONG = [f"{'x' * 62}{number:02d}" for number in range(6)]


async def test_long_ids_become_aliases_that_last(own_valkey: ValkeyServer) -> None:
    circles = [
        care_team(one, last_updated=f"2026-01-01T00:{number:02d}:00Z", subject=f"Patient/{one}")
        for number, one in enumerate(LONG)
    ]
    async with scripted_manager(circles) as manager:
        who = manager.gestionnaire(FAULTY, region="11")
        valkey = _own(own_valkey)
        async with federation(valkey, who) as broker:
            pages = await broker.pages("CareTeam?_count=4")
            given = [one for page in pages for one in ids(page)]
            assert len(set(given)) == len(LONG)
            assert all(len(one) <= 64 and one.startswith(f"{FAULTY}.alias--") for one in given)
            subject = pages[0]["entry"][0]["resource"]["subject"]["reference"]
            assert subject.startswith(f"Patient/{FAULTY}.alias--")
        own_valkey.kill()
        own_valkey.restart()
        async with federation(Valkey(own_valkey.url, valkey.keys), who) as broker:
            for number, one in enumerate(reversed(given)):
                read = await broker.get(f"CareTeam/{one}")
                assert read.status == 200, read.body
                assert read.json["id"] == one
                assert read.json["identifier"][0]["value"] == f"circle-{LONG[number]}"
                assert read.json["subject"]["reference"] == f"Patient/{one}", "one id, one alias"
            found = await broker.bundle(f"CareTeam?_id={given[0]},{given[3]}")
            assert ids(found) == [given[0], given[3]]
            assert (await broker.get(f"CareTeam/{FAULTY}.alias--{'0' * 40}")).status == 404
            assert (await broker.get(f"CareTeam/{FAULTY}.{LONG[0]}")).status == 404


@pytest.mark.parametrize("target", ["CareTeam?_count=50", "CareTeam/_history"])
async def test_an_alias_that_cannot_be_kept_is_not_given(own_valkey: ValkeyServer, target: str) -> None:
    """A public id that nobody could resolve would be worse than none."""
    async with regions(_own(own_valkey), skills=CHECKED, size=3) as there:
        there.faulty.store.resources.append(care_team(LONG[0]))
        assert (await there.broker.get(target)).status == 200
        own_valkey.kill()
        answered = await there.broker.get(target)
        assert answered.status == 503
        assert outcome_codes(answered.json) == [("federation.store", None)]
