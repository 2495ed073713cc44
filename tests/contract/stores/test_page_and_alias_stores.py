"""What the stores of page states and of aliases must do: run on the fakes and on the real ones."""

from __future__ import annotations

from tests.contract.stores.conftest import Stores
from tests.support.waiting import until


async def test_page_states_come_back_as_they_were(stores: Stores) -> None:
    blob = bytes(range(256))
    await stores.cursors.save({"k1": blob, "k3": b"beside"}, seconds=60)
    assert await stores.cursors.load("k1") == blob
    assert await stores.cursors.load("k3") == b"beside"
    assert await stores.cursors.load("k2") is None


async def test_a_page_state_is_replaced(stores: Stores) -> None:
    await stores.cursors.save({"k": b"one"}, seconds=60)
    await stores.cursors.save({"k": b"two"}, seconds=60)
    assert await stores.cursors.load("k") == b"two"


async def test_a_page_state_expires(stores: Stores) -> None:
    await stores.cursors.save({"short": b"x"}, seconds=1)
    await stores.cursors.save({"long": b"y"}, seconds=60)
    stores.advance(2)

    async def gone() -> bool:
        return await stores.cursors.load("short") is None

    await until(gone)
    assert await stores.cursors.load("long") == b"y"


async def test_aliases_are_kept(stores: Stores) -> None:
    await stores.aliases.remember({})
    await stores.aliases.remember({"bre.a1": "x" * 64, "bre.b2": "é.1"})
    await stores.aliases.remember({"bre.c3": "other"})
    assert await stores.aliases.resolve("bre.a1") == "x" * 64
    assert await stores.aliases.resolve("bre.b2") == "é.1"
    assert await stores.aliases.resolve("bre.c3") == "other"
    assert await stores.aliases.resolve("bre.none") is None
