"""What a change log must do while its server runs: on Kafka, on Valkey, and on a cluster of it."""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest

from broker.errors import ConfigurationError, StoreError
from broker.sync.change_log import MAX_RECORD_BYTES, LogConsumer, Outgoing, Record, Topic
from tests.support.logs import World, all_of, take
from tests.support.waiting import until


def change(topic: str, key: str, value: str | None = "v") -> Outgoing:
    return Outgoing(topic, key.encode(), None if value is None else value.encode())


def values(records: list[Record]) -> list[str]:
    return [(record.value or b"").decode() for record in records]


async def test_each_key_keeps_its_order(world: World) -> None:
    topic = await world.topic(partitions=3)
    sent = [change(topic, f"k{number % 10}", str(number)) for number in range(300)]
    positions = await world.log.publish_many(sent)
    assert len({one.partition for one in positions}) > 1
    async with world.log.consumer(topic, "g") as consumer:
        got = await take(consumer, 300)
    assert len(got) == 300
    by_key = defaultdict(list)
    for record in got:
        by_key[record.key].append(record)
    for key, records in by_key.items():
        assert values(records) == [str(number) for number in range(300) if f"k{number % 10}".encode() == key]
        assert len({record.position.partition for record in records}) == 1


async def test_a_record_comes_as_it_went(world: World) -> None:
    topic = await world.topic()
    sent = [
        Outgoing(topic, b"\x00\xff", bytes(range(256)), (("ce-id", b"a"), ("ce-id", b"b"), ("né", b"\xff"))),
        Outgoing(topic, b"k", None, (("ce-id", b"gone"),)),
        Outgoing(topic, b"k", b""),
    ]
    positions = [await world.log.publish(one) for one in sent]
    async with world.log.consumer(topic, "g") as consumer:
        got = await take(consumer, 3)
    for through in (got, await all_of(world.log.read(topic))):
        assert [(one.key, one.value, one.headers) for one in through] == [
            (one.key, one.value, one.headers) for one in sent
        ]
        assert [one.position for one in through] == positions
    assert got[0].at > 1_700_000_000
    assert got[0].at <= got[2].at


@pytest.mark.parametrize("size", [1_000_000, MAX_RECORD_BYTES - 1])
async def test_large_records_pass(world: World, size: int) -> None:
    topic = await world.topic()
    value = bytes(size)
    await world.log.publish_many([Outgoing(topic, b"k", value), change(topic, "k", "after")])
    async with world.log.consumer(topic, "g") as consumer:
        got = await take(consumer, 2)
    assert [len(one.value or b"") for one in got] == [size, 5]


async def test_what_is_too_large_is_refused_and_hinders_nothing(world: World) -> None:
    topic = await world.topic()
    with pytest.raises(StoreError) as caught:
        await world.log.publish(Outgoing(topic, b"k", bytes(MAX_RECORD_BYTES)))
    assert caught.value.key == "federation.log-too-large"
    await world.log.publish(change(topic, "k", "small"))
    assert values(await all_of(world.log.read(topic))) == ["small"]


async def test_what_was_not_committed_comes_again(world: World) -> None:
    topic = await world.topic()
    await world.log.publish_many([change(topic, "k", str(number)) for number in range(10)])
    async with world.log.consumer(topic, "g") as consumer:
        got = await take(consumer, 10, commit=False)
        assert await consumer.commit([got[3].position])
    async with world.log.consumer(topic, "g") as consumer:
        assert values(await take(consumer, 6)) == [str(number) for number in range(4, 10)]
        await world.log.publish(change(topic, "k", "next"))
        assert values(await take(consumer, 1)) == ["next"]


async def test_groups_are_independent(world: World) -> None:
    topic = await world.topic()
    await world.log.publish(change(topic, "k", "before"))
    async with world.log.consumer(topic, "one") as one, world.log.consumer(topic, "two") as two:
        assert values(await take(one, 1)) == values(await take(two, 1)) == ["before"]


