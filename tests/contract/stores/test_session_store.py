"""What the store of the console's sessions must do: run on the fake and on the real ones."""

from __future__ import annotations

from tests.contract.stores.conftest import Stores
from tests.support.waiting import until


async def test_a_session_is_there_until_it_is_removed(stores: Stores) -> None:
    blob = bytes(range(256))
    await stores.sessions.save("k1", blob, seconds=60)
    assert await stores.sessions.load("k1") == blob
    assert await stores.sessions.load("k2") is None
    await stores.sessions.remove("k1")
    await stores.sessions.remove("k1")
    assert await stores.sessions.load("k1") is None


async def test_one_that_is_gone_does_not_come_back(stores: Stores) -> None:
    await stores.sessions.save("k", b"one", seconds=60)
    assert await stores.sessions.replace("k", b"two")
    assert await stores.sessions.load("k") == b"two"
    await stores.sessions.remove("k")
    assert not await stores.sessions.replace("k", b"three")
    await stores.sessions.touch("k", seconds=60)
    assert await stores.sessions.load("k") is None


async def test_it_lives_for_as_long_as_it_is_touched_and_no_longer_for_being_replaced(stores: Stores) -> None:
    for name in ("touched", "replaced"):
        await stores.sessions.save(name, b"x", seconds=1)
    await stores.sessions.touch("touched", seconds=60)
    assert await stores.sessions.replace("replaced", b"y")
    stores.advance(2)

    async def gone() -> bool:
        return await stores.sessions.load("replaced") is None

    await until(gone)
    assert await stores.sessions.load("touched") == b"x"
