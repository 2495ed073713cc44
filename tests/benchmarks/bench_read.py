"""What a read by id costs: the circle of one manager, against a bare proxy of the same request.

Real parts, as in `bench_search`: 13 canned managers, a worker of the broker, the bare proxy of the manager that is asked.

Run with `python -m tests.benchmarks read`.
"""

from __future__ import annotations

from dataclasses import replace

import orjson

from tests.benchmarks.bench_search import _port, stage
from tests.benchmarks.children import child
from tests.benchmarks.comparing import Case, Effort, OnCase, Outcome, Side, measure
from tests.benchmarks.load import Target, closed_loop, request

LIMIT = 1.4
"""Times the CPU of a bare proxy of one request, at most."""


async def run(effort: Effort, on_case: OnCase) -> list[Outcome]:
    """Every case. `on_case` hears its name as it begins."""
    with stage(circles=1) as on:
        broker = on.broker("read", on.bases)
        bare = on.stack.enter_context(child("tests.benchmarks.bare_proxy", {"base": on.bases[0]}))
        circle = on.managers.started["circle"]

        def read(port: int, own: str) -> Target:
            return request("GET", f"/fhir/CareTeam/{own}", port)

        ours = Side("broker", broker, read(_port(broker), f"reg00.{circle}"))
        theirs = Side("bare proxy", bare, read(bare.started["port"], circle))
        answered = orjson.loads((await closed_loop(ours.target, connections=1, requests=1)).body)
        assert answered["id"] == f"reg00.{circle}", answered["id"]
        assert answered["subject"]["reference"].startswith("Patient/reg00."), answered["subject"]
        one = Case("read by id", ours, theirs, connections=1, share=4.0)
        cases = [one, replace(one, connections=16)]
        return [await measure(case, effort, on_case) for case in effort.some(cases)]


def note() -> str:
    return f"Goal: at most {LIMIT} times the CPU of a bare proxy of one request."
