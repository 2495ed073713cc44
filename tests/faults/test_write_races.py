"""One circle per person, whoever creates it, however often at once, and whatever is killed meanwhile.

Two broker processes over three manager processes, one store. What the managers hold is asked of them directly.
Rounds of faults draw what happens from a seed, which is printed: `SOAK_SEED=… make soak` draws the same again.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import pytest_asyncio

from tests.support.faulty_proxy import Seen, Stage
from tests.support.federation import Answered
from tests.support.write_processes import BOUND, DEADLINE, Federated, covered, federated
from tests.support.write_world import (
    SLUGS,
    Attempt,
    Json,
    Node,
    Person,
    circle,
    entry,
    located,
    new_mark,
    new_person,
    patient_of,
    statuses,
    transaction,
    version_of,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

SEED = os.environ.get("SOAK_SEED") or str(random.randrange(10**6))
BURST = 0.12
"""Seconds that the creations of one round take, about."""

UNSURE = {409, 502, 503, 504}
"""What may be answered while it is not known whether there is a circle."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Federated]:
    async with federated(tmp_path_factory.mktemp("races")) as running:
        yield running
        said = [line for broker in running.brokers for line in broker.stderr]
    assert not [line for line in said if "Traceback" in line], "\n".join(said[-60:])


@pytest_asyncio.fixture(loop_scope="module")
async def calm(world: Federated) -> Federated:
    """Everybody runs, and the index covers everybody."""
    world.unwatched()
    await covered(world)
    return world


async def is_read(nodes: list[Node], identity: str, version: str | None = None) -> None:
    """Every node gives this circle by its address."""
    for node in nodes:
        answered = await node.send("GET", f"CareTeam/{identity}")
        assert (answered.status, answered.json["id"]) == (200, identity)
        if version is not None:
            assert version_of(answered) == version


async def is_found(nodes: list[Node], person: Person, identity: str) -> None:
    """Every node finds this circle, and no other, by the person's identifier."""
    for node in nodes:
        assert [one["id"] for one in await node.circles_of(person)] == [identity]


# --- at once


