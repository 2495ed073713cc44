"""Writes whose answer does not come as it should: what the client is told is true, and nothing is written twice.

Two brokers over three managers, each behind a proxy that harms one request: it cuts the connection before, in the
middle of, or instead of the answer, holds request or answer back, or answers in the manager's place.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import orjson
import pytest
import pytest_asyncio
from _pytest.mark.structures import ParameterSet

from adapters.sandbox.app import running_sandbox
from registry.redis_keys import RedisKeys
from tests.support.faulty_proxy import Fault, Seen, Stage, faulty_proxy
from tests.support.federation import Answered
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until
from tests.support.write_pair import BOUND, SETTLE, Pair, pair
from tests.support.write_world import (
    PUBLIC,
    Attempt,
    Json,
    Node,
    Person,
    circle,
    client,
    entry,
    located,
    new_mark,
    new_person,
    organization,
    patient_of,
    public_id,
    statuses,
    transaction,
    version_of,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

WAIT = 1
"""Seconds that a client gives a write of which nobody will know in time: so much sooner is it found out."""

AT_BRE = {"X-Gestionnaire": "bre"}

PLAIN = frozenset(
    {Fault.CUT_UNANSWERED, Fault.CUT_IN_ANSWER, Fault.GATEWAY_AFTER, Fault.TIMEOUT_AFTER, Fault.ERROR_AFTER}
)
"""The manager has done it and can be asked at once: the client is to be told so."""

QUICKLY_KNOWN = PLAIN | {Fault.CUT_AT_ONCE}

IN_VAIN = frozenset(one for one in Fault if not one.reaches)
"""The manager never hears of it, and cannot say whether it will: nobody knows."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(valkey_server: ValkeyServer) -> AsyncIterator[Pair]:
    keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
    async with pair(Valkey(valkey_server.url, keys)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared: Pair) -> Pair:
    await shared.healthy()
    return shared


async def test_the_proxy_does_what_its_faults_say() -> None:
    async with running_sandbox() as box, faulty_proxy(box.base_url, hold=0.05) as proxy, client() as http:
        node = Node(http, proxy.base_url)
        for fault in Fault:
            mark = new_mark("o")
            proxy.faults[mark] = fault
            answered = await node.tried("POST", "Organization", organization(mark))
            await proxy.quiet()
            cut = fault.name.startswith(("CUT", "HELD", "LOST"))
            expected = None if cut else fault.status or 201
            assert (answered and answered.status) == expected, fault
            held = [one for one in box.store.changes("Organization") if mark.encode() in one.raw]
            assert len(held) == len(proxy.writes(mark)) == (1 if fault.reaches else 0), fault


# --- every write, every fault


@dataclass
class Write:
    """A request, by what it is known at the manager (`mark`, `kind`), and how it is answered when it succeeds."""

    method: str
    path: str
    body: Json
    mark: str
    status: int = 201
    kind: str = "CareTeam"
    headers: dict[str, str] = field(default_factory=dict)
    person: Person | None = None

    async def send(self, node: Node, **headers: str) -> Answered:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await node.send(self.method, self.path, self.body, self.headers | sent)

    def done_by(self, answered: Answered) -> str | None:
        """The public id of the resource that an answer says to be written."""
        if self.body["resourceType"] != "Bundle":
            return located(answered, self.kind) or answered.json["id"]
        [location] = [
            one["response"]["location"]
            for one in answered.json["entry"]
            if f"{self.kind}/" in one["response"]["location"]
        ]
        return public_id(location if "://" in location else f"{PUBLIC}/{location}", self.kind)


async def creation(world: Pair) -> Write:
    person, mark = new_person("bre"), new_mark("c")
    await world.managers.know(person)
    members = ["Organization/bre.org"]
    return Write(
        "POST", "CareTeam", circle(person.subject("bre"), mark, members=members), mark, person=person
    )


async def conditional_creation(world: Pair) -> Write:
    write = await creation(world)
    [identifier] = write.body["identifier"]
    condition = f"identifier={quote(identifier['system'], safe='')}%7C{quote(identifier['value'])}"
    write.headers["If-None-Exist"] = condition
    return write


async def creation_with_a_foreign_member(world: Pair) -> Write:
    """The member is a structure of another region, mirrored at the home."""
    write = await creation(world)
    identity = new_mark("f")
    await world.managers.put("occ", {"id": identity, **organization(identity)})
    write.body["participant"][0]["member"]["reference"] = f"Organization/occ.{identity}"
    return write


