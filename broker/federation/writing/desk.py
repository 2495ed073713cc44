"""What creations, updates and transactions have in common: the home, the person, the manager's answer, the index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.core.change_event import Operation
from broker.core.dedup import is_replica
from broker.core.entry import Entry
from broker.core.home import HomeSigns, choose_home, signs_in
from broker.core.references import named_by
from broker.errors import Issue, ManagerError, RefusedError, RequestError, StoreError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.mirroring import Mirroring
from broker.federation.read import ReadService
from broker.federation.writing.claims import Claims
from broker.federation.writing.errand import Errand
from broker.federation.writing.evidence import Evidence
from broker.federation.writing.records import (
    Person,
    Replay,
    Target,
    WriteAnswer,
    stated_identifiers,
    usable,
)
from broker.federation.writing.sending import Learn, Sending, unknown
from broker.federation.writing.uniqueness import Uniqueness
from broker.ports import ManagerAnswer
from broker.tracing import traceparent
from registry.locator_model import Identifier
from registry.model import Registered
from registry.outbox_model import CircleChange

WANTED = {"Prefer": "return=representation", "Content-Type": "application/fhir+json"}
"""What managers are asked for, whatever the client wants back: the index and the answer are made of it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The tools of every write. `keep`: an answer, for its Idempotency-Key. `default_home`: where undecided ones go."""

    federation: Federation
    reads: ReadService
    uniqueness: Uniqueness
    claims: Claims
    sending: Sending
    evidence: Evidence
    mirroring: Mirroring
    learn: Learn
    keep: Callable[[Replay, WriteAnswer], Awaitable[bool]]
    default_home: str | None = None

    @property
    def public_base(self) -> str:
        return self.federation.options.public_base

    def home(
        self,
        content: Mapping[str, Any],
        stated: str | None,
        departments: Sequence[str],
        needs: Sequence[tuple[str, str]],
        context: RequestContext,
    ) -> Target:
        """The manager of a new resource. `needs`: each (type, `create` or `update`) that is to be written there.

        Raises the errors of `broker.core.home`.
        """
        signs = HomeSigns(
            stated=stated,
            subject=signs_in(content, self.public_base),
            own=() if context.principal.manager is None else (context.principal.manager,),
            departments=departments,
            default=self.default_home,
        )
        chosen = choose_home(signs, self.federation.managers.all(), needs=needs, principal=context.principal)
        return self.target(chosen.registered)

    def check_reach(self, content: Mapping[str, Any], context: RequestContext) -> None:
        """Raises `access.manager` where a resource belongs with one of a manager that the client does not reach."""
        for sign in signs_in(content, self.public_base):
            registered = self.federation.managers.get(sign.slug)
            if registered is not None:
                context.check_reach(registered.gestionnaire)

    def target(self, registered: Registered) -> Target:
        return Target(self.federation.calls(registered), self.federation.origins.of(registered.gestionnaire))

    def errand(self, target: Target, context: RequestContext) -> Errand:
        context.touched.managers.add(target.slug)
        return Errand(self.federation, target, context)

    def registered(self, slug: str) -> Registered:
        """`request.not-found` where it left the federation meanwhile."""
        registered = self.federation.managers.get(slug)
        if registered is None:
            raise RequestError("request.not-found")
        return registered

    async def prepared(self, body: bytes, errand: Errand) -> bytes:
        """A client's resource in its manager's terms, with what it refers to elsewhere mirrored there."""
        registered = self.registered(errand.target.slug)
        return (await self.mirroring.prepare(body, registered, errand.context)).body

    async def subject(self, content: Mapping[str, Any], path: str, context: RequestContext) -> Entry | None:
        """A circle's Patient; None where it names none of ours.

        Raises `write.reference-unknown`, `access.manager`, `ManagerError`.
        """
        reference = subject_of(content)
        named = None if reference is None else named_by(reference, self.public_base)
        if named is None:
            return None
        patient = await self.actor("Patient", named.public_id, context)
        if patient is None:
            issue = Issue("write.reference-unknown", expression=(path,))
            raise RefusedError("write.reference-unknown", [issue])
        context.touched.show("Patient", patient.public_id, patient.raw)
        return patient

    async def actor(self, resource_type: str, public_id: str, context: RequestContext) -> Entry | None:
        """An actor of any manager, in public terms; None where there is none. `access.manager`, `ManagerError`."""
        try:
            where = await self.reads.locate(public_id, context)
        except RequestError:
            return None
        errand = self.errand(Target(where.calls, where.origin), context)
        found = await errand.current(resource_type, where.local_id)
        if isinstance(found, ManagerAnswer):
            return None
        await errand.remember()
        return found

    async def written_entry(
        self, answer: ManagerAnswer, resource_type: str, local_id: str | None, errand: Errand
    ) -> Entry:
        """The resource that a manager says it wrote; fetched where it says so without showing it."""
        try:
            return errand.read(_with_status(answer), resource_type, local_id)
        except ManagerError:
            place = answer.headers.get("location") or answer.headers.get("content-location")
            found = local_id or _id_in(place, resource_type)
            if found is None:
                raise
        entry = await errand.current(resource_type, found)
        if isinstance(entry, ManagerAnswer):
            raise unknown(errand.target)
        return entry

    async def kept(self, replay: Replay | None, answer: WriteAnswer) -> bool:
        """Keep the answer for its Idempotency-Key, before the intent is cleared. False where it could not be kept: then the
        intent stays, and the settler keeps it."""
        return replay is None or await self.keep(replay, answer)

    async def learnt(self, circle: Entry, patient: Entry | None) -> bool:
        """Tell the index. False where it could not be told: then the intent stays, and the settler tells it."""
        persons = () if patient is None else usable(patient.identifiers)
        try:
            await self.learn(circle, persons, None if patient is None else patient.last_updated)
        except StoreError:
            return False
        return True


ENTERED_IN_ERROR = "entered-in-error"


def changed(target: Target, entry: Entry, operation: Operation) -> tuple[CircleChange, ...]:
    """What the others are told of a resource that was written: of circles alone, and by their home."""
    if entry.type != "CareTeam" or is_replica(entry):
        return ()
    version, at = entry.version_id, entry.last_updated
    return (CircleChange(target.slug, entry.local_id, version, at, operation, traceparent()),)


def subject_of(content: Mapping[str, Any]) -> str | None:
    """The reference that a circle's subject is, as its client wrote it."""
    stated = content.get("subject")
    reference = stated.get("reference") if isinstance(stated, dict) else None
    return reference if isinstance(reference, str) else None