@pytest.mark.parametrize(
    "at", [("bre",), ("bre", "occ", "idf")], ids=["one Patient", "a Patient at each manager"]
)
async def test_of_200_creations_for_one_person_exactly_one_succeeds(
    calm: Federated, at: tuple[str, ...]
) -> None:
    person = new_person(*at)
    await calm.managers.know(person)
    attempt = Attempt(person, calm.nodes)
    started = time.monotonic()
    answers = await asyncio.gather(
        *(attempt.create(number, at[number // 2 % len(at)]) for number in range(200))
    )
    print(f"200 creations: {statuses(answers)} in {time.monotonic() - started:.2f} s")
    assert statuses(answers) == {201: 1, 409: 199}
    [held] = await calm.managers.circles_of(person)
    assert {located(one) for one in answers if one is not None} == {held}
    await is_read(calm.nodes, held, "1")
    await is_found(calm.nodes, person, held)
    for one in answers:
        if one is not None and one.status == 409:
            issue = one.json["issue"][0]
            assert "write.second-circle" in {coding["code"] for coding in issue["details"]["coding"]}
            assert held in issue["details"]["text"]


async def test_many_people_at_once_get_one_circle_each(calm: Federated) -> None:
    people = [new_person(*SLUGS[: 1 + number % 3]) for number in range(20)]
    await calm.managers.know(*people)
    attempts = [Attempt(person, calm.nodes) for person in people]
    calls = [
        attempt.create(turn, attempt.person.at[turn % len(attempt.person.at)])
        for turn in range(4)
        for attempt in attempts
    ]
    answers = await asyncio.gather(*calls)
    assert statuses(answers) == {201: 20, 409: 60}
    for person in people:
        [held] = await calm.managers.circles_of(person)
        await is_found(calm.nodes, person, held)


async def test_of_concurrent_transactions_for_a_new_person_one_succeeds(calm: Federated) -> None:
    """Nobody holds a Patient yet, and each transaction brings one, to one manager or the other."""
    person = new_person()

    async def transact(number: int) -> Answered | None:
        mark, patient, team = new_mark("t"), f"urn:uuid:{uuid.uuid4()}", f"urn:uuid:{uuid.uuid4()}"
        bundle = transaction(
            entry("POST", "CareTeam", circle(patient, mark), team),
            entry("POST", "Patient", patient_of(person.number), patient),
        )
        home = {"X-Gestionnaire": SLUGS[number // 2 % 3]}
        return await calm.nodes[number % 2].tried("POST", "", bundle, home)

    answers = await asyncio.gather(*(transact(number) for number in range(60)))
    assert statuses(answers) == {200: 1, 409: 59}
    [held] = await calm.managers.circles_of(person)
    assert {located(one) for one in answers if one is not None and one.status == 409} == {held}
    patients = [
        f"{slug}.{one['id']}"
        for slug in SLUGS
        for one in await calm.managers.found(slug, "Patient", identifier=person.token)
    ]
    assert len(patients) == 1, "a transaction that was refused left its Patient behind"
    await is_found(calm.nodes, person, held)


async def test_of_concurrent_conditional_creations_one_creates(calm: Federated) -> None:
    """The rest are told of the first: 200 where its identifier is the one that they asked for."""
    person = new_person("occ")
    await calm.managers.know(person)
    mark = new_mark("c")
    body = circle(person.subject("occ"), mark)
    identifier = body["identifier"][0]
    condition = {
        "If-None-Exist": f"identifier={identifier['system']}|{identifier['value'].replace(' ', '%20')}"
    }
    answers = await asyncio.gather(
        *(calm.nodes[number % 2].tried("POST", "CareTeam", body, condition) for number in range(40))
    )
    counted = statuses(answers)
    assert counted.pop(201) == 1
    assert set(counted) <= {200, 409}, counted
    [held] = await calm.managers.circles_of(person)
    assert {located(one) for one in answers if one is not None} <= {held, None}
    again = await calm.nodes[1].send("POST", "CareTeam", body, condition)
    assert again.status == 200
    await is_read(calm.nodes, held, "1")


async def test_of_concurrent_updates_of_one_version_one_succeeds(calm: Federated) -> None:
    person = new_person("idf")
    await calm.managers.know(person)
    first = await Attempt(person, calm.nodes).create(0, "idf")
    assert first is not None
    held = located(first)
    assert held is not None

    async def update(number: int) -> Answered | None:
        body = {"id": held, **circle(person.subject("idf"), new_mark("u"))}
        body["identifier"] = first.json["identifier"]
        return await calm.nodes[number % 2].tried("PUT", f"CareTeam/{held}", body, {"If-Match": 'W/"1"'})

    answers = await asyncio.gather(*(update(number) for number in range(40)))
    assert statuses(answers) == {200: 1, 412: 39}
    await is_read(calm.nodes, held, "2")
    assert len(await calm.managers.versions("idf", "CareTeam", held.partition(".")[2])) == 2


# --- rounds of faults


@dataclass
class Call:
    """One creation with its key, and how it was answered."""

    body: Json
    key: str
    answer: Answered | None = None


@dataclass
class Round:
    """What happens in one round: everything is drawn from its seed."""

    world: Federated
    seed: str
    dice: random.Random = field(init=False)
    person: Person = field(init=False)
    calls: list[Call] = field(default_factory=list)
    later: list[Answered] = field(default_factory=list)  # what was answered after the harm was done

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.person = new_person(*self.dice.sample(SLUGS, self.dice.randint(1, 3)))

    def call(self, node: int) -> asyncio.Task[None]:
        """One more creation through a node; sometimes with a member from the next region."""
        slug = self.dice.choice(self.person.at)
        members = [f"Organization/{self.dice.choice(SLUGS)}.org"] if self.dice.random() < 0.5 else []
        body = circle(self.person.subject(slug), new_mark("c"), members=members)
        call = Call(body, f'"{uuid.UUID(int=self.dice.getrandbits(128))}"')
        self.calls.append(call)
        to = self.world.nodes[node % 2]

        async def answered() -> None:
            call.answer = await to.tried("POST", "CareTeam", body, {"Idempotency-Key": call.key})

        return asyncio.create_task(answered())

    def concerns(self, seen: Seen) -> bool:
        texts = [call.body["identifier"][0]["value"] for call in self.calls]
        texts += [self.person.ins, f"/Patient/p{self.person.number} "]
        return any(text.encode() in seen.raw for text in texts)

    def when(self, stage: Stage, *, writes: bool, then: Callable[[], None]) -> asyncio.Event:
        """Do something, once, at the very moment at which a request of this round reaches a stage at a manager."""
        done = asyncio.Event()

        def watch(at: Stage, seen: Seen) -> None:
            if at is stage and seen.writes is writes and not done.is_set() and self.concerns(seen):
                done.set()
                then()

        for proxy in self.world.proxies.values():
            proxy.watch = watch
        return done

    async def resolved(self, node: Node) -> str:
        """Within the bound a further creation is told of the circle that there is, or makes one. Its public id."""
        body = circle(self.person.subject(self.person.at[0]), new_mark("c"))
        found = located(await self._final(node, body, {}))
        assert found is not None
        return found

    async def _final(self, node: Node, body: Json, headers: dict[str, str]) -> Answered:
        end = time.monotonic() + BOUND
        while True:
            answered = await node.tried("POST", "CareTeam", body, headers)
            assert answered is not None, "the surviving node gave no answer"
            self.later.append(answered)
            if answered.status in (201, 409) and "Location" in answered.headers:
                return answered
            assert answered.status in UNSURE, answered.body
            assert time.monotonic() < end, f"after {BOUND} s: {answered.status} {answered.body!r}"
            await asyncio.sleep(0.1)

    async def check(self, held: str) -> None:
        """One circle; every address that was given is its; whoever was told 201 finds it, and by its key again."""
        assert await self.world.managers.circles_of(self.person) == [held]
        assert {one.status for one in self.answers} <= {201, *UNSURE}, self
        created = [located(one) for one in self.answers if one.status == 201]
        assert created in ([], [held]), "acknowledged twice, or gone"
        assert {located(one) for one in self.answers if one.status == 409} <= {held, None}
        await is_read(self.world.nodes, held)
        await is_found(self.world.nodes, self.person, held)
        for slug in SLUGS:
            home, _, _ = held.partition(".")
            copies = await self.world.managers.found(home, "Organization", identifier=f"org-{slug}")
            assert len(copies) <= 1, f"{slug}'s structure was mirrored twice at {home}"
        await self._check_keys(held)

    async def _check_keys(self, held: str) -> None:
        """Every key is answered, within the bound: the circle's with 201, all others with its address."""
        [name] = [one["name"] for one in await self._circles(held)]
        for call in self.calls:
            again = await self._final(
                self.dice.choice(self.world.nodes), call.body, {"Idempotency-Key": call.key}
            )
            own = call.body["name"] == name
            assert (again.status, located(again)) == (201 if own else 409, held), (own, again.body)
            if call.answer is not None and call.answer.status == 201:
                assert again.body == call.answer.body
        assert await self.world.managers.circles_of(self.person) == [held]

    async def _circles(self, held: str) -> list[Json]:
        slug, _, _ = held.partition(".")
        return await self.world.managers.found(slug, "CareTeam", patient__identifier=self.person.token)

    @property
    def answers(self) -> list[Answered]:
        return [call.answer for call in self.calls if call.answer is not None] + self.later

    def __str__(self) -> str:
        counted = statuses([call.answer for call in self.calls])
        return f"seed {self.seed}: {counted}, then {statuses(self.later)}"


async def any_of(*waited: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(one) for one in waited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


AIMS: dict[str, tuple[Stage, bool]] = {
    "as the subject is read": (Stage.CAME, False),
    "when a look-up is answered": (Stage.ANSWERED, False),
    "before the creation is passed on": (Stage.CAME, True),
    "while the manager creates": (Stage.PASSED, True),
    "before the answer comes": (Stage.ANSWERED, True),
    "as the answer comes": (Stage.GIVEN, True),
}


async def kill_a_node(this: Round) -> str:
    """SIGKILL at a random instant, or at a moment that is chosen; then the node is started again."""
    world, dice = this.world, this.dice
    victim = dice.randrange(2)
    killed, survivor = world.brokers[victim], world.nodes[1 - victim]
    aim = dice.choice([None, None, None, *AIMS])
    if aim is None:
        calls = [this.call(number) for number in range(8)]
        await asyncio.sleep(dice.uniform(0.0, BURST))
        killed.kill()
    else:
        stage, writes = AIMS[aim]
        reached = this.when(stage, writes=writes, then=killed.kill)
        calls = [this.call(victim) for _ in range(3)]
        await any_of(reached.wait(), asyncio.wait(calls))
        killed.kill()
        calls += [this.call(1 - victim) for _ in range(3)]
    await asyncio.gather(*calls)
    world.unwatched()
    _, held = await asyncio.gather(started_again(world, victim), this.resolved(survivor))
    await this.check(held)
    return aim or "at random"


async def started_again(world: Federated, number: int) -> None:
    await world.brokers[number].gone()
    await world.brokers[number].start()


async def stop_a_node(this: Round) -> str:
    """SIGSTOP for longer than its claim and its request are good: what it does when it goes on must harm nobody."""
    world, dice = this.world, this.dice
    victim = dice.randrange(2)
    stopped, survivor = world.brokers[victim], world.nodes[1 - victim]
    aim = dice.choice([None, *AIMS])
    stage, writes = AIMS[aim] if aim else (Stage.CAME, True)
    reached = this.when(
        stage, writes=writes, then=partial(stopped.send_signal, signal.SIGSTOP) if aim else lambda: None
    )
    calls = [this.call(victim) for _ in range(3)]
    if aim is None:
        await asyncio.sleep(dice.uniform(0.0, BURST))
    else:
        await any_of(reached.wait(), asyncio.wait(calls))
    stopped.send_signal(signal.SIGSTOP)
    world.unwatched()
    calls += [this.call(1 - victim) for _ in range(2)]
    try:
        held = await this.resolved(survivor)
        await asyncio.sleep(dice.uniform(0.0, 1.0))
    finally:
        stopped.send_signal(signal.SIGCONT)
    await asyncio.gather(*calls)
    await this.check(held)
    return aim or "at random"


async def restart_the_store(this: Round) -> str:
    """SIGKILL of the store at a random instant, and the same data again."""
    calls = [this.call(number) for number in range(8)]
    instant = this.dice.uniform(0.0, BURST)
    await asyncio.sleep(instant)
    await this.world.restart_store()
    await asyncio.gather(*calls)
    await this.check(await this.resolved(this.dice.choice(this.world.nodes)))
    return f"after {instant:.3f} s"


async def stop_a_manager(this: Round) -> str:
    """SIGSTOP at a random instant, SIGCONT a random while later: longer than a write may take, or shorter."""
    slug = this.dice.choice(SLUGS)
    box = this.world.boxes[slug]
    calls = [this.call(number) for number in range(8)]
    instant, while_ = this.dice.uniform(0.0, BURST), this.dice.uniform(0.1, 1.25 * DEADLINE)
    await asyncio.sleep(instant)
    box.send_signal(signal.SIGSTOP)
    await asyncio.sleep(while_)
    box.send_signal(signal.SIGCONT)
    await asyncio.gather(*calls)
    await this.check(await this.resolved(this.dice.choice(this.world.nodes)))
    return f"{slug} after {instant:.3f} s, for {while_:.1f} s"


async def run_rounds(world: Federated, harm: Callable[[Round], Awaitable[str]], count: int) -> None:
    done = []
    for number in range(count):
        this = Round(world, f"{SEED}/{harm.__name__}/{number}")
        await world.managers.know(this.person)
        started = time.monotonic()
        try:
            how = await harm(this)
        except BaseException:
            print(f"FAILED {this}; person {this.person.number}")
            raise
        print(f"{this} ({how}; {time.monotonic() - started:.1f} s)", flush=True)
        done.append(this)
    # What came late at a manager would be seen by now.
    for this in done:
        assert len(await world.managers.circles_of(this.person)) == 1, this


def rounds(usual: int, soak: int) -> pytest.MarkDecorator:
    count = int(os.environ.get("SOAK_ROUNDS") or soak)
    return pytest.mark.parametrize(
        "count",
        [
            pytest.param(usual, id="some"),
            pytest.param(count, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(60 + 30 * count)]),
        ],
    )


@rounds(3, 100)
async def test_a_node_is_killed(calm: Federated, count: int) -> None:
    await run_rounds(calm, kill_a_node, count)


@rounds(1, 30)
async def test_a_node_is_stopped_and_goes_on(calm: Federated, count: int) -> None:
    await run_rounds(calm, stop_a_node, count)


@rounds(2, 30)
async def test_the_store_is_restarted(calm: Federated, count: int) -> None:
    await run_rounds(calm, restart_the_store, count)


@rounds(1, 30)
async def test_a_manager_stops_and_goes_on(calm: Federated, count: int) -> None:
    await run_rounds(calm, stop_a_manager, count)
