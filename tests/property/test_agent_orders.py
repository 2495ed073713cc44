"""Whatever the order in which events come, and however often, the manager ends with the last state of each circle.

The real applier over HTTP to a sandbox; the model is one line: of each circle the event with the highest number counts.
It holds too at a manager that knows no conditions (If-None-Exist, If-Match), as long as nobody else writes there.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from broker.core.event_content import read_event
from broker.ports import ManagerAnswer, ManagerClient, ManagerRequest
from broker.sync.agent_apply import EventApplier
from broker.sync.agent_manager import AgentManager
from broker.sync.agent_memory import ActorMemory
from broker.sync.agent_removed import Removed
from broker.sync.change_log import Outgoing
from registry.model import Gestionnaire
from tests.support.examples import examples
from tests.support.replication import Home

CIRCLES = 3


class NoLog:
    """What is removed is remembered by the one agent that there is, or by nobody."""

    async def publish(self, record: Outgoing) -> None:
        return None


@dataclass(frozen=True)
class Unconditional:
    """Managers without conditional interactions, which are optional in FHIR."""

    client: ManagerClient

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        headers = {name: value for name, value in request.headers.items() if not name.startswith("If-")}
        plain = msgspec.structs.replace(request, headers=headers)
        return await self.client.send(manager, plain, timeout=timeout)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, CIRCLES - 1), st.sampled_from(["changed", "changed", "changed", "deleted"])),
        max_size=8,
    ),
    seed=st.integers(0, 2**32),
    lanes=st.integers(1, 4),
    deletes=st.booleans(),
    small=st.booleans(),
    conditions=st.booleans(),
)
@settings(max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck))
def test_the_end_is_the_same_whatever_the_order(
    steps: list[tuple[int, str]], seed: int, lanes: int, deletes: bool, small: bool, conditions: bool
) -> None:
    home = Home(shared=2)
    records = [home.created(number) for number in range(CIRCLES)]
    for number, what in steps:
        if number not in home.gone:
            records.append(home.deleted(number) if what == "deleted" else home.changed(number))
    dice = random.Random(seed)
    told = records + dice.sample(records, dice.randrange(len(records) + 1))
    dice.shuffle(told)
    asyncio.run(_applied(home, told, lanes, deletes, small, conditions))


async def _applied(
    home: Home, told: list[Outgoing], lanes: int, deletes: bool, small: bool, conditions: bool
) -> None:
    clock = SystemClock()
    async with running_sandbox(options=SandboxOptions(allow_delete=deletes)) as box:
        http = HttpManagerClient(clock)
        client: ManagerClient = http if conditions else Unconditional(http)
        try:
            manager = AgentManager(Gestionnaire("occ", "Occitanie", "76", box.base_url), client, clock)
            memory = ActorMemory(clock, size=1 if small else 1000)
            applier = EventApplier("occ", manager, memory, Removed(NoLog(), "occ"), clock)  # type: ignore[arg-type]  # of a log it needs no more

            async def lane(mine: list[Outgoing]) -> None:
                for one in mine:
                    await applier(read_event(one.key, one.value, one.headers))

            by_lane: list[list[Outgoing]] = [[] for _ in range(lanes)]
            for one in told:  # events of one circle stay in one lane, as in the agent
                by_lane[sum(one.key) % lanes].append(one)
            await asyncio.gather(*(lane(mine) for mine in by_lane))
        finally:
            await http.aclose()
        assert home.differences(box.store) == []
