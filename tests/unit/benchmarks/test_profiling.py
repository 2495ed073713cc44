"""What becomes of py-spy's samples."""

from __future__ import annotations

from tests.benchmarks.profiling import by_room, collapsed, self_times, slug, speedscope, table_of

RAW = """\
MainThread;run (asyncio/runners.py:118);search (/cds/broker/federation/search.py:97);merge (/cds/broker/core/merge.py:12) 6
MainThread;run (asyncio/runners.py:118);search (/cds/broker/federation/search.py:99) 3
MainThread;run (asyncio/runners.py:118);loads (/v/lib/python3.11/site-packages/orjson/__init__.py:1) 1
MainThread;run (asyncio/runners.py:118);epoll_pwait (libc.so.6) 40
ThreadPoolExecutor-0_0;_bootstrap (threading.py:1002);_worker (concurrent/futures/thread.py:81);0x7f (libc.so.6) 30
not a line of it
"""


def test_a_function_is_one_frame_whichever_line_it_is_in() -> None:
    stacks = collapsed(RAW)
    assert sum(stacks.values()) == 10
    assert ("MainThread", "run (asyncio/runners.py)", "search (broker/federation/search.py)") in stacks
    assert any(stack[-1] == "loads (orjson/__init__.py)" for stack in stacks)


def test_self_time_comes_first_and_what_is_called_counts_apart() -> None:
    rows = self_times(collapsed(RAW))
    assert rows[0] == ("merge (broker/core/merge.py)", 0.6, 0.6)
    assert rows[1] == ("search (broker/federation/search.py)", 0.3, 0.9)
    assert len(self_times(collapsed(RAW), rows=2)) == 2
    assert " 60.0%  60.0%  merge (broker/core/merge.py)" in table_of(collapsed(RAW))


def test_the_time_of_a_room_is_that_of_what_it_calls_in_small_libraries() -> None:
    assert by_room(collapsed(RAW)) == [("broker/core", 0.6), ("broker/federation", 0.3), ("asyncio", 0.1)]
    called = "MainThread;load (registry/redis_store.py:1);fromisoformat (lib/python3.11/datetime.py:3) 1"
    assert by_room(collapsed(f"{called}\nidle (<frozen>:1) 1")) == [("registry", 0.5), ("elsewhere", 0.5)]
    assert " 60.0%  broker/core" in table_of(collapsed(RAW))


def test_a_speedscope_file_has_each_frame_once() -> None:
    made = speedscope("read", collapsed(RAW))
    (profile,) = made["profiles"]
    names = [one["name"] for one in made["shared"]["frames"]]
    assert len(names) == len({*names}) == 5
    assert sum(profile["weights"]) == profile["endValue"] == 10
    assert {number for sample in profile["samples"] for number in sample} == {*range(5)}


def test_nothing_was_seen() -> None:
    assert self_times(collapsed("")) == []
    assert speedscope("read", collapsed(""))["profiles"][0]["samples"] == []


def test_a_case_gives_a_name_of_a_file() -> None:
    assert slug("search, 13 managers × 1 circle-16") == "search-13-managers-1-circle-16"