async def update(world: Pair) -> Write:
    made = await creation(world)
    created = await made.send(world.nodes[0])
    assert created.status == 201, created.body
    mark, identity = new_mark("u"), located(created)
    body = made.body | {"id": identity, "name": f"Cercle {mark}"}
    return Write("PUT", f"CareTeam/{identity}", body, mark, 200, person=made.person)


async def conditional_update(world: Pair) -> Write:
    write = await update(world)
    write.headers["If-Match"] = 'W/"1"'
    return write


async def actor_creation(world: Pair) -> Write:
    mark = new_mark("o")
    return Write("POST", "Organization", organization(mark), mark, kind="Organization", headers=dict(AT_BRE))


async def actor_update(world: Pair) -> Write:
    made = await actor_creation(world)
    created = await made.send(world.nodes[0])
    assert created.status == 201, created.body
    mark, identity = new_mark("v"), located(created, "Organization")
    body = made.body | {"id": identity, "name": f"Cabinet {mark}"}
    return Write("PUT", f"Organization/{identity}", body, mark, 200, "Organization")


async def creating_transaction(world: Pair) -> Write:
    """Nobody knows the person before: Patient, structure and circle are created together."""
    person, mark = new_person("bre"), new_mark("t")
    patient, structure, team = (f"urn:uuid:{uuid.uuid4()}" for _ in range(3))
    bundle = transaction(
        entry("POST", "CareTeam", circle(patient, mark, members=[structure]), team),
        entry("POST", "Patient", patient_of(person.number), patient),
        entry("POST", "Organization", organization(mark), structure),
    )
    return Write("POST", "", bundle, mark, 200, headers=dict(AT_BRE), person=person)


async def updating_transaction(world: Pair) -> Write:
    made = await creation(world)
    created = await made.send(world.nodes[0])
    assert created.status == 201, created.body
    mark, identity = new_mark("t"), located(created)
    structure = f"urn:uuid:{uuid.uuid4()}"
    body = made.body | {"id": identity, "name": f"Cercle {mark}"}
    body["participant"] = [{"member": {"reference": structure}, "period": {"start": "2025-02-01"}}]
    bundle = transaction(
        entry("PUT", f"CareTeam/{identity}", body, f"{PUBLIC}/CareTeam/{identity}", ifMatch='W/"1"'),
        entry("POST", "Organization", organization(mark), structure),
    )
    return Write("POST", "", bundle, mark, 200, person=made.person)


WRITES: list[Callable[[Pair], Awaitable[Write]]] = [
    creation,
    conditional_creation,
    creation_with_a_foreign_member,
    update,
    conditional_update,
    actor_creation,
    actor_update,
    creating_transaction,
    updating_transaction,
]


def effect(world: Pair, write: Write) -> int:
    """How often it was done, at `bre` alone. A transaction: whole, or not at all."""
    found = world.written(write.kind, write.mark)
    assert set(found) <= {"bre"}
    count = len(found.get("bre", ()))
    if write.body["resourceType"] == "Bundle":
        assert len(world.written("Organization", write.mark).get("bre", ())) == count, "half a transaction"
    return count


async def final(write: Write, node: Node, key: str) -> Answered:
    """The answer of the same request with the same key, once there is one, within the bound."""
    async with asyncio.timeout(BOUND):
        while True:
            answered = await write.send(node, Idempotency_Key=key)
            if answered.status not in (409, 503, 504):
                return answered
            await asyncio.sleep(0.05)


def new_key() -> str:
    return f'"{uuid.uuid4()}"'


async def is_told_everywhere(world: Pair, write: Write, answered: Answered) -> None:
    """What was acknowledged is read and found through every node, at once."""
    identity = write.done_by(answered)
    assert identity is not None
    [version] = world.written(write.kind, write.mark)["bre"]
    assert identity == f"bre.{version.id}"
    for node in reversed(world.nodes):
        read = await node.send("GET", f"{write.kind}/{identity}")
        assert (read.status, version_of(read)) == (200, version.version_id)
        assert write.mark in read.json["name"]
        if write.person is not None:
            [found] = await node.circles_of(write.person)
            assert (found["id"], found["meta"]["versionId"]) == (identity, version.version_id)