def person_of(content: Mapping[str, Any], patient: Entry | None) -> Person:
    """Whom a circle is for, as its content and its Patient say."""
    stated = content.get("subject")
    found = [] if patient is None else list(usable(patient.identifiers))
    if isinstance(stated, dict):
        found += stated_identifiers([stated.get("identifier")])
        found += _contained(content, stated.get("reference"))
    reference = () if patient is None else (f"Patient/{patient.public_id}",)
    circle = stated_identifiers(content.get("identifier"))
    return Person(tuple(dict.fromkeys(found)), reference, tuple(circle))


def known_person(content: Mapping[str, Any], patient: Entry | None) -> Person:
    """`person_of`; `write.person-unknown` (422) where nothing says who it is: nobody could tell a second circle."""
    person = person_of(content, patient)
    if not person.identifiers and not person.references:
        issue = Issue("write.person-unknown", expression=("CareTeam.subject",))
        raise RefusedError("write.person-unknown", [issue])
    return person


def claimed_by_update(
    before: Mapping[str, Any], after: Mapping[str, Any], person: Callable[[], Person]
) -> Person | None:
    """Of what an updated circle must be the only one; None where it stays what it was.

    Given another person, or in force again after it was entered in error: of that `person`. Given another business
    identifier: of that one alone, since another circle of the same would be taken for its copy.
    """
    revived = before.get("status") == ENTERED_IN_ERROR != after.get("status")
    if revived or _named(before.get("subject")) != _named(after.get("subject")):
        return person()
    identifiers = stated_identifiers(after.get("identifier"))
    if stated_identifiers(before.get("identifier")) != identifiers:
        return Person(circle=tuple(identifiers))
    return None


def _named(subject: object) -> tuple[object, object] | None:
    return (subject.get("reference"), subject.get("identifier")) if isinstance(subject, Mapping) else None


def _contained(content: Mapping[str, Any], reference: object) -> list[Identifier]:
    """The identifiers of the Patient that a circle holds itself."""
    each = content.get("contained")
    if not isinstance(reference, str) or not reference.startswith("#") or not isinstance(each, list):
        return []
    return [
        identifier
        for one in each
        if isinstance(one, dict) and one.get("id") == reference[1:]
        for identifier in stated_identifiers(one.get("identifier"))
    ]


def _with_status(answer: ManagerAnswer) -> ManagerAnswer:
    return ManagerAnswer(200, answer.headers, answer.body, answer.seconds)


def _id_in(location: str | None, resource_type: str) -> str | None:
    """The manager's id in `…/Type/id[/_history/vid]`."""
    parts = (location or "").partition("/_history/")[0].rstrip("/").split("/")
    return parts[-1] if len(parts) > 1 and parts[-2] == resource_type and parts[-1] else None
