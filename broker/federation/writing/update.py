"""Flux 4a and 4b: updating an actor or a circle at its home (federation, section 4; FHIR R4, http.html#update).

What is there now is read first. It is the evidence should the answer be lost, and it tells what a manager may not look at:
that the client's version is stale, that there is nothing to update (a `PUT` creates nothing here: it would go round the rule
of one circle per person), that it is a copy whose home is elsewhere.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from broker.core import json_text
from broker.core.change_event import Operation
from broker.core.copies import original_of
from broker.core.dedup import is_replica
from broker.core.entry import Entry
from broker.core.identity import split_public_id
from broker.core.manager_failure import failed
from broker.core.write_meta import localised
from broker.errors import FailureKind, Issue, ManagerError, RefusedError, RequestError, StoreError
from broker.federation.context import RequestContext
from broker.federation.writing.desk import WANTED, Desk, changed, claimed_by_update, known_person, subject_of
from broker.federation.writing.errand import Errand
from broker.federation.writing.evidence import content_digest
from broker.federation.writing.records import Asked, Claim, Intent, Marker, Step, Target, WriteAnswer
from broker.federation.writing.rendering import refused_by_manager, written
from broker.federation.writing.sending import Sent, unknown
from broker.ports import ManagerAnswer, ManagerRequest
from broker.tracing import traceparent
from registry.outbox_model import CircleChange

_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
_MOST_CIRCLES = 50


@dataclass(frozen=True, slots=True)
class UpdateService:
    desk: Desk

    async def update(self, public_id: str, asked: Asked, context: RequestContext) -> WriteAnswer:
        """One resource, by its public id. Raises `BrokerError`."""
        if asked.content.get("id") != public_id:
            raise RequestError("request.id-mismatch")
        if split_public_id(public_id) is not None:
            context.touched.name(asked.type, public_id)
        where = await self.desk.reads.locate(public_id, context)
        target = Target(where.calls, where.origin)
        errand = self.desk.errand(target, context)
        before, patient = await asyncio.gather(
            self._before(asked.type, where.local_id, errand),
            self._patient(asked, context),
            return_exceptions=True,
        )
        # In this order: of what is not there, or is a copy, it does not matter whom it names.
        if isinstance(before, BaseException):
            raise before
        writable(before, asked.type, self.desk)
        if isinstance(patient, BaseException):
            _check_gone(patient, asked, before)
            patient = None
        if asked.if_match is not None and not names_version(asked.if_match, before.version_id):
            raise RequestError("request.precondition")
        body = localised(await self.desk.prepared(asked.body, errand), target.origin, where.local_id)
        claim = await self._claim(asked, before, patient, context)
        step = Step(
            asked.type,
            local_id=where.local_id,
            before=before.version_id,
            content=content_digest(body),
        )
        condition = {"If-Match": asked.if_match} if asked.if_match is not None else {}
        request = ManagerRequest(
            "PUT",
            f"{asked.type}/{where.local_id}",
            headers={**context.headers(), **WANTED, **condition},
            body=body,
        )
        intent = Intent(target.slug, (step,), replay=asked.replay)
        sent = await self.desk.sending.send(errand, request, intent, claim)
        return await self._concluded(asked, sent, step, patient, errand)

    async def _before(self, resource_type: str, local_id: str, errand: Errand) -> Entry:
        found = await errand.current(resource_type, local_id)
        if isinstance(found, ManagerAnswer):
            raise RequestError("request.not-found" if found.status == 404 else "request.deleted")
        return found

    async def _patient(self, asked: Asked, context: RequestContext) -> Entry | None:
        """The person of a circle, for the index."""
        if asked.type != "CareTeam":
            return None
        return await self.desk.subject(asked.content, "CareTeam.subject", context)

    async def _claim(
        self, asked: Asked, before: Entry, patient: Entry | None, context: RequestContext
    ) -> Claim:
        """A circle must not become a person's second one by what changes in it."""
        if asked.type != "CareTeam":
            return Claim()
        person = claimed_by_update(
            json_text.tree(before.raw), asked.content, lambda: known_person(asked.content, patient)
        )
        if person is None:
            return Claim()
        return await self.desk.uniqueness.claim(person, context, except_for=before.public_id)

    async def _concluded(
        self, asked: Asked, sent: Sent, step: Step, patient: Entry | None, errand: Errand
    ) -> WriteAnswer:
        desk, target, context = self.desk, errand.target, errand.context
        stated: dict[str, str] = {}
        if sent.answer is not None:
            if sent.answer.status not in (200, 201, 204):
                await desk.sending.finish(sent)
                return refused_by_manager(sent.answer, target, context)
            stated = dict(sent.answer.headers)
        try:
            if sent.found is not None:
                entry = sent.found.entry
            elif sent.answer is not None:
                entry = await desk.written_entry(sent.answer, asked.type, step.local_id, errand)
            else:
                raise failed(target.calls.manager, FailureKind.INVALID)
            context.touched.show(entry.type, entry.public_id, entry.raw)
            known, changes = await self._told(entry, patient, target, context)
            await errand.remember()
        except (ManagerError, StoreError):
            raise unknown(target) from None  # it was written; the settler learns what
        answer = written(
            entry,
            status=200,
            public_base=desk.public_base,
            stated=stated,
            warnings=asked.warnings,
            context=context,
            update=True,
        )
        if known and await desk.kept(asked.replay, answer):
            marker = Marker(entry.public_id, target.slug) if sent.claim.names else None
            await desk.sending.finish(sent, marker, changes)
        return answer

    async def _told(
        self, entry: Entry, patient: Entry | None, target: Target, context: RequestContext
    ) -> tuple[bool, tuple[CircleChange, ...]]:
        """Tell the index of a circle, or of the circles of a person whose identifiers may be others now: whether it was
        told, and the changes of circles."""
        if entry.type == "CareTeam":
            return await self.desk.learnt(entry, patient), changed(target, entry, Operation.UPDATED)
        if entry.type == "Patient":
            return await tell_of_patient(self.desk, entry, target, context)
        return True, ()


