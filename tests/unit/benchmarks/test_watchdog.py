"""The watch over a loop."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from tests.benchmarks.watchdog import Watchdog, Watched, _OwnTime


async def busy(seconds: float) -> str:
    """Computes for so long in one step, by its own time."""
    await asyncio.sleep(0)
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(100))
    return "done"


async def watched(*seconds: float) -> Watched:
    dog = Watchdog()
    dog.start()
    assert await asyncio.gather(*map(busy, seconds)) == ["done"] * len(seconds)
    return dog.told()


async def test_the_longest_step_is_named() -> None:
    found = await watched(0.001, 0.060, 0.002)
    assert found.step_ms >= 55
    assert found.step == "busy"
    assert found.over_20 >= 1
    assert found.turn_ms >= found.step_ms


async def test_where_it_was_is_seen() -> None:
    found = await watched(0.150)
    assert any("test_watchdog.busy" in where for where in found.running)
    assert "test_watchdog.busy" in found.told


async def test_steps_are_not_added_up() -> None:
    gc.collect()
    found = await watched(*[0.012] * 6)
    assert found.turn_ms >= 60  # all of them in one turn of the loop
    assert found.over_10 >= 6
    assert found.steps >= 12


async def test_what_a_task_raises_and_its_end_are_what_they_are_without() -> None:
    dog = Watchdog()
    dog.start()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await asyncio.create_task(fails())
    sleeping = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.create_task(asyncio.sleep(60))
    assert dog.told().steps > 0


async def test_nothing_is_left_behind() -> None:
    loop, callbacks = asyncio.get_running_loop(), [*gc.callbacks]
    before = loop.get_task_factory()
    await watched(0.001)
    assert loop.get_task_factory() is before
    assert gc.callbacks == callbacks


async def test_it_can_be_started_anew() -> None:
    dog = Watchdog()
    dog.start()
    await asyncio.create_task(busy(0.030))
    dog.start()
    await asyncio.create_task(asyncio.sleep(0))
    assert dog.told().steps < 5


def test_without_the_kernel_s_count_it_is_cpu_time() -> None:
    own = _OwnTime(None)
    mark = own.mark()
    time.sleep(0.05)
    assert own.own(mark) < 0.02
    assert own.method == "cpu time"


def test_waiting_for_a_processor_does_not_count() -> None:
    own = _OwnTime.of_this_thread()
    if own.method != "schedstat":
        pytest.skip("this kernel does not count it")
    at, waited = own.mark()
    assert own.own((at - 0.05, waited - 0.03)) == pytest.approx(0.02, abs=0.005)
    own.close()
