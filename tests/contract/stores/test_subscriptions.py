"""What the store of subscriptions, the queues of events and the memory of what was sent must do: run on the fakes, on a
real server and on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from adapters.clock import SystemClock
from broker.core.sealing import Sealer
from registry.hook_queue import RedisHookQueue
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.sent_circles import RedisSentCircles
from registry.subscription_model import QueueBounds, QueueState
from registry.subscription_ports import HookQueue, SentCircles, SubscriptionStore
from registry.subscription_store import RedisSubscriptionStore
from tests.contract.stores.conftest import KINDS
from tests.support.aged_store import age
from tests.support.fake_stores import ManualClock
from tests.support.fake_subscriptions import FakeHookQueue, FakeSentCircles, FakeSubscriptionStore
from tests.support.two_nodes import two_nodes
from tests.support.valkey import Valkey
from tests.support.waiting import until

CONTENT, OTHER = b'{"criteria":"\\u0000"}\r\n', bytes(range(256))
BOUNDS = QueueBounds()
LEASE = 30.0


@dataclass
class Subscriptions:
    """Two nodes with one store."""

    store: SubscriptionStore
    queue: HookQueue
    other: HookQueue
    sent: SentCircles
    advance: Callable[[float], Awaitable[None]]


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[Subscriptions]:
    if request.param == "fake":
        clock = ManualClock()
        queue = FakeHookQueue(clock)

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        yield Subscriptions(FakeSubscriptionStore(clock), queue, queue, FakeSentCircles(), advance)
        return
    sealer = Sealer([b"a secret of the tests"])
    async with two_nodes(request) as nodes:
        keys = nodes.keys
        yield Subscriptions(
            RedisSubscriptionStore(nodes.one, sealer, SystemClock(), keys=keys),
            RedisHookQueue(nodes.one, sealer, SystemClock(), keys=keys),
            RedisHookQueue(nodes.other, sealer, SystemClock(), keys=keys),
            RedisSentCircles(nodes.one, keys=keys),
            lambda seconds: aged(nodes.one, keys, seconds),
        )


async def aged(client: object, keys: RedisKeys, seconds: float) -> None:
    """What the queues keep of time is that far back."""
    await age(client, keys, seconds)
    redis, passed = client, round(seconds * 1000)
    for member, score in await redis.zrange(keys.hook_due, 0, -1, withscores=True):  # type: ignore[attr-defined]
        await redis.zadd(keys.hook_due, {member: score - passed})  # type: ignore[attr-defined]
    async for key in redis.scan_iter(match=f"{keys.prefix}:*:state:*"):  # type: ignore[attr-defined]
        for name in ("s", "h"):
            value = await redis.hget(key, name)  # type: ignore[attr-defined]
            if value is not None:
                await redis.hset(key, name, int(value) - passed)  # type: ignore[attr-defined]


# --- subscriptions


async def test_a_subscription_has_versions(world: Subscriptions) -> None:
    first = await world.store.put("a", CONTENT, expected=0)
    assert first is not None
    assert (first.version, first.content, first.removed) == (1, CONTENT, False)
    assert await world.store.put("a", OTHER, expected=0) is None
    second = await world.store.put("a", OTHER, expected=1)
    assert second is not None
    assert await world.store.put("a", CONTENT, expected=1) is None
    assert await world.store.read(["b", "a"]) == [second]
    assert await world.store.versions() == {"a": 2}


async def test_of_two_writers_one_wins(world: Subscriptions) -> None:
    await world.store.put("a", CONTENT, expected=0)
    done = await asyncio.gather(*(world.store.put("a", b"%d" % n, expected=1) for n in range(8)))
    won = [one for one in done if one is not None]
    assert len(won) == 1
    assert await world.store.read(["a"]) == won


async def test_a_removed_subscription_is_known_as_such_for_a_while(world: Subscriptions) -> None:
    await world.store.put("a", CONTENT, expected=0)
    assert not await world.store.remove("a", expected=2)
    assert await world.store.remove("a", expected=1)
    assert not await world.store.remove("a")
    assert await world.store.versions() == {}
    (gone,) = await world.store.read(["a"])
    assert (gone.removed, gone.content, gone.version) == (True, None, 2)
    assert await world.store.put("a", CONTENT, expected=0) is None, "an id is used once"


async def test_changes_are_told(world: Subscriptions) -> None:
    async with aclosing(world.store.changes()) as changes:  # type: ignore[type-var]
        assert await anext(changes) == ""
        await world.store.put("a", CONTENT, expected=0)
        assert await anext(changes) == "a"
        await world.store.remove("a")
        assert await anext(changes) == "a"


async def test_many_subscriptions_are_read(world: Subscriptions) -> None:
    names = [f"s{n}" for n in range(450)]
    for start in range(0, len(names), 50):
        some = names[start : start + 50]
        await asyncio.gather(*(world.store.put(name, name.encode(), expected=0) for name in some))
    assert {one.id: one.content for one in await world.store.read(names)} == {n: n.encode() for n in names}
    assert await world.store.versions() == dict.fromkeys(names, 1)


async def test_a_secret_may_be_changed_twice(valkey: Valkey) -> None:
    client = connect(valkey.url)
    old, new, newest = b"first secret", b"second secret", b"third secret"

    def under(*secrets: bytes) -> RedisSubscriptionStore:
        return RedisSubscriptionStore(client, Sealer(secrets), SystemClock(), keys=valkey.keys)

    await under(old).put("a", CONTENT, expected=0)
    assert await under(old).reseal() == 0
    rotated = under(new, old)
    assert [one.content for one in await rotated.read(["a"])] == [CONTENT]
    assert await under(newest, new).reseal() == 0, "what cannot be opened stays"
    assert await rotated.reseal() == 1
    assert await rotated.reseal() == 0
    (found,) = await under(newest, new).read(["a"])
    assert (found.content, found.version) == (CONTENT, 1)
    (lost,) = await under(newest).read(["a"])
    assert (lost.content, lost.removed) == (None, False)
    await client.aclose()


# --- queues


async def test_events_are_numbered_without_a_gap(world: Subscriptions) -> None:
    await world.queue.open("a")
    await world.queue.open("b")
    assert await world.queue.offer("e1", {"a": CONTENT, "b": OTHER, "none": b""}, BOUNDS) == {"a": 1, "b": 1}
    assert await world.other.offer("e2", {"b": CONTENT}, BOUNDS) == {"b": 2}
    assert await world.other.offer("e3", {"a": OTHER}, BOUNDS) == {"a": 2}
    found = await world.queue.events("a", since=0, limit=10)
    assert [(one.number, one.event, one.content) for one in found] == [(1, "e1", CONTENT), (2, "e3", OTHER)]
    assert [one.event for one in await world.queue.events("b", since=2, limit=10)] == ["e2"]
    assert [one.event for one in await world.queue.events("b", since=0, until=1, limit=10)] == ["e1"]
    assert [one.event for one in await world.queue.events("b", since=0, limit=1)] == ["e1"]
    assert await world.queue.events("b", since=3, limit=10) == []


async def test_an_event_that_is_offered_again_keeps_its_number(world: Subscriptions) -> None:
    await world.queue.open("a")
    await world.queue.offer("e1", {"a": CONTENT}, BOUNDS)
    await world.queue.offer("e2", {"a": CONTENT}, BOUNDS)
    assert await world.other.offer("e1", {"a": CONTENT}, BOUNDS) == {"a": 1}
    assert len(await world.queue.events("a", since=0, limit=10)) == 2
    assert (await world.queue.states(["a", "b"]))["a"].last == 2


async def test_numbers_have_no_gap_where_many_offer(world: Subscriptions) -> None:
    await world.queue.open("a")
    given = await asyncio.gather(
        *((world.queue, world.other)[n % 2].offer(f"e{n % 25}", {"a": b"%d" % n}, BOUNDS) for n in range(50))
    )
    assert {one["a"] for one in given} == set(range(1, 26))
    assert [one.number for one in await world.queue.events("a", since=0, limit=99)] == list(range(1, 26))


async def test_a_queue_has_one_worker_at_a_time(world: Subscriptions) -> None:
    await world.queue.open("a")
    (turn,) = await world.queue.turns(limit=5, lease=LEASE)
    assert (turn.subscription, turn.state) == ("a", QueueState())
    assert not await world.other.turns(limit=5, lease=LEASE)
    await world.other.offer("e1", {"a": CONTENT}, BOUNDS)
    assert not await world.other.turns(limit=5, lease=LEASE), "an event does not take the turn away"
    assert await world.queue.renew(turn, lease=LEASE, delivered=0)
    assert await world.queue.end(turn, again=None)
    (turn,) = await world.other.turns(limit=5, lease=LEASE)
    assert turn.state.waiting == 1
    assert await world.other.renew(turn, lease=LEASE, delivered=1)
    assert await world.other.end(turn, again=None)
    assert not await world.queue.turns(limit=5, lease=LEASE)
    await world.queue.offer("e2", {"a": CONTENT}, BOUNDS)
    assert len(await world.queue.turns(limit=5, lease=LEASE)) == 1


async def test_a_worker_that_died_is_replaced_and_changes_nothing_any_more(world: Subscriptions) -> None:
    await world.queue.open("a")
    await world.queue.offer("e1", {"a": CONTENT}, BOUNDS)
    (late,) = await world.queue.turns(limit=5, lease=LEASE)
    await world.advance(LEASE - 1)
    assert not await world.other.turns(limit=5, lease=LEASE)
    await world.advance(2)
    (turn,) = await world.other.turns(limit=5, lease=LEASE)
    assert turn.fence > late.fence
    assert not await world.queue.renew(late, lease=LEASE, delivered=1)
    assert not await world.queue.end(late, again=0)
    assert (await world.queue.states(["a"]))["a"].delivered == 0
    assert await world.other.renew(turn, lease=LEASE, delivered=1)
    assert (await world.queue.states(["a"]))["a"].delivered == 1


async def test_a_turn_that_has_ended_is_over(world: Subscriptions) -> None:
    await world.queue.open("a")
    (turn,) = await world.queue.turns(limit=5, lease=LEASE)
    assert await world.queue.end(turn, again=None)
    assert not await world.queue.renew(turn, lease=LEASE)
    assert not await world.queue.end(turn, again=0, park=True)
    assert not (await world.queue.states(["a"]))["a"].parked


async def test_what_failed_waits_for_its_time(world: Subscriptions) -> None:
    await world.queue.open("a")
    await world.queue.offer("e1", {"a": CONTENT}, BOUNDS)
    for failures in (1, 2):
        (turn,) = await world.queue.turns(limit=5, lease=LEASE)
        assert turn.state.failures == failures - 1
        assert await world.queue.end(turn, again=60, failed=True)
        await world.queue.offer(f"more {failures}", {"a": CONTENT}, BOUNDS)
        await world.advance(59)
        assert not await world.other.turns(limit=5, lease=LEASE), "an event shortens no pause"
        await world.advance(2)
    (turn,) = await world.other.turns(limit=5, lease=LEASE)
    assert turn.state.failures == 2
    assert turn.state.failing_since is not None
    assert 122 <= turn.now - turn.state.failing_since < 130
    assert await world.other.renew(turn, lease=LEASE, delivered=1)
    state = (await world.queue.states(["a"]))["a"]
    assert (state.failures, state.failing_since, state.delivered, state.last) == (0, None, 1, 3)


async def test_a_parked_queue_goes_on_where_it_was(world: Subscriptions) -> None:
    await world.queue.open("a")
    await world.queue.offer("e1", {"a": CONTENT}, BOUNDS)
    (turn,) = await world.queue.turns(limit=5, lease=LEASE)
    assert await world.queue.end(turn, again=1, failed=True, park=True)
    await world.queue.offer("e2", {"a": CONTENT}, BOUNDS)
    await world.advance(100)
    assert not await world.queue.turns(limit=5, lease=LEASE)
    assert (await world.queue.states(["a"]))["a"].parked
    await world.other.resume("a")
    (turn,) = await world.queue.turns(limit=5, lease=LEASE)
    assert (turn.state.parked, turn.state.failures, turn.state.waiting) == (False, 0, 2)


async def test_who_was_about_to_park_does_not_once_it_is_resumed(world: Subscriptions) -> None:
    await world.queue.open("a")
    (turn,) = await world.queue.turns(limit=5, lease=LEASE)
    await world.other.resume("a")
    assert not await world.queue.end(turn, again=1, failed=True, park=True)
    assert len(await world.queue.turns(limit=5, lease=LEASE)) == 1


async def test_a_queue_is_bounded_and_says_what_it_lost(world: Subscriptions) -> None:
    await world.queue.open("a")
    for n in range(1, 6):
        await world.queue.offer(f"e{n}", {"a": b"x" * 10}, QueueBounds(events=3))
    assert [one.number for one in await world.queue.events("a", since=0, limit=9)] == [3, 4, 5]
    assert (await world.queue.states(["a"]))["a"].lost == 2
    (turn,) = await world.queue.turns(limit=5, lease=LEASE)
    await world.queue.renew(turn, lease=LEASE, delivered=5)
    await world.queue.offer("e6", {"a": b""}, QueueBounds(events=1))
    state = (await world.queue.states(["a"]))["a"]
    assert (state.lost, state.last, state.waiting) == (2, 6, 1), "what was delivered is not lost"
    assert await world.queue.offer("e1", {"a": CONTENT}, BOUNDS) == {"a": 7}, "it is forgotten with its event"


async def test_a_queue_is_bounded_in_bytes(world: Subscriptions) -> None:
    await world.queue.open("a")
    for n in range(1, 11):
        await world.queue.offer(f"e{n}", {"a": b"x" * 1000}, QueueBounds(bytes=3300))
    kept = [one.number for one in await world.queue.events("a", since=0, limit=99)]
    assert kept == [8, 9, 10]
    await world.queue.offer("big", {"a": b"x" * 5000}, QueueBounds(bytes=3300))
    assert [one.number for one in await world.queue.events("a", since=0, limit=99)] == [11], (
        "the newest stays"
    )


async def test_what_is_past_its_time_is_dropped(world: Subscriptions) -> None:
    await world.queue.open("a")
    await world.queue.open("b")
    for n in (1, 2):
        await world.queue.offer(f"e{n}", {"a": CONTENT}, BOUNDS)
    await world.queue.tidy(["a", "b", "none"], BOUNDS)
    assert len(await world.queue.events("a", since=0, limit=9)) == 2
    await world.queue.tidy(["a", "b", "none"], QueueBounds(seconds=-60))
    assert await world.queue.events("a", since=0, limit=9) == []
    state = (await world.queue.states(["a", "none"]))["a"]
    assert (state.last, state.lost, state.oldest) == (2, 2, None)
    assert await world.queue.offer("e3", {"a": CONTENT}, BOUNDS) == {"a": 3}


async def test_the_oldest_that_waits_is_known(world: Subscriptions) -> None:
    await world.queue.open("a")
    await world.queue.offer("e1", {"a": CONTENT}, BOUNDS)
    first = (await world.queue.events("a", since=1, limit=1))[0]
    assert (await world.queue.states(["a"]))["a"].oldest == first.at
    (turn,) = await world.queue.turns(limit=5, lease=LEASE)
    await world.queue.renew(turn, lease=LEASE, delivered=1)
    assert (await world.queue.states(["a"]))["a"].oldest is None


async def test_a_dropped_queue_is_gone(world: Subscriptions) -> None:
    await world.queue.open("a")
    await world.queue.offer("e1", {"a": CONTENT}, BOUNDS)
    (turn,) = await world.queue.turns(limit=5, lease=LEASE)
    await world.other.drop("a")
    assert not await world.queue.renew(turn, lease=LEASE, delivered=1)
    assert await world.queue.offer("e2", {"a": CONTENT}, BOUNDS) == {}
    assert await world.queue.states(["a"]) == {}
    assert await world.queue.events("a", since=0, limit=9) == []
    await world.advance(100)
    assert not await world.queue.turns(limit=5, lease=LEASE)


async def test_who_listens_is_woken(world: Subscriptions) -> None:
    async with aclosing(world.other.wakes()) as wakes:  # type: ignore[type-var]
        await anext(wakes)
        await world.queue.open("a")
        await asyncio.wait_for(anext(wakes), 5)
        await world.queue.offer("e1", {"a": CONTENT}, BOUNDS)
        await asyncio.wait_for(anext(wakes), 5)


async def test_turns_go_round(world: Subscriptions) -> None:
    for name in ("a", "b", "c"):
        await world.queue.open(name)
    taken = [*await world.queue.turns(limit=2, lease=LEASE), *await world.other.turns(limit=2, lease=LEASE)]
    assert sorted(turn.subscription for turn in taken) == ["a", "b", "c"]
    for turn in taken:
        assert await world.queue.end(turn, again=0.05)
    if isinstance(world.queue, FakeHookQueue):
        await world.advance(0.1)
    back: list[str] = []

    async def all_back() -> bool:
        back.extend(turn.subscription for turn in await world.queue.turns(limit=5, lease=LEASE))
        return len(back) == 3

    await until(all_back)


# --- what was sent


async def test_who_was_sent_a_circle_is_remembered(world: Subscriptions) -> None:
    assert await world.sent.sent("bre.12") == frozenset()
    await world.sent.remember("bre.12", frozenset({"a", "b"}))
    await world.sent.remember("bre.12", frozenset({"b", "c"}))
    await world.sent.remember("bre.13", frozenset({"b"}))
    assert await world.sent.sent("bre.12") == {"a", "b", "c"}
    await world.sent.forget("bre.12", frozenset({"a", "x"}))
    assert await world.sent.sent("bre.12") == {"b", "c"}
    await world.sent.forget("bre.12", frozenset({"b", "c"}))
    assert await world.sent.sent("bre.12") == frozenset()
    assert await world.sent.sent("bre.13") == {"b"}
