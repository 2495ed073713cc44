"""What the write log and the store of idempotency keys must do: run on the fakes, on a real server and on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from broker.errors import StoreError
from registry.idempotency_store import RedisIdempotencyStore
from registry.ports import IdempotencyStore, WriteLog
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.write_log import RedisWriteLog
from registry.write_model import Different, Done, Due, Fresh, Running, Taken
from tests.contract.stores.conftest import KINDS
from tests.support.fake_stores import ManualClock
from tests.support.fake_write_log import FakeIdempotencyStore, FakeWriteLog
from tests.support.two_nodes import two_nodes
from tests.support.waiting import until

ALICE, ALICE_BEFORE, BRUNO = b"a" * 16, b"\0 \xff" * 4, b"b" * 16
BLOB, ANSWER = bytes(range(256)), b"the \0 answer\r\n\xff"


@dataclass
class Writes:
    """Two nodes with one store."""

    log: WriteLog
    other: WriteLog
    keys: IdempotencyStore
    advance: Callable[[float], Awaitable[None]]
    lose: Callable[[], Awaitable[None]]


def faked() -> Writes:
    clock = ManualClock()
    log = FakeWriteLog(clock)

    async def advance(seconds: float) -> None:
        clock.advance(seconds)

    async def lose() -> None:
        log.lose()

    return Writes(log, log, FakeIdempotencyStore(clock), advance, lose)


@pytest.fixture(params=KINDS)
async def writes(request: pytest.FixtureRequest) -> AsyncIterator[Writes]:
    if request.param == "fake":
        yield faked()
        return
    async with two_nodes(request) as nodes:
        yield Writes(
            RedisWriteLog(nodes.one, keys=nodes.keys),
            RedisWriteLog(nodes.other, keys=nodes.keys),
            RedisIdempotencyStore(nodes.one, keys=nodes.keys),
            nodes.advance,
            nodes.lose,
        )


async def claimed(log: WriteLog, *names: bytes, seconds: float = 30) -> int:
    token = await log.claim(names, seconds=seconds)
    assert isinstance(token, int)
    return token


# --- claims


async def test_a_name_is_one_writers(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE)
    assert await writes.other.claim([ALICE], seconds=30) == Taken(token)
    assert await writes.log.claim([ALICE], seconds=30) == Taken(token)
    assert await writes.other.look([ALICE]) == (token, None)
    assert await writes.other.look([BRUNO]) == (None, None)
    assert await claimed(writes.other, BRUNO) > token


async def test_all_names_are_claimed_or_none(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE)
    assert await writes.other.claim([BRUNO, ALICE], seconds=30) == Taken(token)
    assert await writes.other.look([BRUNO]) == (None, None)
    assert await claimed(writes.other, BRUNO, ALICE_BEFORE) > token
    assert (await writes.log.look([b"nobody's", ALICE_BEFORE, ALICE]))[0] != token


async def test_no_name_is_claimed_twice_at_once(writes: Writes) -> None:
    crowd = [[ALICE, BRUNO], [BRUNO, ALICE], [ALICE], [BRUNO], [ALICE_BEFORE, ALICE]] * 8
    answers = await asyncio.gather(
        *((writes.log, writes.other)[n % 2].claim(names, seconds=30) for n, names in enumerate(crowd))
    )
    winning = [(token, names) for token, names in zip(answers, crowd, strict=True) if isinstance(token, int)]
    won = [name for _, names in winning for name in names]
    assert len(won) == len(set(won))
    assert {ALICE, BRUNO} <= set(won)
    assert len({token for token, _ in winning}) == len(winning)


async def test_a_claim_ends_by_itself(writes: Writes) -> None:
    first = await claimed(writes.log, ALICE, ALICE_BEFORE, seconds=30)
    await writes.advance(29)
    assert await writes.other.claim([ALICE], seconds=30) == Taken(first)
    await writes.advance(2)
    assert await writes.other.look([ALICE, ALICE_BEFORE]) == (None, None)
    assert await claimed(writes.other, ALICE) > first


async def test_a_claim_ends_by_the_servers_own_clock(writes: Writes) -> None:
    first = await claimed(writes.log, ALICE, seconds=0.05)
    if isinstance(writes.log, FakeWriteLog):
        await writes.advance(0.1)

    async def free() -> bool:
        return isinstance(await writes.other.claim([ALICE], seconds=30), int)

    await until(free)
    assert ((await writes.log.look([ALICE]))[0] or 0) > first


async def test_a_claim_is_given_back(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE, BRUNO)
    assert await writes.log.finish(None, names=[ALICE, BRUNO], token=token)
    assert await writes.log.finish(None, names=[ALICE, BRUNO], token=token)
    assert await claimed(writes.other, ALICE, BRUNO) > token


async def test_tokens_grow_over_a_lost_store(writes: Writes) -> None:
    tokens = [await claimed(writes.log, name) for name in (ALICE, BRUNO)]
    await writes.lose()
    assert await writes.log.pending() == (0, None)
    tokens += [await claimed(writes.other, name) for name in (ALICE, BRUNO)]
    assert tokens == sorted(set(tokens))


# --- intents


async def test_an_intent_makes_its_claims_last(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE, BRUNO, seconds=5)
    assert await writes.log.intend("w1", BLOB, names=[ALICE, BRUNO], token=token, due=60)
    await writes.advance(1_000_000)
    assert await writes.other.claim([ALICE], seconds=30) == Taken(token, "w1")
    assert await writes.other.claim([BRUNO], seconds=30) == Taken(token, "w1")
    assert await writes.log.finish("w1", names=[ALICE, BRUNO], token=token)
    assert await writes.log.pending() == (0, None)
    assert await claimed(writes.other, ALICE, BRUNO) > token


async def test_nothing_is_intended_on_a_claim_that_is_gone(writes: Writes) -> None:
    late = await claimed(writes.log, ALICE, BRUNO, seconds=5)
    await writes.advance(6)
    assert not await writes.log.intend("late", BLOB, names=[ALICE, BRUNO], token=late, due=60)
    newer = await claimed(writes.other, BRUNO)
    assert not await writes.log.intend("late", BLOB, names=[ALICE, BRUNO], token=late, due=60)
    assert await writes.log.pending() == (0, None)
    assert await writes.log.look([ALICE]) == (None, None)
    assert await writes.log.look([BRUNO]) == (newer, None)
    assert await writes.other.finish(None, names=[BRUNO], token=newer, result=ANSWER, keep=60)
    assert not await writes.log.intend("late", BLOB, names=[BRUNO], token=newer, due=60)


async def test_an_intent_may_claim_by_itself(writes: Writes) -> None:
    assert await writes.log.intend("w1", BLOB, names=[ALICE, BRUNO], due=60)
    assert not await writes.other.intend("w2", BLOB, names=[ALICE_BEFORE, BRUNO], due=60)
    assert await writes.log.look([ALICE_BEFORE]) == (None, None)
    assert (await writes.log.pending())[0] == 1
    taken = await writes.other.claim([ALICE], seconds=30)
    assert isinstance(taken, Taken)
    assert taken.settled_by == "w1"
    assert await writes.log.finish("w1", names=[ALICE, BRUNO])
    assert await claimed(writes.other, ALICE, BRUNO) > taken.token


async def test_an_intent_without_names_is_in_nobodys_way(writes: Writes) -> None:
    assert await writes.log.intend("w1", BLOB, due=60)
    assert await writes.log.intend("w2", BLOB, due=60)
    assert (await writes.log.pending())[0] == 2
    assert await writes.log.finish("w1")
    assert (await writes.log.pending())[0] == 1


async def test_an_intent_that_is_told_twice_is_one(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE)
    for _ in range(2):
        assert await writes.log.intend("w1", BLOB, names=[ALICE], token=token, due=60)
        assert await writes.log.intend("w2", BLOB, names=[BRUNO], due=60)
    assert (await writes.log.pending())[0] == 2
    assert not await writes.log.intend("w3", BLOB, names=[ALICE], token=token, due=60), "one intent a claim"


async def test_what_is_an_intents_is_not_given_back_without_it(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE)
    await writes.log.intend("w1", BLOB, names=[ALICE], token=token, due=60)
    assert not await writes.log.finish(None, names=[ALICE], token=token)
    assert not await writes.log.finish("w2", names=[ALICE], token=token)
    assert await writes.other.claim([ALICE], seconds=30) == Taken(token, "w1")


async def test_a_claim_is_given_back_though_its_intent_was_refused(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE)
    assert await writes.log.finish("never recorded", names=[ALICE], token=token)
    assert await writes.log.look([ALICE]) == (None, None)


# --- finishing


async def test_an_intent_knows_its_own_names(writes: Writes) -> None:
    await writes.log.intend("w1", BLOB, names=[ALICE, ALICE_BEFORE, BRUNO], due=60)
    assert await writes.log.finish("w1", names=[BRUNO], result=ANSWER, keep=60)
    for name in (ALICE, ALICE_BEFORE, BRUNO):
        assert await writes.other.look([name]) == (None, ANSWER)


async def test_a_late_writer_clears_nothing_of_a_newer_one(writes: Writes) -> None:
    late = await claimed(writes.log, ALICE, BRUNO, seconds=5)
    await writes.advance(6)
    newer = await claimed(writes.other, ALICE)
    assert not await writes.log.finish(None, names=[ALICE, BRUNO], token=late, result=b"late", keep=60)
    assert await writes.log.look([ALICE]) == (newer, None)
    assert await writes.other.intend("w1", BLOB, names=[ALICE], token=newer, due=60)
    assert not await writes.log.finish("late", names=[ALICE], token=late, result=b"late", keep=60)
    assert await writes.log.look([ALICE]) == (newer, None)
    assert await writes.other.finish("w1", names=[ALICE], token=newer, result=ANSWER, keep=60)
    assert not await writes.log.finish("late", names=[ALICE], token=late, result=b"late", keep=60)
    assert await writes.log.look([ALICE]) == (None, ANSWER)


async def test_who_wrote_while_the_store_was_lost_learns_that_it_may_not_be_alone(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE)
    await writes.log.intend("w1", BLOB, names=[ALICE], token=token, due=60)
    await writes.lose()
    newer = await claimed(writes.other, ALICE)
    assert newer > token
    assert not await writes.log.finish("w1", names=[ALICE], token=token, result=b"first", keep=60)
    assert await writes.other.look([ALICE]) == (newer, None)


async def test_the_losers_learn_what_came_of_it(writes: Writes) -> None:
    token = await claimed(writes.log, ALICE, ALICE_BEFORE)
    await writes.log.intend("w1", BLOB, names=[ALICE, ALICE_BEFORE], token=token, due=60)
    for _ in range(2):
        assert await writes.log.finish("w1", names=[ALICE, ALICE_BEFORE], token=token, result=ANSWER, keep=60)
    assert await writes.other.look([BRUNO, ALICE_BEFORE]) == (None, ANSWER)
    await writes.advance(61)
    assert await writes.other.look([ALICE, ALICE_BEFORE]) == (None, None)


async def test_a_kept_result_is_in_nobodys_way(writes: Writes) -> None:
    first = await claimed(writes.log, ALICE)
    await writes.log.finish(None, names=[ALICE], token=first, result=ANSWER, keep=600)
    second = await claimed(writes.other, ALICE, BRUNO, seconds=5)
    assert await writes.log.look([ALICE]) == (second, None)
    await writes.advance(6)
    assert await writes.log.look([ALICE]) == (None, None), "the claim took the place of the result"
    await writes.log.finish(None, names=[ALICE], token=second, result=ANSWER, keep=600)
    assert await writes.other.intend("w1", BLOB, names=[ALICE], due=60)


async def test_settler_and_writer_may_both_finish(writes: Writes) -> None:
    await writes.log.intend("w1", BLOB, names=[ALICE], due=0)
    (told,) = await writes.other.due(limit=5, lease=60)
    assert await writes.log.finish("w1", names=[ALICE], result=b"sealed once", keep=60)
    assert await writes.other.finish(
        "w1", names=told.names, token=told.token, result=b"sealed again", keep=60
    )
    assert await writes.log.look([ALICE]) == (None, b"sealed again")
    assert await writes.other.finish("w1", names=told.names, token=told.token)
    assert await writes.log.look([ALICE]) == (None, b"sealed again")


# --- what is due


async def test_an_intent_is_due_in_its_time(writes: Writes) -> None:
    await writes.log.intend("w1", BLOB, names=[ALICE, ALICE_BEFORE], due=60)
    await writes.log.intend("w2", b"", due=120)
    token, _ = await writes.log.look([ALICE])
    assert token is not None
    assert await writes.other.due(limit=5, lease=60) == []
    await writes.advance(61)
    assert await writes.other.due(limit=5, lease=600) == [
        Due("w1", token, (ALICE, ALICE_BEFORE), BLOB, attempts=1)
    ]
    count, seconds = await writes.log.pending()
    assert (count, round(seconds or 0, -1)) == (2, 60)
    await writes.advance(60)
    assert [one.intent for one in await writes.log.due(limit=5, lease=600)] == ["w2"]


async def test_the_longest_due_comes_first(writes: Writes) -> None:
    for number in (3, 1, 4, 2):
        await writes.log.intend(f"w{number}", BLOB, due=number * 10)
    await writes.advance(60)
    assert [one.intent for one in await writes.log.due(limit=3, lease=60)] == ["w1", "w2", "w3"]
    assert [one.intent for one in await writes.log.due(limit=0, lease=60)] == []
    assert [one.intent for one in await writes.log.due(limit=3, lease=60)] == ["w4"]


async def test_what_is_due_is_handed_to_one_at_a_time(writes: Writes) -> None:
    for number in range(20):
        await writes.log.intend(f"w{number}", BLOB, due=0)
    handed = await asyncio.gather(
        *((writes.log, writes.other)[n % 2].due(limit=3, lease=60) for n in range(10))
    )
    assert sorted(one.intent for some in handed for one in some) == sorted(f"w{n}" for n in range(20))


async def test_a_settler_that_dies_loses_it_for_its_lease_only(writes: Writes) -> None:
    await writes.log.intend("w1", BLOB, due=0)
    assert len(await writes.log.due(limit=5, lease=30)) == 1
    await writes.advance(29)
    assert await writes.other.due(limit=5, lease=30) == []
    await writes.advance(2)
    (again,) = await writes.other.due(limit=5, lease=30)
    assert (again.intent, again.attempts) == ("w1", 2)


async def test_an_intent_is_postponed_with_what_was_learnt(writes: Writes) -> None:
    await writes.log.intend("w1", BLOB, due=0)
    await writes.log.due(limit=5, lease=600)
    await writes.log.postpone("w1", seconds=10, blob=b"absent once")
    await writes.advance(11)
    (told,) = await writes.other.due(limit=5, lease=600)
    assert (told.blob, told.attempts) == (b"absent once", 2)
    await writes.log.postpone("w1", seconds=0)
    (told,) = await writes.other.due(limit=5, lease=600)
    assert told.blob == b"absent once"


async def test_what_is_finished_is_neither_due_nor_postponed(writes: Writes) -> None:
    await writes.log.intend("w1", BLOB, due=0)
    await writes.log.finish("w1")
    await writes.log.postpone("w1", seconds=0, blob=b"late")
    assert await writes.log.due(limit=5, lease=60) == []
    assert await writes.log.pending() == (0, None)


# --- idempotency keys

KEY, SAME, OTHER = b"k" * 16, b"f" * 32, b"\0\xff \n" * 8


async def test_an_answer_is_given_again(writes: Writes) -> None:
    keys = writes.keys
    assert await keys.begin(KEY, SAME, owner="one", seconds=60) == Fresh()
    assert await keys.begin(KEY, SAME, owner="two", seconds=60) == Running()
    assert await keys.begin(KEY, OTHER, owner="three", seconds=60) == Different()
    assert await keys.finish(KEY, "one", ANSWER, seconds=600)
    assert await keys.begin(KEY, SAME, owner="two", seconds=60) == Done(ANSWER)
    assert await keys.begin(KEY, OTHER, owner="three", seconds=60) == Different()
    assert await keys.begin(b"another", OTHER, owner="three", seconds=60) == Fresh()
    await writes.advance(599)
    assert await keys.begin(KEY, SAME, owner="two", seconds=60) == Done(ANSWER)
    await writes.advance(2)
    assert await keys.begin(KEY, OTHER, owner="two", seconds=60) == Fresh()


async def test_one_of_many_is_the_first(writes: Writes) -> None:
    begun = await asyncio.gather(*(writes.keys.begin(KEY, SAME, owner=f"{n}", seconds=60) for n in range(20)))
    assert sorted(type(one).__name__ for one in begun) == ["Fresh"] + ["Running"] * 19


async def test_a_key_is_given_up_by_its_owner_alone(writes: Writes) -> None:
    keys = writes.keys
    await keys.begin(KEY, SAME, owner="one", seconds=60)
    await keys.abandon(KEY, "two")
    assert await keys.begin(KEY, SAME, owner="two", seconds=60) == Running()
    assert not await keys.finish(KEY, "two", b"not mine", seconds=60)
    await keys.abandon(KEY, "one")
    await keys.abandon(KEY, "one")
    assert await keys.begin(KEY, OTHER, owner="two", seconds=60) == Fresh()
    assert await keys.finish(KEY, "two", ANSWER, seconds=60)
    await keys.abandon(KEY, "two")
    assert await keys.begin(KEY, OTHER, owner="one", seconds=60) == Done(ANSWER)


async def test_each_step_may_be_repeated(writes: Writes) -> None:
    keys = writes.keys
    for _ in range(2):
        assert await keys.begin(KEY, SAME, owner="one", seconds=60) == Fresh()
    assert await keys.finish(KEY, "one", ANSWER, seconds=60)
    assert await keys.finish(KEY, "one", b"another answer", seconds=60)
    assert await keys.begin(KEY, SAME, owner="one", seconds=60) == Done(ANSWER)


async def test_who_died_running_is_in_nobodys_way_for_longer_than_said(writes: Writes) -> None:
    keys = writes.keys
    await keys.begin(KEY, SAME, owner="dead", seconds=60)
    await writes.advance(61)
    assert await keys.begin(KEY, SAME, owner="two", seconds=60) == Fresh()
    assert not await keys.finish(KEY, "dead", b"late", seconds=60)
    assert await keys.begin(KEY, SAME, owner="three", seconds=60) == Running()


async def test_a_key_of_which_nobody_knows_yet_is_held_on_to(writes: Writes) -> None:
    keys = writes.keys
    await keys.begin(KEY, SAME, owner="one", seconds=60)
    assert not await keys.hold(KEY, "two", seconds=600)
    assert await keys.hold(KEY, "one", seconds=600)
    await writes.advance(61)
    assert await keys.begin(KEY, SAME, owner="two", seconds=60) == Running()
    assert await keys.finish(KEY, "one", ANSWER, seconds=60)
    assert await keys.hold(KEY, "one", seconds=600)
    await writes.advance(61)
    assert await keys.begin(KEY, OTHER, owner="two", seconds=60) == Fresh()
    assert not await keys.hold(KEY, "one", seconds=600)


# --- a store that does not answer


async def test_a_store_that_is_down_is_said_to_be() -> None:
    client = connect("redis://127.0.0.1:1", timeout=0.2)
    keys = RedisKeys("t")
    real, real_keys = RedisWriteLog(client, keys=keys), RedisIdempotencyStore(client, keys=keys)
    fake, fake_keys = FakeWriteLog(down=True), FakeIdempotencyStore(down=True)
    for log in (real, fake):
        for call in (
            log.claim([ALICE], seconds=1),
            log.intend("w1", BLOB, due=1),
            log.finish("w1"),
            log.look([ALICE]),
            log.due(limit=1, lease=1),
            log.postpone("w1", seconds=1),
            log.pending(),
        ):
            with pytest.raises(StoreError):
                await call
    for store in (real_keys, fake_keys):
        for asked in (
            store.begin(KEY, SAME, owner="one", seconds=1),
            store.finish(KEY, "one", ANSWER, seconds=1),
            store.abandon(KEY, "one"),
        ):
            with pytest.raises(StoreError):
                await asked
    await client.aclose()
