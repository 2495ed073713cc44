"""Conflicts on every change log: their topic is made, and what is over leaves it."""

from __future__ import annotations

from msgspec.structs import replace

from broker.core import topics
from broker.core.conflict import reconciled
from broker.errors import StoreError
from broker.sync.change_log import Record
from broker.sync.conflict_teller import ConflictTeller
from tests.support.logs import World

PUBLIC = "https://broker.example/fhir"


async def held(world: World, topic: str) -> list[Record]:
    return [record async for batch in world.log.read(topic) for record in batch.records]


async def test_detected_and_resolved(world: World) -> None:
    teller = ConflictTeller(world.log, PUBLIC, world.prefix)
    topic = topics.conflicts(world.prefix)
    one, other = reconciled(
        [], [[("bre", "1"), ("occ", "2")], [("bre", "3"), ("idf", "4")]], 1767225600.0, lambda _: True
    )
    assert await teller.tell([one, other])
    assert topic in await world.log.topics()
    assert {record.key.decode() for record in await held(world, topic)} == {one.id, other.id}
    assert await teller.tell([replace(one, resolved=1767225601.0, sequence=one.sequence + 1)])
    last = {record.key.decode(): record for record in await held(world, topic)}
    assert last[one.id].value is None
    assert dict(last[one.id].headers)["ce_type"] == b"fr.cds-broker.conflict.resolved"
    assert b"CareTeam/bre.3" in (last[other.id].value or b"")
    assert teller.failures == 0
    await world.log.drop_topic(topic)


async def test_a_log_that_does_not_take_them_is_no_error(world: World) -> None:
    class Out:
        async def ensure_topic(self, topic: object) -> None:
            raise StoreError("federation.log")

    teller = ConflictTeller(Out(), PUBLIC, world.prefix)  # type: ignore[arg-type]  # no more is asked of it
    (one,) = reconciled([], [[("bre", "1"), ("occ", "2")]], 1767225600.0, lambda _: True)
    assert not await teller.tell([one])
    assert not await teller.tell([one])
    assert teller.failures == 2