async def test_a_group_may_begin_at_what_comes(world: World) -> None:
    topic = await world.topic()
    await world.log.publish(change(topic, "k", "before"))
    async with world.log.consumer(topic, "g", earliest=False) as consumer:
        waiting = asyncio.create_task(take(consumer, 1))
        # It begins at some instant after it was asked for; what is published until then is not its own.
        for number in range(200):
            await world.log.publish(change(topic, "k", str(number)))
            if (await asyncio.wait([waiting], timeout=0.05))[0]:
                break
        got = values(await waiting)
    assert got
    assert "before" not in got


async def test_a_member_that_is_killed_loses_nothing(world: World) -> None:
    topic = await world.topic()
    await world.log.publish_many([change(topic, "k", str(number)) for number in range(5)])
    async with world.member(topic) as member:
        assert await member.takes() == ["0", "1", "2", "3", "4"]
        member.signal(signal.SIGKILL)
        await member.process.wait()
    async with world.log.consumer(topic, "g") as consumer:
        assert values(await take(consumer, 5)) == ["0", "1", "2", "3", "4"]


async def test_a_member_that_was_frozen_cannot_commit_what_another_took_over(world: World) -> None:
    topic = await world.topic()
    await world.log.publish(change(topic, "k", "first"))
    async with world.member(topic) as member:
        assert await member.takes() == ["first"]
        member.signal(signal.SIGSTOP)
        async with world.log.consumer(topic, "g") as consumer:
            assert values(await take(consumer, 1, commit=False)) == ["first"]
            member.signal(signal.SIGCONT)
            assert await member.commits() is False
            assert sum(one.events for one in await world.log.lag(topic, "g")) == 1


async def test_two_members_share_and_one_takes_over(world: World) -> None:
    topic = await world.topic(partitions=4)
    taken: dict[str, list[Record]] = {"one": [], "two": []}
    both_log = await world.another()

    async def work(name: str, consumer: LogConsumer) -> None:
        async for batch in consumer:
            assert await consumer.commit(batch.ends)
            taken[name] += batch.records

    async def publish_until(enough: int) -> None:
        """Until the second has so many, and the first some, each key in turn."""
        number = 0
        async with asyncio.timeout(15):
            while len(taken["two"]) < enough or not taken["one"]:
                await world.log.publish_many(
                    [change(topic, f"k{key}", f"{number}-{key}") for key in range(16)]
                )
                sent.extend(f"{number}-{key}" for key in range(16))
                number += 1
                await asyncio.sleep(0.02)

    sent: list[str] = []
    async with world.log.consumer(topic, "g") as one:
        first = asyncio.create_task(work("one", one))
        async with both_log.consumer(topic, "g") as two:
            second = asyncio.create_task(work("two", two))
            await publish_until(60)
            await until(lambda: len(taken["one"]) + len(taken["two"]) >= len(sent), seconds=15)
            second.cancel()
            await asyncio.wait([second])
        sent_before = len(sent)
        await world.log.publish_many([change(topic, f"k{key}", f"late-{key}") for key in range(16)])
        sent.extend(f"late-{key}" for key in range(16))
        await until(lambda: {f"late-{key}" for key in range(16)} <= set(values(taken["one"])), seconds=15)
        first.cancel()
        await asyncio.wait([first])
    assert len(taken["one"]) > 16
    assert set(values(taken["one"])) | set(values(taken["two"])) == set(sent)
    # Orderly changes of hands deliver nothing twice, and every key in its order at each member.
    assert len(taken["one"]) + len(taken["two"]) == sent_before + 16
    for records in taken.values():
        for key in range(16):
            turns = [
                int(one.split("-")[0])
                for one in values(records)
                if one[0].isdigit() and one.endswith(f"-{key}")
            ]
            assert turns == sorted(turns)


