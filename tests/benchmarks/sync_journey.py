"""How long a change takes from the request at the broker to the replica at another region, at a steady pace.

Everything is as in operation, each a process: `cds-broker serve`, two managers (`sandbox`), `sync agent`, a real Kafka and
Valkey. One in five changes is a new circle, the others change one that is there; a circle has a person, two carers with
their roles, and a structure. When the replica was written is its `meta.lastUpdated` at the other manager, when the event
was in the log is the log's own instant; all on one clock, to the millisecond.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from adapters.clock import SystemClock
from broker.core import topics
from broker.sync.dead_letters import DeadLetters
from broker.wiring_sync import open_log
from tests.benchmarks.bench_search import OnCase
from tests.benchmarks.load import Exchange, paced, written
from tests.benchmarks.sync_cost import PER_SECOND
from tests.benchmarks.sync_regions import (
    FHIR_JSON,
    HOME,
    OTHER,
    PATIENCE,
    PREFIX,
    Regions,
    cpu_used,
    name_of,
    regions_running,
)
from tests.support.replication import ins
from tests.support.sync_world import subscription
from tests.support.waiting import until
from tests.support.write_federation import key, someone

Json = dict[str, Any]

_NEW = 5  # one in so many changes is a new circle
_CARERS = 10
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Cuts:
    """Milliseconds from the request."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    most_ms: float


@dataclass(frozen=True, slots=True)
class Journey:
    """`per_second`: as it was reached. `stages`: the write answered, the event in the log, the replica written.

    `together`: changes that were overtaken, so that the replica shows a later one only. `busy`: cores that each process
    used meanwhile.
    """

    changes: int
    per_second: float
    stages: dict[str, Cuts]
    together: int
    busy: dict[str, float]


async def run(directory: Path, kafka: str, kafka_pid: int | None, seconds: float, on_case: OnCase) -> Journey:
    """`kafka`: `host:port`. Raises where a change does not arrive."""
    count = int(PER_SECOND * seconds)
    on_case("two regions, a broker, an agent")
    async with regions_running(directory, kafka, kafka_pid) as regions:
        held = count // _NEW
        await _peopled(regions, patients=held * 2)
        await _at_once([_hold(regions, number) for number in range(held)])
        async with regions.http.post(
            f"{regions.broker.base_url}/Subscription", json=subscription(OTHER)
        ) as answer:
            assert (await answer.json(content_type=None))["status"] == "active"
        await until(regions.is_at_rest, seconds=PATIENCE)
        on_case(f"{PER_SECOND:.0f} changes a second for {seconds:.0f} s")
        names, requests = _changes(regions, count, held)
        before, begun = cpu_used(regions.processes), time.monotonic()
        epoch = SystemClock().now().timestamp() - time.perf_counter()
        done = await paced(regions.port, requests, per_second=PER_SECOND)
        took = time.monotonic() - begun
        busy = {name: (used - before[name]) / took for name, used in cpu_used(regions.processes).items()}
        await until(regions.is_at_rest, seconds=PATIENCE)
        return await _told(regions, names, done, epoch, took, busy)


async def _peopled(regions: Regions, *, patients: int) -> None:
    people, to = regions.people, {"X-Gestionnaire": HOME}
    office = await regions.made(people.organization(f"Cabinet {people.token}"), **to)
    for number in range(_CARERS):
        carer = await regions.made(people.practitioner(f"Legoff{people.token}", "Anna"), **to)
        role = people.role(key(carer), key(office), str(number))
        regions.roles.append(key(await regions.made(role, **to)))

    async def person(number: int) -> str:
        made = someone(people)
        made["identifier"][0]["value"] = ins(number)
        return key(await regions.made(made, **to))

    regions.patients += await _at_once([person(number) for number in range(patients)])


async def _hold(regions: Regions, number: int) -> None:
    regions.circles[number] = await regions.made(regions.circle(number))


async def _at_once(work: Sequence[Any]) -> list[Any]:
    """A few at a time, in order."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(what: Any) -> Any:
        async with gate:
            return await what

    return await asyncio.gather(*map(one, work))


def _changes(regions: Regions, count: int, held: int) -> tuple[list[str], list[bytes]]:
    """Names, by which each change is known everywhere, and requests."""
    names, requests, new, turn = [], [], held, 0
    for change in range(1, count + 1):
        if change % _NEW == 0:
            body, method, target = regions.circle(new), "POST", "/fhir/CareTeam"
            number, new = new, new + 1
        else:
            number, turn = turn, (turn + 1) % held
            body = regions.circles[number]
            method, target = "PUT", f"/fhir/CareTeam/{body['id']}"
        names.append(name_of(number, change))
        sent = orjson.dumps(body | {"name": names[-1]})
        requests.append(written(method, target, regions.port, body=sent, content_type=FHIR_JSON))
    return names, requests


async def _told(
    regions: Regions,
    names: Sequence[str],
    done: Sequence[Exchange],
    epoch: float,
    took: float,
    busy: dict[str, float],
) -> Journey:
    applied, logged = await _applied(regions), await _logged(regions)
    stages: dict[str, list[float]] = {"the answer": [], "the event in the log": [], "the replica": []}
    together = 0
    for one in done:
        name = orjson.loads(one.body)["name"]
        stages["the answer"].append((one.answered - one.sent) * 1e3)
        stages["the event in the log"].append((_since(logged, name) - epoch - one.sent) * 1e3)
        stages["the replica"].append((_since(applied, name) - epoch - one.sent) * 1e3)
        together += name not in applied
    assert len(done) == len(names)
    async with open_log(regions.log) as log:
        assert await DeadLetters(log, OTHER, PREFIX).all() == []
    return Journey(
        len(done), len(done) / took, {name: _cuts(ones) for name, ones in stages.items()}, together, busy
    )


def _since(instants: Mapping[str, float], name: str) -> float:
    """When a change, or the next one of its circle, was seen. Raises `ValueError` where neither was."""
    if name in instants:
        return instants[name]
    circle, _, change = name.rpartition(" ")
    later = [
        (int(one.rpartition(" ")[2]), at) for one, at in instants.items() if one.rpartition(" ")[0] == circle
    ]
    return min((number, at) for number, at in later if number > int(change))[1]


async def _applied(regions: Regions) -> dict[str, float]:
    """By the name of a change: when the other manager had it."""
    found: dict[str, float] = {}
    following: str | None = f"{regions.boxes[OTHER].base_url}/CareTeam/_history?_count=200"
    while following is not None:
        bundle = await regions.get(following)
        for entry in bundle.get("entry", ()):
            resource = entry["resource"]
            at = _instant(resource["meta"]["lastUpdated"])
            found[resource["name"]] = min(at, found.get(resource["name"], at))
        following = {link["relation"]: link["url"] for link in bundle["link"]}.get("next")
    return found


async def _logged(regions: Regions) -> dict[str, float]:
    found: dict[str, float] = {}
    async with open_log(regions.log) as log:
        async for batch in log.read(topics.replication(OTHER, PREFIX)):
            for record in batch.records:
                name = orjson.loads(record.value or b"{}")["entry"][0]["resource"]["name"]
                found.setdefault(name, record.at)
    return found


def _instant(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def _cuts(ones: Sequence[float]) -> Cuts:
    cuts = statistics.quantiles(ones, n=100)
    return Cuts(cuts[49], cuts[94], cuts[98], max(ones))


def note(journey: Journey) -> str:
    """What the table does not say."""
    cores = ", ".join(f"{name} {share:.2f}" for name, share in journey.busy.items())
    return f"Cores in use meanwhile: {cores}. Changes overtaken by a later one of their circle: {journey.together}."
