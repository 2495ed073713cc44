"""One event, from the record to its end: applied, needless, or a dead letter. Until then it is tried again.

What stops an event decides what is done with it:

- It can never be read (`PoisonError`), the manager does not take it (4xx), or what stands there is not ours to change: it
  is a dead letter at once.
- The manager is away, busy, or does not let us in (no answer, 502, 503, 504, 429, 401, 403, a redirect): that is about the
  manager and not about the event. It is waited for, and nothing is skipped.
- The manager fails in its own words (500, an answer that is no FHIR). That may be either. It is tried `PATIENCE` times while
  the manager is well otherwise, and is then a dead letter, so that one event that breaks it does not block a region for
  good. But where several in a row end so and none succeeds in between, it is the manager after all, and is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from broker.core.backoff import AGENT
from broker.core.change_event import PoisonError
from broker.core.event_content import ChangeEvent, read_event
from broker.core.trace_context import TraceContext
from broker.errors import FailureKind, ManagerError, StoreError
from broker.ports import Clock
from broker.sync.agent_health import ManagerWatch
from broker.sync.change_log import Record
from broker.sync.dead_letters import DeadLetters, Reason
from broker.tracing import Kind, Tracer, passed

PATIENCE = 8
"""Tries of an event at which the manager fails while it is well otherwise: about a minute."""

_IN_A_ROW = 3
_ITS_OWN_FAULT = frozenset(
    {
        FailureKind.ERROR,
        FailureKind.INVALID,
        FailureKind.TOO_LARGE,
        FailureKind.NOT_SUPPORTED,
        FailureKind.LOOP,
    }
)
_BAD_GATEWAY = 502

_log = logging.getLogger("broker.agent")


class Outcome(StrEnum):
    APPLIED = "applied"
    NEEDLESS = "needless"  # older than what is there, or the same again
    ECHO = "own"  # the manager is this circle's home
    DEAD = "dead"


class DeadEndError(Exception):
    """An event that is not to be tried again."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Apply(Protocol):
    async def __call__(self, event: ChangeEvent) -> Outcome:
        """Raises `DeadEndError`; `ManagerError` and `StoreError` where the manager or the log stood in the way."""
        ...


@dataclass(slots=True)
class Tally:
    """What became of events since the start. `retries`: tries that failed and were, or will be, made again."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    retries: int = 0

    def figures(self) -> Mapping[str, int]:
        return {one.value: self.outcomes[one] for one in Outcome} | {"retries": self.retries}


@dataclass(slots=True)
class AgentWorker:
    """`stop` set: what waits is given up, and comes again at the next start."""

    apply: Apply
    letters: DeadLetters
    watch: ManagerWatch
    clock: Clock
    topic: str
    stop: asyncio.Event
    tally: Tally = field(default_factory=Tally)
    tracer: Tracer | None = None
    _failed_in_a_row: int = 0

    async def settle(self, record: Record) -> bool:
        """True once nothing is left to be done with a record; False: the process ends."""
        failures = suspect = 0
        while not self.stop.is_set():
            try:
                outcome = await self._applied(record, failures + 1)
            except PoisonError as error:
                return await self._put_away(record, Reason.UNREADABLE, f"{error.kind}: {error.detail}", 1)
            except DeadEndError as error:
                return await self._put_away(record, error.reason, error.detail, failures + 1)
            except ManagerError as error:
                failures += 1
                self.tally.retries += 1
                suspect += _may_be_the_event(error)
                if suspect >= PATIENCE and self._failed_in_a_row < _IN_A_ROW:
                    self._failed_in_a_row += 1
                    return await self._put_away(record, Reason.FAILING, _told(error), failures)
                await self._wait(error, failures)
            except StoreError:
                failures += 1
                self.tally.retries += 1
                await self._pause(failures)
            except Exception as error:  # noqa: BLE001
                # The boundary to our own defects: one event that trips over one must not stop a region for good.
                _log.exception("an event could not be handled")
                return await self._put_away(
                    record, Reason.FAILING, f"defect: {type(error).__name__}", failures + 1
                )
            else:
                self._failed_in_a_row = 0
                self.watch.well()
                self.tally.outcomes[outcome] += 1
                return True
        return False

    async def _applied(self, record: Record, attempt: int) -> Outcome:
        """One try. Raises as `Apply` does, and `PoisonError`."""
        event = read_event(record.key, record.value, record.headers)
        change = event.change
        if self.tracer is None:
            with passed(change.traceparent):
                return await self.apply(event)
        cause = None if change.traceparent is None else TraceContext(change.traceparent)
        with self.tracer.begin("apply change", Kind.CONSUMER, parent=cause) as span:
            span.note("messaging.operation.type", "process")
            span.note("cds.home", change.manager)
            span.note("cds.attempt", attempt)
            outcome = await self.apply(event)
            span.note("cds.outcome", outcome.value)
            return outcome

    async def _wait(self, error: ManagerError, failures: int) -> None:
        self.watch.ill(error)
        await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        delay = AGENT.delay(failures, random.random())  # noqa: S311  # no secret
        await self.watch.pause(delay or AGENT.most, self.stop)

    async def _put_away(self, record: Record, reason: Reason, detail: str, attempts: int) -> bool:
        """It is a dead letter only once the log has it; until then the event is not settled."""
        failures = 0
        while True:
            try:
                identity = await self.letters.add(record, self.topic, reason, detail, attempts)
            except StoreError:
                failures += 1
                if failures == 1:
                    _log.warning("a dead letter could not be written yet: the change log does not answer")
                if self.stop.is_set():
                    return False
                await self._pause(failures)
            else:
                break
        _log.warning("dead letter %s: %s (%s)", identity, reason.value, detail)
        self.tally.outcomes[Outcome.DEAD] += 1
        return True


def _may_be_the_event(error: ManagerError) -> bool:
    return error.kind in _ITS_OWN_FAULT and error.status != _BAD_GATEWAY


def _told(error: ManagerError) -> str:
    return error.kind.value if error.status is None else f"{error.kind.value} {error.status}"
