"""The checks with a manager that hangs: the answer comes in time, names it, and is otherwise whole.

They run in this order, after all the others: hanging, still hanging, back.
"""

from __future__ import annotations

import asyncio
from typing import Any

from broker.commands.demo_cast import REPLICATED
from broker.commands.demo_held import circles, ins_of_subject, newest_first
from broker.commands.demo_probe import Probe, expect, expect_same, ids, issue_reasons, reasons

_MARGIN = 0.5  # seconds over the deadline that a busy machine may take to hand an answer over
_QUICK = 1.0
_PATIENCE = 15.0
_NAMED = ("manager.timeout", "manager.breaker-open")


async def hanging(probe: Probe) -> str:
    home = probe.demo.managers[0]
    home.hang()
    answer = await probe.send("GET", "/fhir/CareTeam", query=[("_count", "200")])
    deadline = probe.demo.settings.search_deadline
    expect(answer.seconds <= deadline + _MARGIN, f"{answer.seconds:.1f} s, the deadline is {deadline:.0f} s")
    expect_same(answer.status, 200, "status")
    expect_same(ids(answer.json), newest_first(circles(probe.held, without=home.slug)), "the other regions")
    expect(_names(answer.json, home.slug), "the region that hangs is not named")
    return f"{home.slug} hangs: {answer.seconds:.1f} s (deadline {deadline:.0f} s), the others whole, it is named"


async def replica_shown(probe: Probe) -> str:
    home, keeper = probe.demo.managers[0], probe.demo.managers[-1]
    ins = ins_of_subject(probe.held[home.slug], REPLICATED)
    bundle = await probe.search("CareTeam", ("patient.identifier", ins))
    expect_same(ids(bundle), [f"{keeper.slug}.{home.slug}-{REPLICATED}"], "the replica")
    expect(("merge.replica-shown", "") in reasons(bundle), "it is not said to be a replica")
    expect(_names(bundle, home.slug), "its home is not named")
    return f"the replica at {keeper.slug} is shown, and said to be one"


async def partial_refused(probe: Probe) -> str:
    home = probe.demo.managers[0].slug
    answer = await probe.send("GET", "/fhir/CareTeam", headers={"Prefer": "partial=deny"})
    expect_same((answer.status, answer.json["resourceType"]), (503, "OperationOutcome"), "partial=deny")
    expect(any(slug == home for _, slug in issue_reasons(answer.json)), "the region is not named")
    return "a client that takes nothing partial gets 503, and why"


async def breaker_open(probe: Probe) -> str:
    """Once it is known to hang it costs nobody anything."""
    home = probe.demo.managers[0].slug
    async with asyncio.timeout(_PATIENCE):
        while True:
            answer = await probe.send("GET", "/fhir/CareTeam")
            if ("manager.breaker-open", home) in reasons(answer.json):
                break
    expect(answer.seconds <= _QUICK, f"{answer.seconds:.1f} s with its breaker open")
    return f"{answer.seconds * 1000:.0f} ms with its breaker open"


async def back(probe: Probe) -> str:
    home = probe.demo.managers[0]
    began = probe.clock.monotonic()
    home.go_on()
    expected = newest_first(circles(probe.held))
    async with asyncio.timeout(_PATIENCE):
        while True:
            answer = await probe.send("GET", "/fhir/CareTeam", query=[("_count", "200")])
            if ids(answer.json) == expected and not reasons(answer.json):
                return f"whole again after {probe.clock.monotonic() - began:.1f} s"
            await probe.clock.sleep(0.1)


def _names(bundle: Any, slug: str) -> bool:
    return any((reason, slug) in reasons(bundle) for reason in _NAMED)
