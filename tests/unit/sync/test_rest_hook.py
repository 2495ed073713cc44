"""The delivery worker against an endpoint and stores in memory: what it posts, when again, and when no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest

from broker.core.audit.disclosure import Disclosure
from broker.core.backoff import Backoff
from broker.core.change_event import Operation
from broker.core.subscription import SubscriptionStatus
from broker.core.subscription_channel import BACKPORT
from broker.core.subscription_form import read_subscription
from broker.sync.hook_client import HookError, HookFailure, HookRequest
from broker.sync.rest_hook import HookOptions, RestHooks
from broker.sync.routing import ChangeRouter
from broker.sync.subscriptions_view import SubscriptionForm, SubscriptionsView
from broker.sync.tasks import end
from registry.subscription_model import QueueState, StoredSubscription
from tests.support.fake_clock import FakeClock, settle
from tests.support.fake_subscriptions import FakeHookQueue, FakeSentCircles, FakeSubscriptionStore
from tests.support.subscription_world import (
    BASE,
    a_change,
    a_circle,
    a_patient,
    a_subscription,
    kind_of,
    numbers_of,
)

NAME = "s1"
OPTIONS = HookOptions(
    look=1.0,
    lease=10.0,
    patience=5.0,
    events=Backoff(first=10, most=100, factor=10, spread=0, give_up=1000),
    handshake=Backoff(first=10, most=10, spread=0, give_up=60),
)


@dataclass
class Endpoint:
    """`failures`: what the next posts raise."""

    failures: list[HookError] = field(default_factory=list)
    always: HookError | None = None
    posted: list[HookRequest] = field(default_factory=list)
    refused: list[HookRequest] = field(default_factory=list)

    async def post(self, request: HookRequest, *, timeout: float) -> int:  # noqa: ASYNC109 - the port's
        await asyncio.sleep(0)
        error = self.failures.pop(0) if self.failures else self.always
        if error is not None:
            self.refused.append(request)
            raise error
        self.posted.append(request)
        return 200

    @property
    def kinds(self) -> list[str]:
        return [kind_of(orjson.loads(one.body)) for one in self.posted]

    @property
    def numbers(self) -> list[int]:
        return [number for one in self.posted for number in numbers_of(orjson.loads(one.body))]


@dataclass
class World:
    clock: FakeClock
    store: FakeSubscriptionStore
    queue: FakeHookQueue
    endpoint: Endpoint
    view: SubscriptionsView
    router: ChangeRouter
    form: SubscriptionForm
    hooks: RestHooks

    async def tell(self, *numbers: int) -> None:
        for number in numbers:
            change, circle, actors = a_change(number), a_circle(number), [a_patient(number)]
            destinations = await self.router.route(change, circle, actors)
            await self.router.hand_over(change, circle, actors, destinations)
        await settle()

    async def status(self) -> tuple[str, str | None]:
        (stored,) = await self.store.read([NAME])
        found = self.form.read(stored)
        assert found is not None
        return found.status.value, found.error

    async def state(self) -> QueueState:
        return (await self.queue.states([NAME]))[NAME]


@asynccontextmanager
async def world(
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE, options: HookOptions = OPTIONS, **channel: Any
) -> AsyncIterator[World]:
    clock = FakeClock()
    store, queue, endpoint = FakeSubscriptionStore(clock), FakeHookQueue(clock), Endpoint()
    form = SubscriptionForm(BASE, "cds", clock)
    stated = read_subscription(a_subscription(**channel), form.rules()).registered(
        NAME, 1, "2026-01-01T00:00:00Z"
    )
    await store.put(NAME, form.kept(stated.moved(status)), expected=0)
    await queue.open(NAME)
    view = SubscriptionsView(store, form, clock)
    await view.refresh()
    hooks = RestHooks(store, queue, endpoint, form, clock, lambda: 0.0, options)
    router = ChangeRouter(view, FakeSentCircles(), queue, BASE)
    running = asyncio.ensure_future(hooks.run())
    await settle()
    yield World(clock, store, queue, endpoint, view, router, form, hooks)
    await end([running])


async def test_a_failed_post_is_made_again_after_growing_pauses() -> None:
    async with world() as here:
        here.endpoint.failures = [HookError(HookFailure.STATUS, 503)] * 2
        await here.tell(1, 2)
        assert len(here.endpoint.refused) == 1
        await here.tell(3)
        assert len(here.endpoint.refused) == 1, "an event does not hasten it"
        await here.clock.advance(8)
        assert len(here.endpoint.refused) == 1
        await here.clock.advance(4)
        assert len(here.endpoint.refused) == 2
        await here.clock.advance(90)
        assert here.endpoint.numbers == []
        await here.clock.advance(15)
        assert here.endpoint.numbers == [1, 2, 3]
        assert (await here.state()).failures == 0
        assert here.hooks.figures.failed == 2
        assert here.hooks.figures.delivered == 3


async def test_an_endpoint_may_ask_for_more_time() -> None:
    async with world() as here:
        here.endpoint.failures = [HookError(HookFailure.STATUS, 503, retry_after=60)]
        await here.tell(1)
        await here.clock.advance(55)
        assert here.endpoint.numbers == []
        await here.clock.advance(10)
        assert here.endpoint.numbers == [1]


async def test_what_arrived_ends_a_row_of_failures() -> None:
    async with world(options=HookOptions(look=1, batch=1, events=OPTIONS.events)) as here:
        for _ in range(30):
            here.endpoint.failures = [HookError(HookFailure.TIMEOUT)]
            await here.tell(1, 2)
            await here.clock.advance(60)
            here.queue._queues[NAME].events.clear()
        assert await here.status() == ("active", None), "half an hour of single failures is no long one"


async def test_who_is_out_for_too_long_is_suspended_and_loses_nothing() -> None:
    async with world() as here:
        here.endpoint.always = HookError(HookFailure.STATUS, 500)
        await here.tell(1, 2)
        await here.clock.advance(950)
        assert (await here.status())[0] == "active"
        await here.clock.advance(200)
        status, error = await here.status()
        assert status == "error"
        assert error is not None
        assert "statut 500" in error
        assert "status 500" in error
        assert (await here.state()).parked
        assert here.hooks.figures.suspended == 1
        tried = len(here.endpoint.refused)
        await here.view.refresh()
        await here.tell(3)
        await here.clock.advance(5000)
        assert len(here.endpoint.refused) == tried, "nothing is tried any more"

        here.endpoint.always = None
        (stored,) = await here.store.read([NAME])
        found = here.form.read(stored)
        assert found is not None
        again = here.form.kept(found.moved(SubscriptionStatus.REQUESTED))
        await here.store.put(NAME, again, expected=stored.version)
        await here.queue.resume(NAME)
        await here.clock.advance(2)
        assert here.endpoint.kinds == ["handshake", "event-notification"]
        assert here.endpoint.numbers == [1, 2, 3]
        assert await here.status() == ("active", None)


async def test_a_handshake_that_is_taken_makes_it_active() -> None:
    async with world(SubscriptionStatus.REQUESTED) as here:
        assert here.endpoint.kinds == ["handshake"]
        assert await here.status() == ("active", None)
        await here.tell(1)
        assert here.endpoint.kinds == ["handshake", "event-notification"]


async def test_a_handshake_that_fails_ends_in_error() -> None:
    async with world(SubscriptionStatus.OFF) as here:
        here.endpoint.always = HookError(HookFailure.ADDRESS)
        (stored,) = await here.store.read([NAME])
        found = here.form.read(stored)
        assert found is not None
        asked = here.form.kept(found.moved(SubscriptionStatus.REQUESTED))
        await here.store.put(NAME, asked, expected=stored.version)
        await here.queue.resume(NAME)
        await here.clock.advance(50)
        assert (await here.status())[0] == "requested"
        await here.clock.advance(30)
        status, error = await here.status()
        assert status == "error"
        assert error is not None
        assert "adresse" in error


async def test_what_its_owner_changes_meanwhile_stands() -> None:
    async with world(SubscriptionStatus.OFF) as here:
        (stored,) = await here.store.read([NAME])
        found = here.form.read(stored)
        assert found is not None

        class Changing(Endpoint):
            async def post(self, request: HookRequest, *, timeout: float) -> int:  # noqa: ASYNC109 - the port's
                if not self.posted:
                    off = here.form.kept(
                        found.moved(SubscriptionStatus.REQUESTED).moved(SubscriptionStatus.OFF)
                    )
                    await here.store.put(NAME, off, expected=stored.version + 1)
                return await Endpoint.post(self, request, timeout=timeout)

        here.hooks.client = Changing()
        asked = here.form.kept(found.moved(SubscriptionStatus.REQUESTED))
        await here.store.put(NAME, asked, expected=stored.version)
        await here.queue.resume(NAME)
        await here.clock.advance(5)
        assert await here.status() == ("off", None)


async def test_a_queue_without_its_subscription_is_dropped() -> None:
    async with world() as here:
        await here.queue.open("orphan")
        await here.clock.advance(2)
        assert await here.queue.states(["orphan"]) == {}


async def test_a_store_that_is_out_is_waited_for() -> None:
    async with world() as here:
        await here.tell(1)
        assert here.endpoint.numbers == [1]
        here.queue.down = True
        await here.clock.advance(10)
        here.queue.down = False
        await here.tell(2)
        await here.clock.advance(2)
        assert here.endpoint.numbers == [1, 2]


async def test_a_defect_of_ours_ends_nobody_elses_turn() -> None:
    async with world() as here:
        reported: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        form = here.form

        class Broken:
            def read(self, stored: StoredSubscription) -> object:
                if stored.id == "bad":
                    raise ZeroDivisionError
                return form.read(stored)

            def __getattr__(self, name: str) -> object:
                return getattr(form, name)

        here.hooks.form = cast("SubscriptionForm", Broken())
        await here.store.put("bad", b"{}", expected=0)
        await here.queue.open("bad")
        await here.tell(1)
        await here.clock.advance(2)
        assert here.endpoint.numbers == [1]
        assert len(reported) == 1


# --- routing


async def routed(criteria: Sequence[str]) -> ChangeRouter:
    clock = FakeClock()
    store, form = FakeSubscriptionStore(clock), SubscriptionForm(BASE, "cds", clock)
    for place, text in enumerate(criteria):
        stated = read_subscription(a_subscription(criteria=text), form.rules())
        active = stated.registered(f"s{place}", 1, "2026-01-01T00:00:00Z").moved(SubscriptionStatus.ACTIVE)
        await store.put(f"s{place}", form.kept(active), expected=0)
    view = SubscriptionsView(store, form, clock)
    await view.refresh()
    assert view.unreadable == 0
    return ChangeRouter(view, FakeSentCircles(), FakeHookQueue(clock), BASE)


async def test_a_change_is_compared_with_those_that_it_may_concern() -> None:
    router = await routed(
        [f"CareTeam?patient.identifier=urn:x|{n}" for n in range(400)]
        + ["CareTeam?status=active", "CareTeam?_tag=53", "CareTeam?_tag=76"]
    )
    found = await router.route(a_change(), a_circle(), [a_patient()])
    assert set(found.hooks) == {"s400", "s401"}
    assert router.matched == 2


async def test_a_deletion_goes_to_those_who_were_told() -> None:
    router = await routed(["CareTeam?status=active", "CareTeam?status=inactive", "CareTeam?_id=bre.99"])
    gone = a_change(12, 2, operation=Operation.DELETED)
    assert set((await router.route(gone, None)).hooks) == {"s0", "s1"}, "nobody knows who was told"
    await router.route(a_change(12, 3), a_circle(12), [a_patient(12)])
    found = await router.route(gone, None)
    assert (set(found.hooks), found.ended) == ({"s0"}, {"s0"})
    assert await router.route(gone, None) == found, "until it is settled"
    await router.settle(gone, found)
    with pytest.raises(ValueError, match="deletion"):
        await router.route(a_change(), None)


async def test_what_cannot_be_read_is_counted_and_not_served() -> None:
    clock = FakeClock()
    store, form = FakeSubscriptionStore(clock), SubscriptionForm(BASE, "cds", clock)
    view = SubscriptionsView(store, form, clock)
    await store.put("a", b"\xff", expected=0)
    await store.put("b", b'{"resourceType":"Subscription"}', expected=0)
    assert await view.refresh()
    assert (view.unreadable, dict(view.all())) == (2, {})
    store.down = True
    assert not await view.refresh()
    assert view.stale_since is not None


@dataclass
class Gate:
    """A trail that takes nothing until it is opened."""

    open: bool = False
    asked: list[Sequence[Disclosure]] = field(default_factory=list)

    async def told(self, disclosures: Sequence[Disclosure]) -> bool:
        self.asked.append(disclosures)
        return self.open


async def test_what_cannot_be_traced_waits_and_is_no_failure_of_the_subscriber() -> None:
    level = {"url": f"{BACKPORT}backport-payload-content", "valueCode": "full-resource"}
    async with world(_payload={"extension": [level]}) as here:
        gate = here.hooks.disclosures = Gate()
        await here.tell(1, 2)
        assert here.endpoint.posted == []
        await here.clock.advance(20)
        assert len(gate.asked) >= 3
        assert here.endpoint.posted == []
        assert ((await here.state()).failures, here.hooks.figures.failed) == (0, 0)
        gate.open = True
        await here.clock.advance(10)
        assert here.endpoint.numbers == [1, 2]
        assert [one.circle.public_id for one in gate.asked[-1]] == ["bre.1", "bre.2"]