def cases() -> list[ParameterSet]:
    """Every write with every fault. Where it takes long to know, a third in the usual run, all of them under `make soak`."""
    return [
        pytest.param(
            make,
            fault,
            id=f"{make.__name__}-{fault.name.lower()}",
            marks=() if fault in QUICKLY_KNOWN or (row + column) % 3 == 1 else pytest.mark.soak,
        )
        for row, make in enumerate(WRITES)
        for column, fault in enumerate(Fault)
    ]


@pytest.mark.parametrize(("make", "fault"), cases())
async def test_the_answer_is_true(
    world: Pair, make: Callable[[Pair], Awaitable[Write]], fault: Fault
) -> None:
    write, key = await make(world), new_key()
    proxy = world.proxies["bre"]
    # An answer later than any deadline; a request that comes while the broker still watches for it.
    proxy.hold = 1.5 * WAIT if fault is Fault.LATE else 0.75 * SETTLE
    proxy.faults[f"Cercle {write.mark}" if write.kind == "CareTeam" else write.mark] = fault

    if fault not in QUICKLY_KNOWN:
        write.headers["Prefer"] = f"wait={WAIT}"
    first = await write.send(world.nodes[0], Idempotency_Key=key)
    assert not proxy.faults, "the fault never struck"
    if fault in PLAIN:
        assert first.status == write.status, first.body
    elif fault in IN_VAIN:
        assert first.status == 504, first.body
    else:
        assert first.status in (write.status, 504), first.body
    if first.status == write.status:
        assert effect(world, write) == 1
        await is_told_everywhere(world, write, first)

    again = await final(write, world.nodes[1], key)
    await proxy.quiet()
    assert again.status == write.status, (first.status, again.status, again.body)
    assert effect(world, write) == 1
    assert world.reached(write.mark) == 1
    assert write.done_by(again) == f"bre.{world.written(write.kind, write.mark)['bre'][0].id}"
    await is_told_everywhere(world, write, again)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.HELD_BACK, Fault.LATE])
async def test_a_claim_stays_until_it_is_known_what_happened(world: Pair, fault: Fault) -> None:
    """Another creation meanwhile is not let through; within the bound it is, or is told of the first circle."""
    write = await creation(world)
    assert write.person is not None
    proxy = world.proxies["bre"]
    proxy.hold = 1.5 * WAIT if fault is Fault.LATE else 0.75 * SETTLE
    proxy.faults[f"Cercle {write.mark}"] = fault
    first = await write.send(world.nodes[0], Prefer=f"wait={WAIT}")
    assert first.status == 504 or fault is not Fault.LOST
    attempt = Attempt(write.person, world.nodes)
    answers: list[Answered | None] = []
    async with asyncio.timeout(BOUND):
        while True:
            answered = await attempt.create(1, "bre")
            assert answered is not None
            answers.append(answered)
            if answered.status == 201 or (answered.status == 409 and "Location" in answered.headers):
                break
            assert answered.status in (409, 503, 504), answered.body
            await asyncio.sleep(0.02)
    await proxy.quiet()
    [held] = await world.managers.circles_of(write.person)
    assert located(answered) == held
    assert (answered.status == 201) is (fault is Fault.LOST), statuses(answers)


@pytest.mark.parametrize("make", [creation, creating_transaction, update], ids=lambda make: make.__name__)
async def test_a_write_that_comes_between_two_looks_is_found_by_the_second(
    world: Pair, make: Callable[[Pair], Awaitable[Write]]
) -> None:
    """The request, cut off from its client, reaches the manager only when the broker has looked twice already."""
    write, key = await make(world), new_key()
    assert write.person is not None
    proxy, looks = world.proxies["bre"], 0
    wanted = write.body["id"].partition(".")[2] if write.method == "PUT" else write.mark

    def watch(stage: Stage, seen: Seen) -> None:
        """The first look is that of the request itself, the second one the settler's."""
        nonlocal looks
        sent = f"Cercle {write.mark}" not in proxy.faults
        if stage is Stage.ANSWERED and sent and not seen.writes and wanted.encode() in seen.raw:
            looks += 1
            if looks == 2:
                proxy.release.set()

    proxy.watch, proxy.hold = watch, BOUND
    proxy.faults[f"Cercle {write.mark}"] = Fault.HELD_BACK
    write.headers["Prefer"] = f"wait={WAIT}"
    first = await write.send(world.nodes[0], Idempotency_Key=key)
    assert first.status == 504, first.body
    assert effect(world, write) == 0
    await until(lambda: effect(world, write) == 1, seconds=BOUND)
    again = await final(write, world.nodes[1], key)
    assert again.status == write.status, again.body
    assert effect(world, write) == world.reached(write.mark) == 1
    [held] = await world.managers.circles_of(write.person)
    # Under its person's Patient, whatever id the manager gave that.
    found = await world.nodes[1].circles_of(write.person)
    second = circle(found[0]["subject"]["reference"], new_mark("c"))
    answered = await world.nodes[1].tried("POST", "CareTeam", second, {})
    assert answered is not None
    assert (answered.status, located(answered)) == (409, held)