async def test_a_partition_changes_hands_between_two_batches(world: World) -> None:
    topic = await world.topic(partitions=2)
    await world.log.publish_many([change(topic, f"k{number}", str(number)) for number in range(20)])
    other_log = await world.another()
    async with world.log.consumer(topic, "g") as one, other_log.consumer(topic, "g") as two:
        in_hand = await take(one, 20, commit=False)
        assert len(in_hand) == 20
        joining = asyncio.create_task(anext(two))
        # Longer than a rebalance takes where nobody is waited for, on a busy machine too.
        assert not (await asyncio.wait([joining], timeout=3.0))[0]
        assert await one.commit([record.position for record in reversed(in_hand)])
        working = asyncio.create_task(anext(one))
        await world.log.publish_many([change(topic, f"k{number}", f"new{number}") for number in range(20)])
        async with asyncio.timeout(15):
            batches = [await joining, await working]
        assert all(value.startswith("new") for batch in batches for value in values(list(batch.records)))
        assert {batch.records[0].position.partition for batch in batches} == {0, 1}


async def test_a_cancelled_wait_loses_nothing(world: World) -> None:
    topic = await world.topic(partitions=2)
    got: list[Record] = []
    async with world.log.consumer(topic, "g") as consumer:
        for number in range(40):
            await world.log.publish(change(topic, f"k{number % 5}", str(number)))
            try:
                async with asyncio.timeout(0.001 * (number % 12)):
                    got += (await anext(consumer)).records
            except TimeoutError:
                pass
        got += await take(consumer, 40 - len(got)) if len(got) < 40 else []
    assert sorted(map(int, values(got))) == list(range(40))


async def test_lag_tells_what_is_not_committed(world: World) -> None:
    topic = await world.topic(partitions=2)
    assert [(one.partition, one.events, one.seconds) for one in await world.log.lag(topic, "g")] == [
        (0, 0, 0),
        (1, 0, 0),
    ]
    await world.log.publish_many([change(topic, f"k{number}", str(number)) for number in range(20)])
    assert sum(one.events for one in await world.log.lag(topic, "g")) == 20

    async def ages() -> bool:
        return all(one.seconds > 0.3 for one in await world.log.lag(topic, "g"))

    await until(ages)
    async with world.log.consumer(topic, "g") as consumer:
        got = await take(consumer, 20, commit=False)
        assert sum(one.events for one in await world.log.lag(topic, "g")) == 20
        first = next(record.position for record in got if record.position.partition == 0)
        assert await consumer.commit([first])
        assert sum(one.events for one in await world.log.lag(topic, "g")) == 19
        assert await consumer.commit([record.position for record in got])
        lags = await world.log.lag(topic, "g")
        assert [(one.events, one.seconds) for one in lags] == [(0, 0), (0, 0)]


async def test_reading_without_a_group(world: World) -> None:
    topic = await world.topic(partitions=2)
    assert await all_of(world.log.read(topic)) == []
    sent = await world.log.publish_many([change(topic, f"k{number}", str(number)) for number in range(250)])
    everything = await all_of(world.log.read(topic))
    assert sorted(map(int, values(everything))) == list(range(250))
    ends = {one.partition: one for one in sent[:200]}
    rest = await all_of(world.log.read(topic, after=list(ends.values())))
    assert {int(one) for one in values(rest)} >= set(range(200, 250))
    assert len(rest) == 50
    assert (
        await all_of(world.log.read(topic, after=[{one.partition: one for one in sent}[n] for n in (0, 1)]))
        == []
    )


async def test_a_compacted_topic_keeps_the_last_of_each_key(world: World) -> None:
    topic = await world.topic(compacted=True)
    for turn in range(3):
        await world.log.publish_many([change(topic, f"k{key}", f"{key}:{turn}") for key in range(10)])
    await world.log.publish(change(topic, "k0", None))
    got = await all_of(world.log.read(topic))
    last = {record.key: record.value for record in got}
    assert last == {b"k0": None} | {f"k{key}".encode(): f"{key}:2".encode() for key in range(1, 10)}
    if world.kind != "kafka":  # which compacts when it sees fit
        assert len(got) == 10
    async with world.log.consumer(topic, "g") as consumer:
        seen = await take(consumer, 10)
    assert {record.key: record.value for record in seen} == last


