"""What becomes of writes that nobody finished, on virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from broker.core.entry import Entry
from broker.core.preferences import Preferences
from broker.core.sealing import Sealer
from broker.errors import ManagerError, RequestError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.manager_calls import ManagerCalls
from broker.federation.origins import Origins
from broker.federation.read import ReadService
from broker.federation.writing.claims import Claims
from broker.federation.writing.desk import Desk
from broker.federation.writing.errand import Errand
from broker.federation.writing.evidence import Evidence, content_digest
from broker.federation.writing.idempotency import Idempotency
from broker.federation.writing.records import Claim, Intent, Replay, Step, Target
from broker.federation.writing.sending import Sending, SendingOptions
from broker.ports import ManagerRequest
from broker.sync.settler import Settler
from broker.tracing import passed
from registry.locator_model import Identifier
from registry.model import Gestionnaire, Registered, Skills, Status
from registry.write_model import Taken
from tests.support.fake_clock import FakeClock
from tests.support.fake_write_log import FakeIdempotencyStore, FakeWriteLog
from tests.support.little_manager import LittleManager

MANAGER = Gestionnaire("bre", "Bretagne", "53", "http://bre.example/fhir")
PUBLIC = "http://broker.example/fhir"
CIRCLE_ID = ("urn:circles", "c-1")
CIRCLE = {
    "resourceType": "CareTeam",
    "identifier": [{"system": CIRCLE_ID[0], "value": CIRCLE_ID[1]}],
    "status": "active",
}
NAMES = (b"a person, hashed",)
DEADLINE, SETTLE = 10.0, 5.0


class World:
    """One manager, one node that writes, and the settler."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.manager = LittleManager()
        self.log = FakeWriteLog(clock=self.clock)
        self.store = FakeIdempotencyStore(clock=self.clock)
        self.learnt: list[tuple[str, tuple[Identifier, ...]]] = []
        self.registered = [Registered(MANAGER, 1, "", Skills(post_search=True))]
        sealer = Sealer([b"a secret of sixteen characters"])
        managers = cast("Any", self)
        federation = Federation(
            managers=managers,
            client=self.manager,
            aliases=cast("Any", SimpleNamespace(remember=None, resolve=None)),
            pages=cast("Any", None),
            origins=Origins(PUBLIC, managers),
            options=cast("Any", SimpleNamespace(public_base=PUBLIC)),
            skills_of=lambda one: one.skills or Skills(),
        )
        evidence = Evidence(federation)
        options = SendingOptions(deadline=DEADLINE, settle=SETTLE)
        self.idempotency = Idempotency(self.store, sealer, self.clock, hold=60.0)
        self.sending = Sending(self.log, evidence, sealer, self.clock, options, self.idempotency.hold_on)
        desk = Desk(
            federation=federation,
            reads=ReadService(federation),
            uniqueness=cast("Any", None),
            claims=Claims(self.log, sealer, self.clock),
            sending=self.sending,
            evidence=evidence,
            mirroring=cast("Any", None),
            learn=self.learn,
            keep=self.idempotency.keep,
        )
        self.target = Target(
            ManagerCalls(MANAGER, Skills(post_search=True), self.manager),
            federation.origins.of(MANAGER),
        )
        self.settler = Settler(desk, self.idempotency, self.clock, via="1.1 test", every=SETTLE)

    # The registry of managers, as the federation sees it.
    def all(self) -> Sequence[Registered]:
        return self.registered

    def get(self, slug: str) -> Registered | None:
        return next((one for one in self.registered if one.gestionnaire.id == slug), None)

    async def learn(self, circle: Entry, persons: Sequence[Identifier], known_at: str | None) -> None:
        self.learnt.append((circle.public_id, tuple(persons)))

    def context(self) -> RequestContext:
        return RequestContext(
            "r", "me", "fr", Preferences(), self.clock.monotonic() + DEADLINE, "1.1 test", self.clock
        )

    async def create(self, replay: Replay | None = None) -> None:
        token = await self.log.claim(NAMES, seconds=DEADLINE)
        assert not isinstance(token, Taken)
        body = orjson.dumps(CIRCLE)
        step = Step("CareTeam", identifier=CIRCLE_ID, content=content_digest(body))
        await self.sending.send(
            Errand(self.sending.evidence.federation, self.target, self.context()),
            ManagerRequest("POST", "CareTeam", body=body),
            Intent("bre", (step,), replay=replay),
            Claim(NAMES, token),
        )

    async def is_free(self) -> bool:
        token, _ = await self.log.look(NAMES)
        return token is None

    async def after(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await self.settler.round()


async def unanswered(world: World, replay: Replay | None = None) -> None:
    with pytest.raises(RequestError) as caught:
        await world.create(replay)
    assert caught.value.key == "write.unknown"
    assert not await world.is_free()


async def test_a_write_that_never_left_leaves_nothing_behind() -> None:
    world = World()
    world.manager.refuse = True
    with pytest.raises(ManagerError):
        await world.create()
    assert await world.log.pending() == (0, None)
    assert await world.is_free()


async def test_what_was_done_is_found_at_once_though_its_answer_was_lost() -> None:
    world = World()
    world.manager.lose = True
    await world.create()
    assert len(world.manager.of_type("CareTeam")) == 1


async def test_a_claim_stays_until_nothing_showed_twice_a_quiet_while_apart() -> None:
    world = World()
    world.manager.keep_back = True
    await unanswered(world)
    await world.after(DEADLINE + SETTLE)
    assert not await world.is_free()
    await world.after(SETTLE - 0.1)
    assert not await world.is_free()
    await world.after(0.2)
    assert await world.is_free()
    assert world.settler.settled == {"not-written": 1}


async def test_what_comes_late_is_found_and_learnt() -> None:
    world = World()
    world.manager.keep_back = True
    await unanswered(world)
    await world.after(DEADLINE + SETTLE)
    world.manager.deliver()
    await world.after(SETTLE)
    assert world.settler.settled == {"written": 1}
    assert world.learnt == [("bre.n1", ())]
    assert await world.is_free()
    assert world.manager.writes == ["POST CareTeam"]


async def test_what_is_found_out_belongs_to_the_trace_of_the_request() -> None:
    world = World()
    world.manager.keep_back = True
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with passed(trace):
        await unanswered(world)
    world.manager.deliver()
    await world.after(DEADLINE + SETTLE)
    assert world.settler.settled == {"written": 1}
    token = await world.log.outbox.lead("reader", seconds=60)
    assert token is not None
    waiting = await world.log.outbox.peek(token, after=None, limit=10)
    assert waiting is not None
    assert [one.change.trace for one in waiting] == [trace]


async def test_a_manager_that_does_not_answer_keeps_the_claim_for_as_long() -> None:
    world = World()
    world.manager.keep_back = True
    await unanswered(world)
    world.manager.down = True
    for _ in range(20):
        await world.after(61.0)
        assert not await world.is_free()
    world.manager.down = False
    world.manager.deliver()
    await world.after(61.0)
    assert await world.is_free()
    assert world.settler.settled == {"written": 1}


async def test_a_suspended_manager_is_not_asked_and_one_that_left_ends_it() -> None:
    world = World()
    world.manager.keep_back = True
    await unanswered(world)
    suspended = Gestionnaire(**{**_fields(MANAGER), "status": Status.SUSPENDED})
    world.registered = [Registered(suspended, 2, "", Skills(post_search=True))]
    await world.after(DEADLINE + SETTLE)
    assert not await world.is_free()
    world.registered = []
    await world.after(61.0)
    assert await world.is_free()
    assert world.settler.settled == {"unknowable": 1}


async def test_the_key_of_a_lost_write_is_given_its_answer() -> None:
    world = World()
    world.manager.keep_back = True
    replay = Replay(b"k" * 16, "owner")
    await world.store.begin(replay.key, b"f", owner=replay.owner, seconds=600)
    await unanswered(world, replay)
    world.manager.deliver()
    await world.after(DEADLINE + SETTLE)
    found = await world.store.begin(replay.key, b"f", owner="another", seconds=600)
    assert type(found).__name__ == "Done"


async def test_a_key_stays_taken_however_long_nobody_looks_after_its_broker_died() -> None:
    world = World()
    world.manager.keep_back = True
    replay = Replay(b"k" * 16, "owner")
    await world.store.begin(replay.key, b"f", owner=replay.owner, seconds=60)
    await unanswered(world, replay)  # and nothing is done after it
    await world.clock.advance(3_600)
    found = await world.store.begin(replay.key, b"f", owner="another", seconds=60)
    assert type(found).__name__ == "Running"


async def test_the_key_of_a_write_that_was_not_made_is_free_again() -> None:
    world = World()
    world.manager.keep_back = True
    replay = Replay(b"k" * 16, "owner")
    await world.store.begin(replay.key, b"f", owner=replay.owner, seconds=600)
    await unanswered(world, replay)
    await world.after(DEADLINE + SETTLE)
    await world.after(SETTLE)
    found = await world.store.begin(replay.key, b"f", owner="another", seconds=600)
    assert type(found).__name__ == "Fresh"


async def test_an_update_shows_by_its_content_under_a_new_version() -> None:
    world = World()
    await world.create()
    sent = orjson.dumps(CIRCLE | {"status": "inactive"})
    step = Step("CareTeam", local_id="n1", before="1", content=content_digest(sent))
    found = await world.sending.evidence.of_step(step, world.target, world.context(), {})
    assert found is None
    await world.manager.send(MANAGER, ManagerRequest("PUT", "CareTeam/n1", body=sent), timeout=1)
    found = await world.sending.evidence.of_step(step, world.target, world.context(), {})
    assert found is not None
    # Somebody else wrote after it: it was done all the same.
    other = orjson.dumps(CIRCLE | {"status": "suspended"})
    await world.manager.send(MANAGER, ManagerRequest("PUT", "CareTeam/n1", body=other), timeout=1)
    assert await world.sending.evidence.of_step(step, world.target, world.context(), {}) is not None
    # What somebody else wrote alone is no evidence.
    unsent = Step("CareTeam", local_id="n1", before="1", content=content_digest({"status": "proposed"}))
    assert await world.sending.evidence.of_step(unsent, world.target, world.context(), {}) is None


def _fields(manager: Gestionnaire) -> dict[str, Any]:
    return {name: getattr(manager, name) for name in manager.__struct_fields__}
