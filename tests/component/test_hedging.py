"""A whole broker over slow managers, on real sockets: what is not waited for, what is shown instead, what is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from broker.core.change_event import Operation
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.replica_marks import SEQUENCE_SYSTEM
from registry.outbox import RedisOutbox
from registry.outbox_model import CircleChange
from registry.redis_connection import connect
from tests.component.test_located_search import covered, searches
from tests.support.federation import Broker, federation, ids, outcome_codes
from tests.support.fhir_builders import CIRCLE_SYSTEM, INS, INS_TEST, care_team, patient
from tests.support.scripted_manager import ScriptedManager, scripted_manager
from tests.support.valkey import Valkey
from tests.support.waiting import until

LOCATED = f"CareTeam?identifier={CIRCLE_SYSTEM}|1"
BY_PERSON = f"CareTeam?patient.identifier={INS_TEST}|{INS[0]}&_include=CareTeam:subject"


@asynccontextmanager
async def regions(
    valkey: Valkey, *, hedged_reads: str = "asked"
) -> AsyncIterator[tuple[Broker, dict[str, ScriptedManager]]]:
    """bre holds a circle that has changed, nor its replica, occ nothing; the index knows all of it."""
    client = connect(valkey.url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        managers = {
            slug: await stack.enter_async_context(scripted_manager()) for slug in ("bre", "nor", "occ")
        }
        managers["bre"].store.resources += [patient("p1"), care_team("c1", identifier="1")]
        broker = await stack.enter_async_context(
            federation(
                valkey,
                *(one.gestionnaire(slug) for slug, one in managers.items()),
                locator=True,
                locator_poll=0.2,
                sync=True,
                hedged_reads=hedged_reads,
            )
        )
        change = CircleChange("bre", "c1", "1", None, Operation.UPDATED)
        number = await RedisOutbox(client, keys=valkey.keys).enqueue(change)
        assert number is not None
        replica = care_team("77", identifier="1", subject="Patient/p9")
        replica["meta"] |= {
            "source": f"{broker.base_url}/CareTeam/bre.c1",
            "tag": [
                {"system": REPLICA_SYSTEM, "code": REPLICA_CODE},
                {"system": SEQUENCE_SYSTEM, "code": str(number)},
            ],
        }
        managers["nor"].store.resources += [patient("p9"), replica]
        await covered(broker)

        async def both() -> bool:
            """The index has seen the replica too: whoever is asked is asked by what it knows."""
            before = len(searches(managers["nor"]))
            await broker.bundle(LOCATED)
            return len(searches(managers["nor"])) > before

        await until(both, seconds=15)
        yield broker, managers


async def timed(broker: Broker, target: str, prefer: str = "") -> tuple[dict[str, object], float]:
    began = time.monotonic()
    bundle = await broker.bundle(target, **({"Prefer": prefer} if prefer else {}))
    return bundle, time.monotonic() - began


async def figure(broker: Broker, outcome: str) -> float:
    async with broker.http.get(broker.base_url.removesuffix("/fhir") + "/metrics") as response:
        lines = (await response.text()).splitlines()
    (line,) = [one for one in lines if one.startswith(f'cds_hedges_total{{outcome="{outcome}"}}')]
    return float(line.split()[-1])


async def test_a_replica_that_hangs_costs_a_located_search_a_moment(valkey: Valkey) -> None:
    async with regions(valkey) as (broker, managers):
        healthy, _ = await timed(broker, BY_PERSON)
        assert ids(healthy) == ["bre.c1"]
        managers["nor"].faults.hang = True
        bundle, seconds = await timed(broker, BY_PERSON)
        assert seconds < 3, "not the whole deadline"
        assert bundle == healthy
        assert outcome_codes(bundle) == []
        assert await figure(broker, "spared") >= 1


async def test_one_that_hangs_elsewhere_is_not_asked(valkey: Valkey) -> None:
    async with regions(valkey) as (broker, managers):
        managers["occ"].faults.hang = True
        before = len(searches(managers["occ"]))
        for _ in range(5):
            bundle, seconds = await timed(broker, LOCATED)
            assert seconds < 1
            assert (ids(bundle), outcome_codes(bundle)) == (["bre.c1"], [])
        assert len(searches(managers["occ"])) == before


async def test_who_takes_replicas_reads_one_where_its_home_is_slow(valkey: Valkey) -> None:
    async with regions(valkey) as (broker, managers):
        managers["bre"].faults.delay, managers["bre"].faults.only = 3.0, r"CareTeam/c1|_search"
        insisting = await broker.get(
            "CareTeam/bre.c1", **{"Prefer": "replica=allow", "Cache-Control": "no-cache"}
        )
        began = time.monotonic()
        plain, hedged = await asyncio.gather(
            broker.get("CareTeam/bre.c1"), broker.get("CareTeam/bre.c1", Prefer="replica=allow")
        )
        assert time.monotonic() - began < 8
        for one in (insisting, plain):
            assert (one.status, one.json["id"], one.headers["ETag"]) == (200, "bre.c1", 'W/"1"')
        assert (hedged.status, hedged.json["id"]) == (200, "nor.77")
        assert hedged.headers["Content-Location"] == f"{broker.base_url}/CareTeam/nor.77"
        assert "ETag" not in hedged.headers
        assert "Last-Modified" not in hedged.headers
        assert {"system": REPLICA_SYSTEM, "code": REPLICA_CODE} in hedged.json["meta"]["tag"]
        assert await figure(broker, "replica") == 1
        bundle, seconds = await timed(broker, LOCATED, "replica=allow")
        assert seconds < 2.9
        assert ids(bundle) == ["nor.77"]
        assert set(outcome_codes(bundle)) == {("manager.timeout", "bre"), ("merge.replica-shown", None)}
        await until(lambda: managers["bre"].active == 0)


async def test_it_can_be_turned_off(valkey: Valkey) -> None:
    async with regions(valkey, hedged_reads="off") as (broker, managers):
        managers["bre"].faults.delay, managers["bre"].faults.only = 1.5, r"CareTeam/c1"
        asked = await broker.get("CareTeam/bre.c1", Prefer="replica=allow")
        assert asked.json["id"] == "bre.c1"
        async with broker.http.get(broker.base_url.removesuffix("/fhir") + "/metrics") as response:
            assert "cds_hedges" not in await response.text()