async def test_compaction_under_a_reader_hides_no_last_record(world: World) -> None:
    topic = await world.topic(compacted=True)
    await world.log.publish_many([change(topic, key, "old") for key in ("a", "b")])
    async with world.log.consumer(topic, "g") as consumer:
        assert len(await take(consumer, 2, commit=False)) == 2
        await world.log.publish_many([change(topic, "a", "new")])
    async with world.log.consumer(topic, "g") as consumer:
        got = await take(consumer, 2 if world.kind != "kafka" else 3)
        assert {record.key: record.value for record in got} == {b"a": b"new", b"b": b"old"}
    assert sum(one.events for one in await world.log.lag(topic, "g")) == 0


async def test_topics_are_made_once_and_checked(world: World) -> None:
    name = await world.topic(partitions=2, retention_seconds=3600)
    await (await world.another()).ensure_topic(Topic(name, 2, retention_seconds=3600))
    assert name in await world.log.topics()
    for wrong in (
        Topic(name, 3, retention_seconds=3600),
        Topic(name, 2, compacted=True, retention_seconds=3600),
        Topic(name, 2, retention_seconds=7200),
    ):
        with pytest.raises(ConfigurationError) as caught:
            await world.log.ensure_topic(wrong)
        assert caught.value.key == "config.log-topic"
        assert caught.value.params["topic"] == name
        assert caught.value.params["expected"] != caught.value.params["found"]


async def test_many_nodes_make_a_topic_at_once(world: World) -> None:
    topic = Topic(f"{world.prefix}-race", 2)
    await asyncio.gather(*(world.log.ensure_topic(topic) for _ in range(4)))
    assert f"{world.prefix}-race" in await world.log.topics()


async def test_a_topic_that_is_dropped_is_gone_with_all_it_held(world: World) -> None:
    topic = await world.topic(compacted=True)
    await world.log.publish(change(topic, "k"))
    await world.log.drop_topic(topic)
    await world.log.drop_topic(topic)

    async def gone() -> bool:
        return topic not in await world.log.topics()

    await until(gone)
    await world.log.ensure_topic(Topic(topic, 2))
    assert await all_of(world.log.read(topic)) == []
    await world.log.publish(change(topic, "k", "anew"))
    assert values(await all_of(world.log.read(topic))) == ["anew"]


@pytest.mark.parametrize("call", ["publish", "consume", "read", "lag"])
async def test_a_topic_that_is_not_there_is_named(world: World, call: str) -> None:
    name = f"{world.prefix}-none"
    async with world.log.consumer(name, "g") as consumer:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "publish": lambda: world.log.publish(change(name, "k")),
            "consume": lambda: take(consumer, 1),
            "read": lambda: all_of(world.log.read(name)),
            "lag": lambda: world.log.lag(name, "g"),
        }
        with pytest.raises(StoreError) as caught:
            await calls[call]()
    assert (caught.value.key, caught.value.params) == ("federation.log-topic", {"topic": name})


@pytest.mark.parametrize("name", ["", "a b", "{a}", "a/b", "é", "x" * 201])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        Topic(name)


async def test_what_is_past_its_retention_goes(world: World) -> None:
    lasting = await world.topic(retention_seconds=3600)
    await world.log.publish(change(lasting, "k"))
    await world.log.tidy()
    assert len(await all_of(world.log.read(lasting))) == 1
    if world.kind == "kafka":
        return  # it removes whole segments by itself, minutes later
    plain = await world.topic(retention_seconds=1)
    compacted = await world.topic(compacted=True, retention_seconds=1)
    await world.log.publish_many(
        [change(plain, "k"), change(compacted, "gone", None), change(compacted, "kept")]
    )
    assert len(await all_of(world.log.read(plain))) == 1
    assert len(await all_of(world.log.read(compacted))) == 2

    async def only_the_kept_one() -> bool:
        await world.log.tidy()
        left = [one for topic in (plain, compacted) for one in await all_of(world.log.read(topic))]
        return [one.key for one in left] == [b"kept"]

    await until(only_the_kept_one)
