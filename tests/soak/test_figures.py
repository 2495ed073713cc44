"""What judges a long run finds what it is to find: growth among jumps, drift, descriptors by kind."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.support.long_run import figures, plan, report
from tests.support.long_run.book import Book
from tests.support.long_run.faults import FAULTS
from tests.support.long_run.figures import Drift, Growth
from tests.support.long_run.people import Known
from tests.support.long_run.processes import Held, Usage, descendants, held
from tests.support.long_run.run import LongRun
from tests.support.long_run.site import Site
from tests.support.waiting import until
from tests.support.write_world import new_person

MB = 1e6


def memory(*, a_minute: float = 0.0, minutes: int = 20, seed: int = 3) -> list[tuple[float, float]]:
    """120 MB and what it grows by, sampled each two seconds; a fifth of the samples jump by up to 30 MB."""
    dice = random.Random(seed)
    return [
        (
            at,
            120 * MB
            + a_minute * MB * at / 60
            + dice.gauss(0, 0.5) * MB
            + (dice.random() < 0.2) * dice.random() * 30 * MB,
        )
        for at in range(0, 60 * minutes, 2)
    ]


def test_memory_that_jumps_and_stays_is_flat() -> None:
    for seed in range(5):
        assert abs(Growth.of(memory(seed=seed)).grown) < 0.01


def test_a_leak_of_a_third_of_a_megabyte_a_minute_shows_in_twenty() -> None:
    for seed in range(5):
        found = Growth.of(memory(a_minute=0.33, seed=seed))
        assert found.grown == pytest.approx(20 * 0.33 / 120, rel=0.25)
        assert found.grown > 0.04
    assert Growth.of(memory(a_minute=0.5)).grown > 0.05


def test_a_slope_is_that_of_most_samples() -> None:
    line = [(float(at), 2.0 * at) for at in range(100)]
    spoilt = [(at, 1e6 if at % 5 == 0 else value) for at, value in line]
    assert figures.slope(line) == 2.0
    assert figures.slope(spoilt) == pytest.approx(2.0, rel=0.05)
    assert figures.slope(line[:1]) == 0.0
    assert Growth.of([]).grown == 0.0


def test_a_slope_of_many_samples_is_quick_and_the_same() -> None:
    assert figures.slope([(float(at), 3.0 * at) for at in range(5000)]) == pytest.approx(3.0)


def phases(times: list[float], count: int = 9) -> list[list[float]]:
    dice = random.Random(4)
    return [[dice.expovariate(1 / times[n * len(times) // count]) for _ in range(600)] for n in range(count)]


def test_a_p99_that_doubles_is_a_drift_and_one_bad_phase_is_none() -> None:
    same, slower = Drift.of(phases([0.01])), Drift.of(phases([0.01, 0.015, 0.02]))
    assert same is not None
    assert slower is not None
    assert same.ratio == pytest.approx(1.0, abs=0.2)
    assert slower.ratio == pytest.approx(2.0, abs=0.4)
    spoilt = phases([0.01])
    spoilt[-1] = [one * 50 for one in spoilt[-1]]
    told = Drift.of(spoilt)
    assert told is not None
    assert told.ratio == pytest.approx(1.0, abs=0.2)
    assert Drift.of(phases([0.01])[:2]) is None


def test_only_what_lies_within_one_calm_phase_counts_as_calm() -> None:
    book = Book()
    assert not book.ended("read", book.begun(), 200)
    book.calm = 0
    begun = book.begun()
    assert book.ended("read", begun, 200)
    assert book.ended("read", book.begun(), 503)
    book.calm = None
    assert not book.ended("read", begun, 503)
    book.calm = 1
    assert not book.ended("read", begun, 503)
    assert (book.calm_count, sum(book.refused_in_calm.values()), book.count) == (2, 1, 5)


def test_every_fault_comes_in_either_plan() -> None:
    short, long = plan.short(), plan.long(30)
    assert short.rounds is not None
    schedule = short.schedule()
    assert {name for _ in range(short.rounds) for name in next(schedule)} == {*FAULTS}
    rounds = long.seconds / (long.calm + long.fault + 10)
    assert rounds >= 2 * len(FAULTS)
    assert long.warm_up + long.seconds == 1800
    assert (long.most_growth, long.most_drift) == (0.05, 1.25)


def test_what_stays_open_is_found_and_what_a_pool_keeps_is_not() -> None:
    long = plan.long(30)
    before = {"file": 6, "unix socket": 90, "tasks": 40, "manager established": 100}
    assert long.beyond(before, {"file": 6 + long.slack, "unix socket": 100, "tasks": 30}) == {}
    assert long.beyond(before, {"file": 12, "tasks": 60}) == {"file": 6, "tasks": 20}
    assert long.beyond(before, {"manager close-wait": 1}) == {"manager close-wait": 1}
    assert long.beyond(before, {"manager established": 140}) == {"manager established": 40}


def a_run(*, a_minute: float = 0.0) -> LongRun:
    """One whose samples are made up; everything is as it should be but for what a test says."""
    run = LongRun(cast("Site", None), plan.long(30), "seed")
    run.exit_code = 0
    for pid in (11, 12):
        run.watch.seen[pid] = [
            (at, Held(int(rss), int(rss), 0.0, 1)) for at, rss in memory(a_minute=a_minute)
        ]
    run.book.checked.update({"located": 5, "page": 5, "read": 5, "history": 5})
    return run


def calm(run: LongRun, kind: str, *times: float) -> None:
    """Nine phases, each third with a mean of its own."""
    for number, phase in enumerate(phases([*times])):
        run.book.calm_times[kind][number] = phase
        run.book.others[number] = 0.02


def test_a_run_that_grows_or_leaks_or_lies_fails_and_says_why() -> None:
    assert report.failures(a_run()) == []
    assert [one for one in report.failures(a_run(a_minute=0.6)) if "grew by" in one]
    run = a_run()
    run.before, run.after, run.left = {"file": 5}, {"file": 15}, {"manager established": 2}
    run.book.untrue("a circle twice")
    run.exit_code = 1
    found = " / ".join(report.failures(run))
    for part in ("10 more: file", "2 left", "a circle twice", "ended with 1"):
        assert part in found
    run = a_run()
    run.watch.seen[13] = [one for one in run.watch.seen[12] if one[0] > 600]
    assert report.failures(run) == ["process 13 came or went meanwhile"]
    run = a_run()
    del run.book.checked["page"]
    assert report.failures(run) == ["page was never asked"]


def test_refusals_in_calm_phases_fail_where_there_are_more_than_a_few() -> None:
    run = a_run()
    run.book.calm_count = 10_000
    run.book.refused_in_calm["read 503"] = 3
    assert report.failures(run) == []
    run.book.refused_in_calm["read 503"] = 100
    assert [one for one in report.failures(run) if "refused while nothing was wrong" in one]


def test_drift_is_judged_against_what_managers_themselves_take_and_not_on_a_machine_of_others() -> None:
    run = a_run()
    calm(run, "located", 0.01, 0.015, 0.02)
    assert [one for one in report.failures(run) if "p99 of located" in one]
    calm(run, report.DIRECT, 0.01, 0.015, 0.02)
    assert report.failures(run) == []
    del run.book.calm_times[report.DIRECT]
    assert [one for one in report.failures(run) if "p99 of located" in one]
    assert report.judges_time(run)
    for number in range(4, 9):
        run.book.others[number] = 0.5
    assert report.failures(run) == []
    assert not report.judges_time(run)


def test_what_others_use_of_the_machine_is_not_ours() -> None:
    usage = Usage.now()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    now = Usage.now()
    assert now.ours - usage.ours >= 0.25
    assert 0.0 <= usage.others() <= 1.0


def test_a_change_is_alone_only_where_no_other_was_under_way() -> None:
    one = Known("bre.1", new_person("bre"), "x")
    with one.changing() as first:
        assert first()
        with one.changing() as second:
            assert not second()
        assert not first()
    with one.changing() as third:
        assert third()
    assert one.under_way == 0


# --- what a process holds


@contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, server.getsockname()[1]


def test_sockets_are_told_by_whom_they_are_with_and_how_they_stand() -> None:
    with listening() as (server, port):
        roles = {port: "manager"}
        before = held(os.getpid(), roles)
        assert before is not None
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = server.accept()
        now = held(os.getpid(), roles)
        assert now is not None
        assert figures.more(before.descriptors, now.descriptors) == {"manager established": 2}
        served.close()
        after = held(os.getpid(), roles)
        assert after is not None
        assert after.descriptors["manager close-wait"] == 1
        client.close()
        assert now.open == before.open + 2


def test_files_and_memory_of_a_process_are_told(tmp_path: Path) -> None:
    before = held(os.getpid(), {})
    assert before is not None
    with (tmp_path / "file").open("w"):
        filled = bytearray(os.urandom(1)) * 30_000_000
        now = held(os.getpid(), {})
        assert now is not None
        assert now.descriptors["file"] == before.descriptors.get("file", 0) + 1
        assert now.rss - before.rss == pytest.approx(len(filled), rel=0.2)
        assert now.uss - before.uss == pytest.approx(len(filled), rel=0.2)
    assert before.threads >= 1
    assert isinstance(before, Held)


def test_a_process_that_is_gone_holds_nothing() -> None:
    assert held(2**22 + 1, {}) is None


@asynccontextmanager
async def parent() -> AsyncIterator[asyncio.subprocess.Process]:
    """It starts another, which starts another."""
    sleeping = f"subprocess.run([{sys.executable!r}, '-c', 'import time; time.sleep(60)'])"
    middle = f"import subprocess; {sleeping}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"import subprocess; subprocess.run([{sys.executable!r}, '-c', {middle!r}])"
    )
    try:
        yield process
    finally:
        for pid in reversed(descendants(process.pid)):
            os.kill(pid, 9)
        await process.wait()


async def test_children_of_children_are_found() -> None:
    async with parent() as process:
        await until(lambda: len(descendants(process.pid)) == 3, seconds=20)
        assert descendants(process.pid)[0] == process.pid
