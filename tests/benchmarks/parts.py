"""The parts of the suite, in the order in which they run. What a part needs is loaded when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.commands.terminal import run
from tests.benchmarks.comparing import Effort, OnCase


@dataclass(frozen=True, slots=True)
class Part:
    """`profiled`: py-spy can look at it."""

    about: str
    measured: Callable[[Effort, OnCase], Any]
    profiled: bool = False


def _sized(effort: Effort, full: int, quick: int, smoke: int) -> int:
    if effort.smoke:
        return smoke
    return full if effort.is_full else quick


def _merge(effort: Effort, _: OnCase) -> Any:
    from tests.benchmarks import bench_merge

    return bench_merge.run(_sized(effort, 200, 60, 2))


def _search(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_search

    return run(bench_search.run(effort, on_case))


def _located(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_located

    return run(bench_located.run(effort, on_case))


def _read(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_read

    return run(bench_read.run(effort, on_case))


def _write(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_write

    return run(bench_write.run(effort, on_case))


def _managers(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_managers

    return run(bench_managers.run(effort, on_case))


def _workers(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_workers

    return run(bench_workers.run(effort, on_case))


def _tails(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_tails

    return run(bench_tails.run(effort, on_case))


def _idle(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_idle

    return run(bench_idle.run(effort, on_case))


def _steps(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_steps

    return run(bench_steps.run(effort, on_case))


def _memory(effort: Effort, _: OnCase) -> Any:
    from tests.benchmarks import bench_locator_memory

    whole = bench_locator_memory.CIRCLES
    return bench_locator_memory.run(_sized(effort, whole, whole // 10, 500))


def _crawl(effort: Effort, _: OnCase) -> Any:
    from tests.benchmarks import bench_crawl

    whole = bench_crawl.CIRCLES
    return bench_crawl.run(_sized(effort, whole, whole // 5, 500))


def _publish(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_publish

    return run(bench_publish.run(effort, on_case))


def _agent(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_agent
    from tests.support.kafka_server import KafkaUnavailable

    whole = bench_agent.CIRCLES
    circles = _sized(effort, whole, whole // 5, 10)
    try:
        return bench_agent.run(circles, kafka=not effort.smoke)
    except KafkaUnavailable as error:
        on_case(f"on Valkey: {error}")
        return bench_agent.run(circles)


def _sync(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_sync

    if effort.smoke:
        return run(bench_sync.run(bench_sync.SMOKE, on_case, journey=False))
    return run(bench_sync.run(bench_sync.FULL if effort.is_full else bench_sync.QUICK, on_case))


def _access(effort: Effort, on_case: OnCase) -> Any:
    from tests.benchmarks import bench_access

    return run(bench_access.run(effort, on_case))


PARTS: Mapping[str, Part] = {
    "merge": Part("reading, merging and writing 577 KB, over orjson loads + dumps", _merge),
    "search": Part("a search of 13 managers, over a bare fan-out", _search, profiled=True),
    "located": Part(
        "a search whose holder is known, over a bare proxy of one request", _located, profiled=True
    ),
    "read": Part("a read by id, over a bare proxy of one request", _read, profiled=True),
    "write": Part("a circle created, and updated, over a bare proxy", _write, profiled=True),
    "managers": Part("13, 50, 100 managers: CPU for each asked; the deadline with a slow one", _managers),
    "workers": Part("one worker and two: throughput; round trips to Redis", _workers),
    "tails": Part("1 % and 10 % slow answers, one of 13 hung: p99 over healthy", _tails),
    "idle": Part("memory of an idle worker", _idle),
    "steps": Part("the longest step of the loop, with what is large", _steps),
    "locator-memory": Part("memory and speed of the locator's index", _memory),
    "crawl": Part("crawling one manager into the index", _crawl),
    "publish": Part("a change from the outbox to the log, over a bare publisher", _publish),
    "agent": Part("the agent on a full topic, over a bare consumer that writes", _agent),
    "sync": Part("what publishing adds to a write, and how long a change travels; needs Kafka", _sync),
    "access": Part("who asks, may they, and the trace of it, over an open broker", _access, profiled=True),
}
"""By the name of their field in the report, with `-` for `_`."""
