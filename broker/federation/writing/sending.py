"""Sending a write, once (federation, section 4).

The order is what keeps it safe. An intent is recorded, and the claim made lasting, before anything leaves; both are cleared
when the end is known and the index has learnt of it. In between anything may die:

- before the intent: nothing was sent, the claim and the Idempotency-Key expire;
- after it: `broker.sync.settler`, on any node, asks the manager what there is, and clears both;
- after the manager's answer, before they are cleared: the same, and what was written is found and learnt.

An answer that leaves open what happened (a timeout, a lost connection, a proxy's 502) is not passed on: the manager is asked
by identifier or version. What shows is answered as what it is; what does not may still come, so the client is told that
nobody knows yet (504), and intent and claim stay.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from broker.core.entry import Entry
from broker.core.sealing import Sealer
from broker.errors import ManagerError, RequestError, StoreError
from broker.federation.writing.errand import Errand
from broker.federation.writing.evidence import Evidence, Found, is_ambiguous
from broker.federation.writing.records import (
    Claim,
    Intent,
    Marker,
    Replay,
    Target,
    seal_intent,
    seal_marker,
)
from broker.ports import Clock, ManagerAnswer, ManagerRequest
from broker.tracing import traceparent
from registry.locator_model import Identifier
from registry.outbox_model import CircleChange
from registry.ports import WriteLog

_log = logging.getLogger("broker.writes")

Learn = Callable[[Entry, Sequence[Identifier], str | None], Awaitable[None]]
"""Tells the index of a circle, with every identifier of its person and the instant of that Patient. Raises `StoreError`."""


@dataclass(frozen=True, slots=True)
class SendingOptions:
    """`deadline`: seconds for a whole write. `settle`: seconds between two looks at what became of one. `keep`: seconds
    for which those who wait for a claim find out what became of its holder."""

    deadline: float = 10.0
    settle: float = 5.0
    keep: float = 10.0


@dataclass(frozen=True, slots=True)
class Sent:
    """How a write ended: with the manager's definite answer, or with what was found in its place."""

    intent: str
    claim: Claim
    answer: ManagerAnswer | None = None
    found: Found | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    log: WriteLog
    evidence: Evidence
    sealer: Sealer
    clock: Clock
    options: SendingOptions
    hold: Callable[[Replay], Awaitable[None]]
    """Keeps an Idempotency-Key from others until it is known what became of its write, however long nobody looks."""

    async def send(self, errand: Errand, request: ManagerRequest, intent: Intent, claim: Claim) -> Sent:
        """Record, send, and find out. `finish` is the caller's, once it has dealt with the answer.

        Raises `ManagerError` where nothing was sent (all is cleared), `write.unknown` where nobody knows (nothing is),
        `write.claim-lost`, `StoreError` where nothing could be recorded.
        """
        name, context = secrets.token_hex(16), errand.context
        trace = traceparent()
        if trace is not None:
            intent = structs.replace(intent, trace=trace)
        due = max(0.0, context.deadline - self.clock.monotonic()) + self.options.settle
        recorded = await self.log.intend(
            name, seal_intent(self.sealer, intent), names=claim.names, token=claim.token, due=due
        )
        if not recorded:
            raise RequestError("write.claim-lost")
        if intent.replay is not None:
            await self.hold(intent.replay)
        try:
            answer = await errand.target.calls.send(request, context)
        except ManagerError as error:
            if not error.sent:
                await self.finish(Sent(name, claim))
                raise
        else:
            if not is_ambiguous(answer):
                return Sent(name, claim, answer)
        return await self._found_out(Sent(name, claim), intent, errand)

    async def _found_out(self, sent: Sent, intent: Intent, errand: Errand) -> Sent:
        target, context = errand.target, errand.context
        # The time of the request may be over; its client is better served by the truth a moment later.
        patient = replace(
            context, deadline=max(context.deadline, self.clock.monotonic() + self.options.settle / 2)
        )
        try:
            found = await self.evidence.happened(intent, target, patient, errand.aliases)
        except ManagerError:
            found = None
        if found is None:
            _log.warning("a write to %s was sent and not answered: to be found out", target.slug)
            raise unknown(target)
        return replace(sent, found=found)

    async def finish(
        self, sent: Sent, marker: Marker | None = None, changes: Sequence[CircleChange] = ()
    ) -> None:
        """The end is known and learnt; `changes` go to the outbox in the same step (federation, section 6).

        Where the store is out, the settler comes to the same end later.
        """
        result = None if marker is None else seal_marker(self.sealer, marker)
        try:
            alone = await self.log.finish(
                sent.intent,
                names=sent.claim.names,
                token=sent.claim.token,
                result=result,
                keep=self.options.keep if result is not None else 0,
                changes=changes,
            )
        except StoreError:
            _log.warning("a finished write could not be cleared: to be settled")
            return
        if not alone:
            _log.error(
                "a claim was lost while its write was under way: look for a second circle in the conflicts"
            )


def unknown(target: Target) -> RequestError:
    manager = target.calls.manager
    return RequestError("write.unknown", slug=manager.id, name=manager.name, region=manager.region)
