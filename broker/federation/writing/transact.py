"""Flux 1c and 4c: transactions (federation, section 4; FHIR R4, http.html#transaction).

A transaction goes whole to one manager, which does all of it or nothing: the broker fakes no atomicity. Actors of other
managers go along as entries of their own, so that they too are made or not made with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.aside import aside
from broker.core import json_text
from broker.core.business_identifier import strongest_identifier, token_criterion
from broker.core.change_event import Operation
from broker.core.condition import condition_pairs, inward_condition
from broker.core.entry import Entry
from broker.core.outcome import render_outcome
from broker.core.profile_check import check_resource
from broker.core.transaction import read_transaction
from broker.core.transaction_answer import (
    WrittenEntry,
    read_transaction_answer,
    relayed_failure,
    write_transaction_answer,
)
from broker.core.transaction_inward import InwardTransaction, inward_transaction
from broker.core.transaction_model import Transaction, TransactionEntry, TransactionPlan
from broker.core.transaction_plan import plan_transaction
from broker.core.translation import Dialogue
from broker.errors import FailureKind, Issue, ManagerError, RefusedError, RequestError, StoreError
from broker.federation.context import RequestContext
from broker.federation.writing.desk import (
    WANTED,
    Desk,
    changed,
    claimed_by_update,
    person_of,
    subject_of,
)
from broker.federation.writing.errand import Errand
from broker.federation.writing.records import (
    Asked,
    Claim,
    Intent,
    Marker,
    Person,
    Target,
    WriteAnswer,
    stated_identifiers,
)
from broker.federation.writing.rights import check_entries, shown_to
from broker.federation.writing.sending import Sent, unknown
from broker.federation.writing.transaction_home import target_of
from broker.federation.writing.transaction_steps import steps_of, steps_written
from broker.federation.writing.update import names_version, tell_of_patient, writable
from broker.ports import ManagerAnswer, ManagerRequest
from registry.outbox_model import CircleChange

_FAILED = frozenset({400, 404, 405, 409, 410, 412, 415, 422, 500})
"""A manager's own refusals. Whatever it says, the guide's answer to a failed transaction is 500."""


@dataclass(slots=True)
class _Run:
    """One transaction on its way: what is found out about it."""

    plan: TransactionPlan
    errand: Errand
    before: dict[int, Entry] = field(default_factory=dict)
    patient: Entry | None = None

    @property
    def target(self) -> Target:
        return self.errand.target

    @property
    def context(self) -> RequestContext:
        return self.errand.context

    @property
    def transaction(self) -> Transaction:
        return self.plan.transaction


@dataclass(frozen=True, slots=True)
class TransactionService:
    desk: Desk

    async def transact(self, asked: Asked, context: RequestContext) -> WriteAnswer:
        """A transaction Bundle, done or refused as a whole. Raises `BrokerError`."""
        plan = await aside(len(asked.body), self._plan, asked, context)
        patient = await self._patient(plan, context)
        target = target_of(self.desk, plan, asked.stated_home, patient, context)
        run = _Run(plan, self.desk.errand(target, context), patient=patient)
        await self._check_updates(run)
        await self._resolve_person(run)
        claim = await self._claim(run)
        try:
            inner = await self._inward(run, len(asked.body))
            entries = plan.transaction.entries
            steps = await aside(len(inner.body), steps_of, entries, inner.resources, run.before)
        except BaseException:
            await self.desk.uniqueness.release(claim)
            raise
        intent = Intent(run.target.slug, *steps, replay=asked.replay, bundle=True)
        request = ManagerRequest("POST", "", headers={**context.headers(), **WANTED}, body=inner.body)
        sent = await self.desk.sending.send(run.errand, request, intent, claim)
        return await self._concluded(run, sent, intent, inner)

    # --- before it is sent

    def _plan(self, asked: Asked, context: RequestContext) -> TransactionPlan:
        base = self.desk.public_base
        transaction = read_transaction(
            asked.content, asked.body, public_base=base, check_resource=check_resource
        )
        check_entries(context.principal, transaction)
        return plan_transaction(transaction, condition_of=_condition_of)

    async def _patient(self, plan: TransactionPlan, context: RequestContext) -> Entry | None:
        """The circle's person, where it is a resource of the federation."""
        circle = plan.circle
        if circle is None or circle.patient_id is None:
            return None
        found = await self.desk.actor("Patient", circle.patient_id, context)
        if found is None:
            issue = Issue("write.reference-unknown", expression=(f"{circle.entry.path}.resource.subject",))
            raise RefusedError("write.reference-unknown", [issue])
        context.touched.show("Patient", found.public_id, found.raw)
        return found

    async def _resolve_person(self, run: _Run) -> None:
        """A subject that is only described (`Patient?identifier=…`) is looked for at the home, as the home will do."""
        circle = run.plan.circle
        if circle is None or circle.condition is None:
            return
        origin = run.target.origin
        aliases = await self.desk.federation.resolved(run.plan.conditional_ids)
        dialogue = Dialogue(origin.slug, origin.region, origin.public_base, aliases)
        try:
            own = inward_condition("Patient", circle.condition, dialogue)
        except RequestError as error:
            issue = Issue(error.key, error.params, "error", (f"{circle.entry.path}.resource.subject",))
            raise RefusedError("transaction.failed", [Issue("transaction.failed"), issue]) from None
        found = await run.errand.matching("Patient", condition_pairs(own))
        run.patient = found[0] if len(found) == 1 else None  # else the manager refuses it, and says why

    async def _check_updates(self, run: _Run) -> None:
        """What is updated must be there, be no copy, and be of the version that the client knows."""
        faults: list[Issue] = []
        for entry in run.transaction.entries:
            if entry.public_id is None:
                continue
            run.context.touched.name(entry.type, entry.public_id)
            found = await self._current(run, entry)
            if found is None:
                faults.append(Issue("request.not-found", {}, "error", (f"{entry.path}.request.url",)))
                continue
            writable(found, f"{entry.path}.resource", self.desk)
            if entry.if_match is not None and not names_version(entry.if_match, found.version_id):
                faults.append(Issue("request.precondition", {}, "error", (f"{entry.path}.request.ifMatch",)))
            run.before[entry.index] = found
        if faults:
            raise RefusedError("transaction.failed", [Issue("transaction.failed"), *faults])

    async def _current(self, run: _Run, entry: TransactionEntry) -> Entry | None:
        where = await self.desk.reads.locate(str(entry.public_id), run.context)
        found = await run.errand.current(entry.type, where.local_id)
        return None if isinstance(found, ManagerAnswer) else found

    async def _claim(self, run: _Run) -> Claim:
        """A circle that is made, or changes hands, must be its person's only one."""
        circle = run.plan.circle
        if circle is None:
            return Claim()
        self._check_other_circles(run, circle.entry)
        before = run.before.get(circle.entry.index)
        person = _person(run, circle.entry.resource, circle.patient)
        if before is None:
            return await self.desk.uniqueness.claim(person, run.context)
        claimed = claimed_by_update(json_text.tree(before.raw), circle.entry.resource, lambda: person)
        if claimed is None:
            return Claim()
        return await self.desk.uniqueness.claim(claimed, run.context, except_for=before.public_id)

    def _check_other_circles(self, run: _Run, first: TransactionEntry) -> None:
        """One circle of a transaction may change hands, for one person can be held at a time."""
        for entry in run.transaction.circles:
            before = run.before.get(entry.index)
            if entry is first or before is None:
                continue
            stays = json_text.tree(before.raw)
            if claimed_by_update(stays, entry.resource, Person) is not None:
                issue = Issue("transaction.one-circle", expression=(f"{entry.path}.resource",))
                raise RefusedError("transaction.one-circle", [issue])

    async def _inward(self, run: _Run, size: int) -> InwardTransaction:
        desk, plan = self.desk, run.plan
        registered = desk.registered(run.target.slug)
        foreign = [(one.path, one.text) for one in plan.foreign(run.target.slug)]
        copied = await desk.mirroring.plan(foreign, registered, run.context)
        aliases = await desk.federation.resolved(plan.aliases)
        return await aside(size, inward_transaction, plan, run.target.origin, aliases, copied)

    # --- after it was sent

    async def _concluded(
        self, run: _Run, sent: Sent, intent: Intent, inner: InwardTransaction
    ) -> WriteAnswer:
        desk, manager = self.desk, run.target.calls.manager
        if sent.answer is not None and sent.answer.status != 200:
            await desk.sending.finish(sent)
            if sent.answer.status not in _FAILED:
                raise ManagerError(
                    FailureKind.REFUSED if sent.answer.status in (401, 403) else FailureKind.ERROR,
                    status=sent.answer.status,
                    slug=manager.id,
                    name=manager.name,
                    region=manager.region,
                )
            issues = relayed_failure(sent.answer.body, manager, len(run.transaction.entries))
            return WriteAnswer(500, render_outcome(issues, language=run.context.language))
        try:
            written = await self._written(run, sent, intent, inner)
            known, changes = await self._told(run, written)
            await run.errand.remember()
        except (ManagerError, StoreError):
            raise unknown(run.target) from None  # it was done; the settler learns what
        answer = WriteAnswer(200, await aside(len(inner.body), self._answer, run, written))
        if known and await desk.kept(intent.replay, answer):
            await desk.sending.finish(sent, _marker(run, written), changes)
        return answer

    def _answer(self, run: _Run, written: Sequence[WrittenEntry]) -> bytes:
        principal, entries = run.context.principal, run.transaction.entries
        return write_transaction_answer(
            [shown_to(principal, one, asked) for one, asked in zip(written, entries, strict=True)],
            self.desk.public_base,
            return_=run.context.preferences.return_,
            warnings=run.transaction.warnings,
            language=run.context.language,
        )

    async def _written(
        self, run: _Run, sent: Sent, intent: Intent, inner: InwardTransaction
    ) -> Sequence[WrittenEntry]:
        if sent.answer is not None:
            return await aside(
                len(sent.answer.body),
                read_transaction_answer,
                sent.answer.body,
                run.transaction,
                run.target.origin,
                run.errand.aliases,
                copies=inner.copies,
                origins=self.desk.federation.origins.all(),
            )
        found = await steps_written(intent, run.errand)
        if found is None:
            raise unknown(run.target)
        return found

    async def _told(
        self, run: _Run, written: Sequence[WrittenEntry]
    ) -> tuple[bool, tuple[CircleChange, ...]]:
        """Tell the index of every circle that was written, and of the circles of every Patient that was: whether it was
        told, and the changes of circles."""
        known = True
        changes: tuple[CircleChange, ...] = ()
        again: tuple[CircleChange, ...] = ()
        for one in written:
            run.context.touched.name(
                one.type, one.public_id, b"" if one.resource is None else one.resource.raw
            )
            if one.type == "CareTeam":
                circle = await self._shown(run, one)
                run.context.touched.show(circle.type, circle.public_id, circle.raw)
                known = await self.desk.learnt(circle, await self._person_of(run, circle, written)) and known
                operation = Operation.CREATED if one.created else Operation.UPDATED
                changes += changed(run.target, circle, operation)
            elif one.type == "Patient" and not one.created:
                patient = await self._shown(run, one)
                learnt, told_again = await tell_of_patient(self.desk, patient, run.target, run.context)
                known, again = learnt and known, again + told_again
        told = {one.circle for one in changes}
        return known, (*changes, *(one for one in again if one.circle not in told))

    async def _person_of(self, run: _Run, circle: Entry, written: Sequence[WrittenEntry]) -> Entry | None:
        """A circle's Patient: of the transaction itself, else of the federation."""
        content = json_text.tree(circle.raw)
        reference = subject_of(content)
        for one in written:
            if one.type == "Patient" and one.reference == reference:
                return await self._shown(run, one)
        return await self.desk.subject(content, "CareTeam.subject", run.context.as_broker())

    async def _shown(self, run: _Run, one: WrittenEntry) -> Entry:
        if one.resource is not None:
            return one.resource
        found = await run.errand.current(one.type, one.local_id)
        if isinstance(found, ManagerAnswer):
            raise unknown(run.target)
        return found


def _condition_of(resource: Mapping[str, Any]) -> str | None:
    identifier = strongest_identifier(dict(resource))
    return None if identifier is None else token_criterion(*identifier)


def _person(run: _Run, circle: Mapping[str, Any], patient: TransactionEntry | None) -> Person:
    """Whom a circle of the transaction is for: a Patient of the federation, or one of its own entries, or both."""
    found = person_of(circle, run.patient)
    if patient is None:
        return found
    more = stated_identifiers(patient.resource.get("identifier"))
    return Person(tuple(dict.fromkeys((*found.identifiers, *more))), found.references, found.circle)


async def written_steps(
    desk: Desk, intent: Intent, target: Target, context: RequestContext, aliases: dict[str, str]
) -> list[WrittenEntry] | None:
    """What became of each entry of a transaction that was not answered; None where one of them does not show."""
    return await steps_written(intent, Errand(desk.federation, target, context, aliases))


def _marker(run: _Run, written: Sequence[WrittenEntry]) -> Marker | None:
    circle = run.plan.circle
    if circle is None:
        return None
    made = next((one for one in written if one.index == circle.entry.index), None)
    return None if made is None else Marker(made.public_id, run.target.slug)