def overtake(world: Pair, write: Write, at: Stage) -> None:
    """As this update reaches a stage, somebody else writes a version of the same circle at the manager."""
    store, local = world.stores["bre"], write.body["id"].partition(".")[2]

    def watch(stage: Stage, seen: Seen) -> None:
        if stage is at and seen.writes and f"Cercle {write.mark}".encode() in seen.raw:
            now = store.versions("CareTeam", local)[-1].content
            store.put("CareTeam", local, orjson.dumps({**now, "name": "Cercle of somebody else"}))

    world.proxies["bre"].watch = watch


async def test_an_update_that_was_overtaken_is_answered_with_its_own_version(world: Pair) -> None:
    """It was done, its answer was lost, and the next version is somebody else's: that one is not what it made."""
    write = await update(world)
    overtake(world, write, Stage.ANSWERED)
    world.proxies["bre"].faults[f"Cercle {write.mark}"] = Fault.CUT_UNANSWERED
    answered = await write.send(world.nodes[0], Prefer="return=representation")
    assert answered.status == 200, answered.body
    [own] = world.written("CareTeam", f"Cercle {write.mark}")["bre"]
    assert (version_of(answered), own.version_id) == ("2", "2")
    assert write.mark in answered.json["name"]


async def test_an_update_that_was_lost_and_overtaken_is_not_taken_for_done(world: Pair) -> None:
    """Its version is gone: nobody is told that it was written, at once or by its key."""
    write, key = await conditional_update(world), new_key()
    overtake(world, write, Stage.CAME)
    world.proxies["bre"].faults[f"Cercle {write.mark}"] = Fault.LOST
    write.headers["Prefer"] = f"wait={WAIT}"
    first = await write.send(world.nodes[0], Idempotency_Key=key)
    assert first.status in (412, 504), first.body
    again = await final(write, world.nodes[1], key)
    assert again.status == 412, again.body
    assert effect(world, write) == world.reached(write.mark) == 0


async def test_a_refused_connection_is_no_ambiguity(world: Pair) -> None:
    """Nothing was sent: the client is told at once that nothing was written, and the person is free at once."""
    write = await creation(world)
    assert write.person is not None
    await world.proxies["bre"].refuse()
    refused = await write.send(world.nodes[0])
    assert refused.status in (502, 503), refused.body
    await world.healthy()
    created = await write.send(world.nodes[1])
    assert created.status == 201, created.body
    assert world.reached(write.mark) == 1


async def test_an_actor_that_cannot_be_found_is_unknown(world: Pair) -> None:
    """Without a business identifier nobody can say whether it was created."""
    write = await actor_creation(world)
    del write.body["identifier"]
    world.proxies["bre"].faults[write.mark] = Fault.CUT_UNANSWERED
    answered = await write.send(world.nodes[0])
    assert answered.status == 504, answered.body
    assert effect(world, write) == world.reached(write.mark) == 1


