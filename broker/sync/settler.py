"""Finding out what became of writes that nobody finished (federation, sections 4 and 6).

Their writer died, or was not answered. An intent that is past its time is handed to one node, which asks the manager:

- what was written shows: the index learns of it, the Idempotency-Key gets its answer, intent and claim are cleared;
- nothing shows: it may still be on its way. Only when nothing shows a second time, a quiet while later, was nothing written:
  then the claim is freed, and the key;
- the manager does not answer: later again, with growing pauses. The claim stays: an unknown circle is not a missing one.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import structs

from broker.core.change_event import Operation
from broker.core.entry import Entry
from broker.core.preferences import Preferences
from broker.core.transaction_answer import write_transaction_answer
from broker.errors import BrokerError, FailureKind, ManagerError, RefusedError, StoreError
from broker.federation.context import RequestContext
from broker.federation.writing.desk import Desk, changed
from broker.federation.writing.evidence import Found
from broker.federation.writing.idempotency import Idempotency
from broker.federation.writing.records import (
    Intent,
    Marker,
    Replay,
    Target,
    WriteAnswer,
    open_intent,
    seal_intent,
    seal_marker,
)
from broker.federation.writing.rendering import written
from broker.federation.writing.transact import written_steps
from broker.federation.writing.update import tell_of_patient
from broker.ports import Clock
from broker.tracing import passed
from registry.model import Status
from registry.outbox_model import CircleChange
from registry.write_model import Due

_log = logging.getLogger("broker.writes")

_AT_ONCE = 20
_LONGEST = 60.0  # seconds between two looks at what a manager does not tell
_PATIENCE = 5.0  # seconds for one look
_LEASE = 30.0


@dataclass(slots=True)
class Settler:
    """`every`: seconds between two rounds, and what is left quiet between two looks at one write.

    `settled`: how many ended, by how: `written`, `not-written`, `unknowable`. `pending`: how many are unfinished on all
    nodes, and the age of the oldest in seconds, as of the last round.
    """

    desk: Desk
    idempotency: Idempotency
    clock: Clock
    via: str
    every: float
    settled: dict[str, int] = field(default_factory=dict)
    pending: tuple[int, float | None] = (0, None)

    async def run(self) -> None:
        """Until cancelled. A store that is out is waited for."""
        while True:
            try:
                await self.round()
            except StoreError:
                _log.warning("unfinished writes cannot be settled: the store is out")
            await self.clock.sleep(self.every)

    async def round(self) -> None:
        """Everything that is due now, one after the other: it is rare, and managers in trouble are not to be pressed."""
        while due := await self.desk.sending.log.due(limit=_AT_ONCE, lease=_LEASE):
            for one in due:
                await self._settle(one)
        self.pending = await self.desk.sending.log.pending()

    async def _settle(self, due: Due) -> None:
        intent = open_intent(self.desk.sending.sealer, due.blob)
        registered = None if intent is None else self.desk.federation.managers.get(intent.manager)
        if intent is None or registered is None:
            # Sealed with a secret that is gone, or for a manager that left the federation: nobody can tell any more.
            await self._end(due, intent, "unknowable")
            return
        if intent.replay is not None:
            await self.idempotency.hold_on(intent.replay)
        if registered.gestionnaire.status is not Status.ACTIVE:
            await self._later(due)
            return
        try:
            # What is found out, and told of it, belongs to the request that began it.
            with passed(intent.trace):
                await self._look(due, intent, self.desk.target(registered))
        except StoreError:
            raise
        except ManagerError as error:
            if error.kind is FailureKind.NOT_SUPPORTED:  # it cannot be asked by what it would be known by
                await self._end(due, intent, "unknowable")
            else:
                await self._later(due)
        except BrokerError:
            await self._later(due)

    async def _look(self, due: Due, intent: Intent, target: Target) -> None:
        witness = intent.steps[intent.witness]
        if witness.local_id is None and witness.identifier is None:
            await self._end(due, intent, "unknowable")
            return
        context = self._context()
        aliases: dict[str, str] = {}
        found = await self.desk.evidence.happened(intent, target, context, aliases)
        await self.desk.federation.remember(aliases)
        if found is not None:
            marker, changes = await self._learn(intent, target)
            if intent.replay is not None:
                # Whoever asks again is answered from here on, and may change it further: this change comes first.
                await self.desk.sending.log.finish(None, changes=changes)
                await self._answer(intent, intent.replay, found, target, context)
            await self._end(due, intent, "written", marker, changes)
        elif intent.absent:
            await self._end(due, intent, "not-written")
        else:
            again = seal_intent(self.desk.sending.sealer, structs.replace(intent, absent=1))
            await self.desk.sending.log.postpone(due.intent, seconds=self.every, blob=again)

    async def _answer(
        self, intent: Intent, replay: Replay, found: Found, target: Target, context: RequestContext
    ) -> None:
        """What the client would have been answered, for when it asks again."""
        if not intent.bundle:
            answer = written(
                found.entry,
                status=201 if found.created else 200,
                public_base=self.desk.public_base,
                stated={},
                warnings=(),
                context=context,
                update=not found.created,
            )
            await self.idempotency.keep(replay, answer)
            return
        aliases: dict[str, str] = {}
        entries = await written_steps(self.desk, intent, target, context, aliases)
        await self.desk.federation.remember(aliases)
        if entries is None:
            return  # a part of it cannot be seen: the key stays taken rather than being answered with half
        body = write_transaction_answer(entries, self.desk.public_base)
        await self.idempotency.keep(replay, WriteAnswer(200, body))

    async def _learn(self, intent: Intent, target: Target) -> tuple[Marker | None, tuple[CircleChange, ...]]:
        """The index learns of every circle that was written. Raises `BrokerError`: then all is done again."""
        marker = None
        changes: tuple[CircleChange, ...] = ()
        for step in intent.steps:
            context = self._context()
            aliases: dict[str, str] = {}
            found = await self.desk.evidence.of_step(step, target, context, aliases)
            await self.desk.federation.remember(aliases)
            if found is None:
                continue
            if step.type == "CareTeam":
                patient = await self._patient(found.entry, context)
                if not await self.desk.learnt(found.entry, patient):
                    raise StoreError("federation.store")
                marker = Marker(found.entry.public_id, target.slug)
                operation = Operation.CREATED if found.created else Operation.UPDATED
                changes += changed(target, found.entry, operation)
            elif step.type == "Patient":
                learnt, again = await tell_of_patient(self.desk, found.entry, target, context)
                if not learnt:
                    raise StoreError("federation.store")
                changes += again
        return marker, changes

    async def _patient(self, circle: Entry, context: RequestContext) -> Entry | None:
        """The circle's person, for the index; None where the Patient is gone."""
        try:
            return await self.desk.subject(self.desk.evidence.tree(circle), "CareTeam.subject", context)
        except RefusedError:
            return None

    async def _end(
        self,
        due: Due,
        intent: Intent | None,
        how: str,
        marker: Marker | None = None,
        changes: Sequence[CircleChange] = (),
    ) -> None:
        """Clear the intent and its claims. Of a write that was not made the key is freed too."""
        sealer = self.desk.sending.sealer
        result = None if marker is None else seal_marker(sealer, marker)
        keep = self.desk.sending.options.keep if result is not None else 0
        await self.desk.sending.log.finish(
            due.intent, names=due.names, token=due.token, result=result, keep=keep, changes=changes
        )
        if intent is not None and intent.replay is not None and how == "not-written":
            await self.idempotency.give_up(intent.replay)
        self.settled[how] = self.settled.get(how, 0) + 1
        _log.info("an unfinished write was settled: %s", how)

    async def _later(self, due: Due) -> None:
        pause = min(self.every * 2 ** min(due.attempts, 10), _LONGEST)
        await self.desk.sending.log.postpone(due.intent, seconds=pause)

    def _context(self) -> RequestContext:
        return RequestContext(
            request_id=secrets.token_hex(8),
            caller="",
            language="fr",
            preferences=Preferences(),
            deadline=self.clock.monotonic() + _PATIENCE,
            via=self.via,
            clock=self.clock,
        )
