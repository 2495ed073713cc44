"""The registry in memory: kept fresh, and kept when the store is gone."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from broker.federation.managers import ManagersView
from tests.support.fake_stores import FakeGestionnaireStore, ManualClock
from tests.support.gestionnaires import gestionnaire
from tests.support.waiting import until


class DeafStore(FakeGestionnaireStore):
    """A store whose notifications are all lost."""

    async def changes(self) -> AsyncGenerator[None]:
        await asyncio.Event().wait()
        yield


@asynccontextmanager
async def running(view: ManagersView) -> AsyncIterator[ManagersView]:
    task = asyncio.create_task(view.run())
    try:
        yield view
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def slugs(view: ManagersView) -> list[str]:
    return [one.gestionnaire.id for one in view.all()]


def stale(view: ManagersView) -> dt.datetime | None:
    return view.stale_since


async def test_it_knows_nobody_before_the_first_read() -> None:
    store = FakeGestionnaireStore()
    await store.put(gestionnaire())
    view = ManagersView(store, ManualClock())
    assert slugs(view) == []
    assert stale(view) == ManualClock().now()
    assert await view.refresh() is True
    assert slugs(view) == ["bre"]
    assert stale(view) is None
    assert view.get("bre") is view.all()[0]
    assert view.get("pdl") is None


async def test_it_follows_changes() -> None:
    store = FakeGestionnaireStore()
    async with running(ManagersView(store, ManualClock())) as view:
        await store.put(gestionnaire("bre"))
        await until(lambda: slugs(view) == ["bre"])
        await store.put(gestionnaire("aaa"))
        await until(lambda: slugs(view) == ["aaa", "bre"])
        await store.remove("bre")
        await until(lambda: slugs(view) == ["aaa"])


async def test_lost_notifications_are_made_up_for() -> None:
    clock = ManualClock()
    store = DeafStore()
    async with running(ManagersView(store, clock, refresh_seconds=30)) as view:
        await store.put(gestionnaire())
        await until(lambda: clock.waiting == 1)
        clock.advance(29)
        for _ in range(10):
            await asyncio.sleep(0)
        assert slugs(view) == []
        clock.advance(1)
        await until(lambda: slugs(view) == ["bre"])


async def test_the_last_snapshot_is_kept_while_the_store_is_down() -> None:
    clock = ManualClock()
    store = FakeGestionnaireStore()
    await store.put(gestionnaire())
    view = ManagersView(store, clock)
    await view.refresh()
    store.down = True
    down_at = clock.now()
    assert await view.refresh() is False
    clock.advance(60)
    assert await view.refresh() is False
    assert slugs(view) == ["bre"]
    assert stale(view) == down_at
    store.down = False
    assert await view.refresh() is True
    assert stale(view) is None


async def test_it_recovers_by_itself_when_the_store_comes_back() -> None:
    store = FakeGestionnaireStore()
    async with running(ManagersView(store, ManualClock())) as view:
        await until(lambda: stale(view) is None)
        store.down = True
        await view.refresh()
        assert stale(view) is not None
        store.down = False
        await until(lambda: stale(view) is None)


async def test_an_older_read_never_replaces_a_newer_one() -> None:
    class SlowFirst(FakeGestionnaireStore):
        reads = 0

        async def all(self):  # type: ignore[no-untyped-def]
            self.reads += 1
            first = self.reads == 1
            found = await super().all()
            if first:
                await asyncio.sleep(0.05)
            return found

    store = SlowFirst()
    view = ManagersView(store, ManualClock())
    slow = asyncio.create_task(view.refresh())
    await until(lambda: store.reads == 1)
    quick = asyncio.create_task(view.refresh())
    await FakeGestionnaireStore.put(store, gestionnaire())
    await asyncio.gather(slow, quick)
    assert slugs(view) == ["bre"]