@pytest.mark.parametrize("make", [creation, update, creating_transaction], ids=lambda make: make.__name__)
async def test_a_client_that_leaves_takes_nothing_with_it(
    world: Pair, make: Callable[[Pair], Awaitable[Write]]
) -> None:
    """The request is with the manager when the client goes: the write is finished, learnt, and its key remembered."""
    write, key = await make(world), new_key()
    assert write.person is not None
    proxy = world.proxies["bre"]
    proxy.hold = WAIT / 2
    proxy.faults[f"Cercle {write.mark}"] = Fault.LATE
    leaving = asyncio.create_task(write.send(world.nodes[0], Idempotency_Key=key))
    await until(lambda: world.reached(write.mark) == 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    again = await final(write, world.nodes[1], key)
    assert again.status == write.status, again.body
    assert effect(world, write) == world.reached(write.mark) == 1
    await is_told_everywhere(world, write, again)


# --- the same key again


@pytest.mark.parametrize("make", WRITES, ids=lambda make: make.__name__)
async def test_the_same_key_gives_the_same_answer_through_any_node(
    world: Pair, make: Callable[[Pair], Awaitable[Write]]
) -> None:
    write, key = await make(world), new_key()
    first = await write.send(world.nodes[0], Idempotency_Key=key)
    assert first.status == write.status, first.body
    for node in world.nodes:
        again = await write.send(node, Idempotency_Key=key)
        assert (again.status, again.body) == (first.status, first.body)
        for name in ("Location", "ETag", "Last-Modified", "Content-Type"):
            assert again.headers.get(name) == first.headers.get(name)
    assert effect(world, write) == world.reached(write.mark) == 1


@pytest.mark.parametrize("make", [creation, update, creating_transaction], ids=lambda make: make.__name__)
async def test_the_same_key_with_another_body_is_refused(
    world: Pair, make: Callable[[Pair], Awaitable[Write]]
) -> None:
    write, other, key = await make(world), await make(world), new_key()
    assert (await write.send(world.nodes[0], Idempotency_Key=key)).status == write.status
    for node in world.nodes:
        assert (await other.send(node, Idempotency_Key=key)).status == 422
    assert world.reached(other.mark) == 0
    assert (await other.send(world.nodes[1], Idempotency_Key=new_key())).status == other.status


@pytest.mark.parametrize(
    "make",
    [creation, conditional_update, actor_creation, creating_transaction],
    ids=lambda make: make.__name__,
)
async def test_the_same_key_at_once_is_done_once(
    world: Pair, make: Callable[[Pair], Awaitable[Write]]
) -> None:
    write, key = await make(world), new_key()
    answers = await asyncio.gather(
        *(write.send(world.nodes[number % 2], Idempotency_Key=key) for number in range(20))
    )
    done = [one for one in answers if one.status == write.status]
    assert done
    assert statuses(answers).keys() <= {write.status, 409}
    assert len({one.body for one in done}) == 1
    assert effect(world, write) == world.reached(write.mark) == 1
    again = await write.send(world.nodes[1], Idempotency_Key=key)
    assert (again.status, again.body) == (done[0].status, done[0].body)


async def test_a_key_of_a_second_circle_stays_with_its_refusal(world: Pair) -> None:
    made = await creation(world)
    created = await made.send(world.nodes[0])
    assert created.status == 201, created.body
    assert made.person is not None
    mark, key = new_mark("c"), new_key()
    second = Write("POST", "CareTeam", circle(made.person.subject("bre"), mark), mark)
    for node in world.nodes:
        answered = await second.send(node, Idempotency_Key=key)
        assert (answered.status, located(answered)) == (409, located(created))
    assert world.reached(mark) == 0


async def test_a_lost_answer_without_a_key_is_found_by_trying_again(world: Pair) -> None:
    """A client that knows no key is told of its own circle as an existing one: nothing is written twice."""
    write = await creation(world)
    world.proxies["bre"].hold = WAIT / 2
    world.proxies["bre"].faults[f"Cercle {write.mark}"] = Fault.LATE
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(WAIT / 4):
            await write.send(world.nodes[0])
    again = await write.send(world.nodes[1])
    assert again.status in (409, 503), again.body
    assert write.person is not None
    await until(lambda: len(world.written("CareTeam", write.mark)) == 1)
    [held] = await world.managers.circles_of(write.person)

    async def told() -> bool:
        answered = await write.send(world.nodes[1])
        return answered.status == 409 and located(answered) == held

    await until(told, seconds=BOUND)
    assert world.reached(write.mark) == 1


async def test_the_managers_have_no_circle_too_many(world: Pair) -> None:
    """Over everything that this module has done."""
    subjects = [
        (slug, one.content["subject"]["reference"])
        for slug, store in world.stores.items()
        for one in store.live("CareTeam").values()
    ]
    assert subjects
    assert len(subjects) == len(set(subjects))
