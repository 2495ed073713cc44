"""The broker, or one of its processes, killed at a random instant, again and again, while circles change: what
synchronisation then owes.

Everything that a broker needs is a process of its own, Kafka too. Rounds draw what happens from a seed, which is printed:
`SOAK_SEED=… make soak` draws the same again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import pytest
import pytest_asyncio

from tests.support.faulty_proxy import Stage
from tests.support.kafka_server import KafkaServer
from tests.support.sync_processes import ALL, PARTS, SyncSite, sync_site
from tests.support.sync_rest import at_rest
from tests.support.sync_told import verified
from tests.support.sync_traffic import Traffic
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180), pytest.mark.kafka]

SEED = os.environ.get("SOAK_SEED") or str(random.randrange(10**6))
ROUNDS = int(os.environ.get("SOAK_ROUNDS") or 100)
BURST = 0.3
"""Seconds that the changes of one round take, about."""

AIMS: dict[str, tuple[Stage, bool]] = {
    "as a home is asked": (Stage.CAME, False),
    "as a home answers": (Stage.ANSWERED, False),
    "before a write is passed on": (Stage.CAME, True),
    "while a home writes": (Stage.PASSED, True),
    "before a write is answered": (Stage.ANSWERED, True),
    "as a write is answered": (Stage.GIVEN, True),
}
AT_RANDOM, PUBLISHING = "at random", "while it publishes"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    tmp_path_factory: pytest.TempPathFactory, kafka_server: KafkaServer
) -> AsyncIterator[SyncSite]:
    directory = tmp_path_factory.mktemp("kills")
    async with sync_site(directory, kafka_server, deadline=2.0, background="process") as running:
        yield running
        said = [*running.broker.stderr, *running.agent.stderr]
    assert not [line for line in said if "Traceback" in line], "\n".join(said[-60:])


def many(usual: int, soak: int) -> pytest.MarkDecorator:
    marks = [pytest.mark.soak, pytest.mark.timeout(180 + 20 * soak)]
    return pytest.mark.parametrize(
        "count", [pytest.param(usual, id="some"), pytest.param(soak, id="many", marks=marks)]
    )


# --- while the present state is sent to a newcomer


@many(1, 12)
async def test_the_broker_is_killed_while_a_newcomer_is_sent_the_present_state(
    site: SyncSite, count: int
) -> None:
    """The next one goes on. What changes meanwhile, at the homes, is sent too."""
    traffic = Traffic(site, random.Random(f"{SEED}/newcomer"))
    circles = 60 * count
    traffic.loaded(circles)
    await until(lambda: _is_drained(site, circles), seconds=60.0)
    assert await site.records(site.topic) == []
    began = time.monotonic()
    for number in range(count):
        # There is one search for each circle.
        killed = site.when(
            Stage.ANSWERED,
            lambda seen: b"_id=" in seen.raw,
            site.broker.kill,
            after=traffic.dice.randint(5, 40),
        )
        if number == 0:
            await site.subscribe()
        else:
            await site.start_broker()
        async with asyncio.timeout(40.0):
            await killed.wait()
        site.unwatched()
        states = await asyncio.to_thread(_progress, site)
        assert states.count("done") < 2, f"killed too late: {states}"
        for _ in range(4):
            await traffic.change_at_home()
        await traffic.delete_at_home()
    await site.start_broker()
    await at_rest(site, seconds=90.0)
    await until(lambda: _progress(site) == ["done", "done"], seconds=30.0)
    found = await verified(site, ())
    print(f"seed {SEED}: {circles} circles, {count} kills, {time.monotonic() - began:.0f} s; {found}")


async def _is_drained(site: SyncSite, circles: int) -> bool:
    """All that the homes were given is known by now, and told to nobody."""
    return not _unpublished(site) and len(await site.records(site.notifications)) >= circles


def _progress(site: SyncSite) -> list[str]:
    with site.redis() as redis:
        found = redis.hvals(site.keys.bootstrap_progress)
    return [json.loads(one).get("state", "waiting") for one in found]


# --- while circles are written


@dataclass
class Kills:
    """How often which kill was made. `hit`: with writes unanswered or changes unpublished at that instant."""

    made: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)


async def kill_the_broker(site: SyncSite, traffic: Traffic, kills: Kills) -> None:
    """One round: changes at once, a kill among them, more changes at the homes, and a new start."""
    dice = traffic.dice
    part = dice.choice([ALL, ALL, *PARTS])
    aim = dice.choice([AT_RANDOM, AT_RANDOM, AT_RANDOM, PUBLISHING, PUBLISHING, *AIMS])
    reached = asyncio.Event()
    if aim in AIMS:
        stage, writes = AIMS[aim]
        reached = site.when(
            stage, lambda seen: seen.writes is writes, partial(site.kill, part), after=dice.randrange(3)
        )
    calls = traffic.burst(dice.randint(4, 10))
    if aim in AIMS:
        waiting = [asyncio.ensure_future(reached.wait()), asyncio.ensure_future(asyncio.wait(calls))]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        waiting[0].cancel()
    elif aim == AT_RANDOM:
        await asyncio.sleep(dice.uniform(0.0, BURST))
    else:
        await asyncio.wait(calls)
        await asyncio.sleep(dice.uniform(0.0, BURST))
    unpublished = await asyncio.to_thread(_unpublished, site)
    unanswered = sum(not one.done() for one in calls)
    if not reached.is_set():
        site.kill(part)
    kills.made[f"{part}, {aim}"] += 1
    kills.hit[f"{part}, {aim}"] += bool(unanswered or unpublished)
    site.unwatched()
    await asyncio.gather(*calls)
    for _ in range(dice.randrange(3)):
        await dice.choice([traffic.change_at_home, traffic.change_at_home, traffic.delete_at_home])()
    await site.start_what_was_killed(part)
    await traffic.resume()


def _unpublished(site: SyncSite) -> bool:
    with site.redis() as redis:
        return bool(redis.xlen(site.keys.outbox) or redis.hlen(site.keys.write_intents))


@many(2, ROUNDS)
async def test_the_broker_is_killed_at_random_instants(site: SyncSite, count: int) -> None:
    traffic, kills = Traffic(site, random.Random(f"{SEED}/kills")), Kills()
    print(f"seed {SEED}")
    await site.subscribe()
    began = time.monotonic()
    for number in range(count):
        try:
            await kill_the_broker(site, traffic, kills)
        except BaseException:
            print(f"FAILED in round {number}; {kills}", *site.broker.stderr[-60:], sep="\n")
            raise
        print(f"round {number}: {time.monotonic() - began:.0f} s, {traffic.answers}", flush=True)
    rounds = time.monotonic() - began
    await at_rest(site, seconds=60.0)
    found = await verified(site, traffic.accepted)
    assert found.changes >= count
    print(
        f"{count} rounds in {rounds:.0f} s, at rest {time.monotonic() - began - rounds:.0f} s later; {found}; "
        f"answers {traffic.answers}; kills {dict(kills.made)}, of them in the middle {dict(kills.hit)}"
    )