async def tell_of_patient(
    desk: Desk, patient: Entry, target: Target, context: RequestContext
) -> tuple[bool, tuple[CircleChange, ...]]:
    """The circles of a Patient that was changed, learnt anew: they are found by what it is called now. And what is told of
    them: no new version, but replicas would keep the Patient as it was."""
    pairs = [("subject", f"Patient/{patient.local_id}"), ("_count", str(_MOST_CIRCLES))]
    errand = desk.errand(target, context)
    circles = await errand.matching("CareTeam", pairs)
    await errand.remember()
    known = all([await desk.learnt(circle, patient) for circle in circles])
    homes = [circle for circle in circles if not is_replica(circle)]
    trace = traceparent()
    again = (CircleChange(target.slug, one.local_id, None, None, Operation.UPDATED, trace) for one in homes)
    return known, tuple(again)


def writable(before: Entry, path: str, desk: Desk) -> None:
    """Copies are not written: `write.replica`, with the home's address."""
    if not is_replica(before):
        return
    original = original_of(before.source, desk.public_base, desk.federation.origins.all())
    params = {} if original is None else {"home": original}
    error = RefusedError("write.replica", [Issue("write.replica", params, expression=(path,))], **params)
    error.location = None if original is None else f"{desk.public_base}/{original}"
    raise error


def _check_gone(error: BaseException, asked: Asked, before: Entry) -> None:
    """A Patient that is no more stands in no one's way where the circle was its before. Raises any other error."""
    if not isinstance(error, RefusedError) or subject_of(asked.content) != subject_of(
        json_text.tree(before.raw)
    ):
        raise error


def names_version(header: str, version: str | None) -> bool:
    """Whether an If-Match names a version; `*` names any."""
    return header.strip() == "*" or version in _ETAG.findall(header)
