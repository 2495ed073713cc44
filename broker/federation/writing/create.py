"""Flux 1a and 1b: creating an actor or a circle (federation, section 4; FHIR R4, http.html#create, #ccreate)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from broker.core import json_text
from broker.core.access.touched import Touched
from broker.core.business_identifier import strongest_identifier, token_criterion
from broker.core.change_event import Operation
from broker.core.condition import (
    condition_pairs,
    condition_search,
    ids_in_condition,
    inward_condition,
    read_condition,
)
from broker.core.departments import departments_of
from broker.core.entry import Entry
from broker.core.identity import Origin
from broker.core.references import named_by
from broker.core.translation import Dialogue
from broker.core.write_meta import localised
from broker.errors import Issue, ManagerError, RefusedError, RequestError, StoreError
from broker.federation.context import RequestContext
from broker.federation.writing.desk import WANTED, Desk, changed, known_person, subject_of
from broker.federation.writing.errand import Errand, oldest
from broker.federation.writing.evidence import content_digest
from broker.federation.writing.records import (
    Asked,
    Claim,
    Intent,
    Marker,
    Step,
    WriteAnswer,
    stated_identifiers,
)
from broker.federation.writing.rendering import refused_by_manager, written
from broker.federation.writing.rights import check_condition
from broker.federation.writing.sending import Sent, unknown
from broker.federation.writing.turnstile import Turnstile
from broker.federation.writing.uniqueness import SecondCircleError
from broker.ports import ManagerRequest
from registry.locator_model import Identifier

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CreateService:
    desk: Desk
    turnstile: Turnstile = field(default_factory=Turnstile)

    async def create(self, asked: Asked, context: RequestContext) -> WriteAnswer:
        """One resource, created at its home, or found there by a condition. Raises `BrokerError`."""
        check_condition(context.principal, asked.type, asked.if_none_exist)
        self.desk.check_reach(asked.content, context)
        if asked.type == "CareTeam":
            return await self._circle(asked, context)
        return await self._actor(asked, context)

    # --- circles

    async def _circle(self, asked: Asked, context: RequestContext) -> WriteAnswer:
        existing = await self._existing_circle(asked, context)
        if existing is not None:
            return existing
        async with self.turnstile.turn(subject_of(asked.content), context) as line:
            try:
                if line.marker is not None:
                    raise self.desk.uniqueness.second_circle(line.marker)
                answer = await self._only_circle(asked, context)
            except SecondCircleError as error:
                line.marker = error.marker
                context.touched.name("CareTeam", error.marker.public_id)
                # What a condition asks for may have been made a moment ago, by the very one who was in the way.
                existing = await self._existing_circle(asked, context)
                if existing is not None:
                    return existing
                raise
            line.marker = _made(answer)
            return answer

    async def _only_circle(self, asked: Asked, context: RequestContext) -> WriteAnswer:
        patient = await self.desk.subject(asked.content, "CareTeam.subject", context)
        target = self.desk.home(
            asked.content,
            asked.stated_home,
            await self._departments(asked.content, patient, context),
            [("CareTeam", "create")],
            context,
        )
        claim = await self.desk.uniqueness.claim(known_person(asked.content, patient), context)
        return await self._created(asked, claim, patient, (), self.desk.errand(target, context))

    async def _departments(
        self, content: dict[str, Any], patient: Entry | None, context: RequestContext
    ) -> Sequence[str]:
        """Of the organisations that manage the circle. Only asked where it matters: a circle with a Patient of ours belongs
        where that is."""
        if patient is not None:
            return ()
        found: list[str] = []
        for one in content.get("managingOrganization") or ():
            reference = one.get("reference") if isinstance(one, dict) else None
            named = named_by(reference, self.desk.public_base) if isinstance(reference, str) else None
            held = None if named is None else await self.desk.actor(named.type, named.public_id, context)
            found += () if held is None else departments_of(json_text.tree(held.raw))
        return found

    async def _existing_circle(self, asked: Asked, context: RequestContext) -> WriteAnswer | None:
        """What If-None-Exist finds, in all of the federation that the client reaches: the condition is its own search."""
        if asked.if_none_exist is None:
            return None
        query = condition_search("CareTeam", asked.if_none_exist)
        look = await self.desk.uniqueness.searched(query, replace(context, touched=Touched()))
        if len(look.circles) > 1:
            raise RequestError("request.several-matches")
        if look.circles:
            found = await self.desk.actor("CareTeam", str(look.circles[0]["id"]), context)
            return None if found is None else self._answer(found, 200, {}, asked, context)
        if look.unsure and not context.preferences.accept_risk:
            raise RefusedError("write.uniqueness-unsure", [Issue("write.uniqueness-unsure"), *look.unsure])
        context.touched.risk_accepted |= bool(look.unsure)
        return None

    # --- actors

    async def _actor(self, asked: Asked, context: RequestContext) -> WriteAnswer:
        target = self.desk.home(
            asked.content,
            asked.stated_home,
            departments_of(asked.content),
            [(asked.type, "create")],
            context,
        )
        errand = self.desk.errand(target, context)
        identifier = strongest_identifier(asked.content)
        pairs = await self._condition(asked, identifier, target.origin)
        names = (
            () if identifier is None else self.desk.claims.actor_names(target.slug, asked.type, identifier)
        )
        claim = await self.desk.claims.take(names, context, _unexpected)
        try:
            found = await self._existing_actor(asked, pairs, identifier, errand)
        except BaseException:
            await self.desk.uniqueness.release(claim)
            raise
        if found is not None:
            await self.desk.uniqueness.release(claim)
            return self._answer(found, 200, {}, asked, context)
        return await self._created(asked, claim, None, pairs, errand)

    async def _condition(self, asked: Asked, identifier: Identifier | None, origin: Origin) -> Pairs:
        """Under what condition an actor is created, in its manager's terms: the client's, else by its identifier."""
        if asked.if_none_exist is None:
            return parse_qsl(token_criterion(*identifier)) if identifier is not None else []
        criteria = read_condition(asked.type, asked.if_none_exist)
        aliases = await self.desk.federation.resolved(ids_in_condition(asked.type, criteria))
        dialogue = Dialogue(origin.slug, origin.region, origin.public_base, aliases)
        try:
            own = inward_condition(asked.type, asked.if_none_exist, dialogue)
        except RequestError as error:
            if error.key != "condition.foreign":
                raise
            return []  # it names a resource of another manager: nobody here can match
        return condition_pairs(own)

    async def _existing_actor(
        self, asked: Asked, pairs: Pairs, identifier: Identifier | None, errand: Errand
    ) -> Entry | None:
        """The actor that makes the creation needless. Managers are not trusted to look themselves: not all do."""
        if not pairs:
            return None
        if asked.if_none_exist is None and identifier is not None:
            found = await errand.all_by_identifier(asked.type, identifier)
        else:
            found = await errand.matching(asked.type, pairs)
            if len(found) > 1:
                raise RequestError("request.several-matches")
        await errand.remember()
        return oldest(found)

    # --- both

    async def _created(
        self,
        asked: Asked,
        claim: Claim,
        patient: Entry | None,
        pairs: Sequence[tuple[str, str]],
        errand: Errand,
    ) -> WriteAnswer:
        desk, target, context = self.desk, errand.target, errand.context
        try:
            body = localised(await desk.prepared(asked.body, errand), target.origin, None)
        except BaseException:
            await desk.uniqueness.release(claim)
            raise
        condition = {"If-None-Exist": urlencode(pairs, quote_via=quote)} if pairs else {}
        identifiers = stated_identifiers(asked.content.get("identifier"))
        step = Step(
            asked.type,
            identifier=strongest_identifier(asked.content) or (identifiers[0] if identifiers else None),
            content=content_digest(body),
        )
        request = ManagerRequest(
            "POST", asked.type, headers={**context.headers(), **WANTED, **condition}, body=body
        )
        intent = Intent(target.slug, (step,), replay=asked.replay)
        sent = await desk.sending.send(errand, request, intent, claim)
        return await self._concluded(asked, sent, patient, errand)

    async def _concluded(
        self, asked: Asked, sent: Sent, patient: Entry | None, errand: Errand
    ) -> WriteAnswer:
        desk, target, context = self.desk, errand.target, errand.context
        status, stated = 201, {}
        if sent.answer is not None:
            if sent.answer.status not in (200, 201):
                await desk.sending.finish(sent)
                return refused_by_manager(sent.answer, target, context)
            status, stated = sent.answer.status, dict(sent.answer.headers)
        try:
            entry = await self._entry(asked.type, sent, errand)
            await errand.remember()
        except (ManagerError, StoreError):
            raise unknown(target) from None  # it was written; the settler learns what
        answer = self._answer(entry, status, stated, asked, context)
        is_circle = asked.type == "CareTeam"
        if (not is_circle or await desk.learnt(entry, patient)) and await desk.kept(asked.replay, answer):
            marker = Marker(entry.public_id, target.slug) if is_circle else None
            await desk.sending.finish(sent, marker, changed(target, entry, Operation.CREATED))
        return answer

    async def _entry(self, resource_type: str, sent: Sent, errand: Errand) -> Entry:
        if sent.found is not None:
            return sent.found.entry
        if sent.answer is None:
            raise RequestError("internal")
        return await self.desk.written_entry(sent.answer, resource_type, None, errand)

    def _answer(
        self, entry: Entry, status: int, stated: dict[str, str], asked: Asked, context: RequestContext
    ) -> WriteAnswer:
        context.touched.name(entry.type, entry.public_id, entry.raw)
        return written(
            entry,
            status=status,
            public_base=self.desk.public_base,
            stated=stated,
            warnings=asked.warnings,
            context=context,
        )


def _made(answer: WriteAnswer) -> Marker | None:
    """Where the circle is that an answer tells of."""
    place = answer.headers.get("location", "").partition("/_history/")[0].rpartition("/CareTeam/")[2]
    return Marker(place, place.partition(".")[0]) if answer.status == 201 and place else None


def _unexpected(marker: Marker) -> RequestError:
    """Nobody leaves a mark under an actor's name: who waited for it looks again."""
    return RequestError("write.being-made")
