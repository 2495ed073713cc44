"""What becomes of an event that cannot be applied: waited for, or put away, by what stood in the way."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import cast

import pytest

from broker.core.event_content import ChangeEvent
from broker.errors import FailureKind, ManagerError, StoreError
from broker.sync.agent_health import ManagerWatch
from broker.sync.agent_worker import PATIENCE, AgentWorker, DeadEndError, Outcome
from broker.sync.change_log import Position, Record
from broker.sync.dead_letters import DeadLetters, Reason
from tests.support.fake_clock import FakeClock
from tests.support.replication import Home
from tests.support.waiting import until


@dataclass
class Letters:
    """`away`: how many times the log does not answer."""

    kept: list[tuple[str, str, int]] = field(default_factory=list)
    away: int = 0

    async def add(self, record: Record, topic: str, reason: Reason, detail: str, attempts: int) -> str:
        if self.away:
            self.away -= 1
            raise StoreError("federation.log")
        self.kept.append((reason.value, detail, attempts))
        return "id"


@dataclass
class Rig:
    outcomes: list[BaseException | Outcome]
    letters: Letters = field(default_factory=Letters)
    clock: FakeClock = field(default_factory=lambda: FakeClock(auto=True))
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    tried: int = 0

    async def apply(self, event: ChangeEvent) -> Outcome:
        assert event.change.public_id == "bre.c1"
        self.tried += 1
        told = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(told, BaseException):
            raise told
        return told

    def worker(self) -> AgentWorker:
        letters = cast("DeadLetters", self.letters)
        return AgentWorker(
            self.apply, letters, ManagerWatch(self.clock, "occ"), self.clock, "topic", self.stop
        )


def event() -> Record:
    out = Home().created(1)
    return Record(out.key, out.value, out.headers, Position(0, "1"), 0.0)


def away(kind: FailureKind, status: int | None = None) -> ManagerError:
    return ManagerError(kind, status=status, slug="occ", name="Occitanie", region="76")


@pytest.mark.parametrize(
    "error",
    [
        away(FailureKind.TIMEOUT),
        away(FailureKind.UNREACHABLE),
        away(FailureKind.BREAKER_OPEN),
        away(FailureKind.BUSY, 503),
        away(FailureKind.REFUSED, 401),
        away(FailureKind.REDIRECT, 301),
        away(FailureKind.ERROR, 502),
    ],
    ids=lambda error: f"{error.kind}-{error.status}",
)
async def test_a_manager_that_is_away_is_waited_for_however_long_it_takes(error: ManagerError) -> None:
    rig = Rig([*(error for _ in range(200)), Outcome.APPLIED])
    worker = rig.worker()
    assert await worker.settle(event())
    assert rig.letters.kept == []
    assert worker.tally.figures() == {"applied": 1, "needless": 0, "own": 0, "dead": 0, "retries": 200}
    assert rig.clock.monotonic() > 1000  # seconds: it does not hammer


@pytest.mark.parametrize("kind", [FailureKind.ERROR, FailureKind.INVALID, FailureKind.TOO_LARGE])
async def test_an_event_at_which_a_manager_fails_every_time_is_put_away(kind: FailureKind) -> None:
    rig = Rig([away(kind, 500)])
    assert await rig.worker().settle(event())
    assert rig.letters.kept == [("failing", f"{kind} 500", PATIENCE)]


async def test_a_manager_that_fails_at_everything_is_not_emptied_into_the_dead_letters() -> None:
    rig = Rig([*(away(FailureKind.ERROR, 500) for _ in range(500)), Outcome.APPLIED])
    worker = rig.worker()
    for _ in range(10):
        assert await worker.settle(event())
    assert len(rig.letters.kept) == 3
    assert worker.tally.outcomes[Outcome.APPLIED] == 7


async def test_once_it_takes_an_event_again_others_may_be_put_away_again() -> None:
    rig = Rig([away(FailureKind.ERROR, 500)])
    worker = rig.worker()
    for _ in range(3):
        await worker.settle(event())
    rig.outcomes = [Outcome.NEEDLESS]
    await worker.settle(event())
    rig.outcomes = [away(FailureKind.ERROR, 500)]
    await worker.settle(event())
    assert len(rig.letters.kept) == 4


async def test_a_dead_end_is_put_away_at_once() -> None:
    rig = Rig([DeadEndError(Reason.CONFLICT, "not-a-replica CareTeam")])
    assert await rig.worker().settle(event())
    assert rig.letters.kept == [("conflict", "not-a-replica CareTeam", 1)]
    assert rig.tried == 1


async def test_what_cannot_be_read_is_never_tried() -> None:
    rig = Rig([Outcome.APPLIED])
    record = Record(b"bre.c1", b"", (), Position(0, "1"), 0.0)
    assert await rig.worker().settle(record)
    assert rig.letters.kept == [("unreadable", "headers: ce_specversion", 1)]
    assert rig.tried == 0


async def test_a_dead_letter_counts_once_the_log_has_it() -> None:
    rig = Rig([DeadEndError(Reason.REFUSED, "CareTeam 422")], Letters(away=5))
    assert await rig.worker().settle(event())
    assert rig.letters.kept == [("refused", "CareTeam 422", 1)]
    assert rig.tried == 1


async def test_a_log_that_is_away_while_an_event_is_applied_is_waited_for() -> None:
    rig = Rig([StoreError("federation.log"), Outcome.APPLIED])
    assert await rig.worker().settle(event())
    assert rig.letters.kept == []


async def test_a_defect_of_ours_puts_the_event_away_and_tells_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig([KeyError("295109912611193")])
    assert await rig.worker().settle(event())
    assert rig.letters.kept == [("failing", "defect: KeyError", 1)]


@pytest.mark.parametrize("told", [away(FailureKind.TIMEOUT), StoreError("federation.log")])
async def test_the_end_of_the_process_gives_up_what_waits(told: BaseException) -> None:
    rig = Rig([told], clock=FakeClock())
    working = asyncio.create_task(rig.worker().settle(event()))
    await until(lambda: rig.tried > 0)
    rig.stop.set()
    async with asyncio.timeout(1):
        assert not await working
    assert rig.letters.kept == []


async def test_an_outage_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "broker.agent")
    rig = Rig([*(away(FailureKind.UNREACHABLE) for _ in range(5)), Outcome.APPLIED])
    await rig.worker().settle(event())
    told = [one.getMessage() for one in caplog.records]
    assert [line.partition(":")[0] for line in told if "waiting" in line] == ["manager occ"]
    assert sum("is back" in line for line in told) == 1
