"""A reference to another manager's actor, honoured: the actor is copied to the home (federation, section 4).

In three steps, each in parallel and each complete before the next, so that whatever stands in the way is told at once and
the home is left alone until nothing does:

1. Each actor is read at its manager, and looked for at the home by its strongest business identifier. What the home lacks
   leads on to what it cannot be without (`copies.followed`).
2. The copies are planned, those that others refer to first (`copy_plan`).
3. They are created under `If-None-Exist`. A manager that does not know that condition was asked just before; one that does
   keeps two writers from making the same copy twice. A copy left behind by a write that then fails harms nothing: the next
   one finds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import NAMESPACE_URL, uuid5

import msgspec

from broker.core.copies import parsed, to_json
from broker.core.copy_plan import CopyPlan, PlannedCopy, plan_copies, the_one
from broker.core.identity import ID
from broker.core.manager_failure import failed, kind_of_status
from broker.core.references import named_by, reference_paths, with_references
from broker.core.replica_marks import as_of, marked
from broker.core.rewriting import inward
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.fan_out import fan_out
from broker.federation.federation import Federation
from broker.federation.issues import relayed_issues
from broker.federation.mirror_survey import UNKNOWN, Problem, Problems, Survey, Wanted, unavailable
from broker.federation.read import ReadService
from broker.federation.writing.evidence import Evidence, is_ambiguous
from broker.federation.writing.records import Target
from broker.ports import ManagerAnswer, ManagerRequest
from registry.model import Registered

_ID_AND_TYPE = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]*)?")


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """An actor of another manager at the home: `original` is `Type/public id`, `local` the home's own reference.

    `created`: by this call; False where somebody had made it meanwhile.
    """

    original: str
    local: str
    created: bool


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A body in the home's own terms, ready to be sent. `created`: the copies that it needed and the home lacked."""

    body: bytes
    created: tuple[LocalCopy, ...] = ()


@dataclass(frozen=True, slots=True)
class Mirroring:
    federation: Federation
    reads: ReadService

    async def prepare(
        self, body: bytes, home: Registered, context: RequestContext, *, path: str | None = None
    ) -> Mirrored:
        """A resource as a client wrote it (JSON in public terms), as its home must be sent it.

        Raises `RefusedError` with every problem and its FHIRPath, where `path` replaces the type: 422
        `write.reference-unknown`, `-no-identifier`, `-type`, `-ambiguous`, `-refused`, `-many`; else 503
        `-unavailable`. Also `StoreError`. `body` must be a JSON object.
        """
        origin = self.federation.origins.of(home.gestionnaire)
        here = inward(body, origin, {})
        if not here.foreign and not here.unknown:
            return Mirrored(here.body)
        listed = reference_paths(parsed(body), path=path)
        named = [named_by(text, origin.public_base) for _, text in listed]
        aliases = await self.federation.resolved(one.public_id for one in named if one is not None)
        local = inward(body, origin, aliases)
        foreign, unknown = frozenset(local.foreign), frozenset(local.unknown)
        plan = await self.plan(
            [(place, text) for place, text in listed if text in foreign],
            home,
            context,
            unknown=[place for place, text in listed if text in unknown],
        )
        made = await self.create(plan, home, context)
        references = {
            text: made[stands].local if stands in made else stands for text, stands in plan.references.items()
        }
        if not references:
            return Mirrored(local.body)
        # In two steps: what one reference becomes may be the text of another, where the home is a broker itself.
        marks = {text: f"urn:cds-broker:reference:{at}" for at, text in enumerate(references)}
        standing = inward(with_references(body, marks), origin, aliases).body
        named_again = {mark: references[text] for text, mark in marks.items()}
        return Mirrored(with_references(standing, named_again), tuple(made.values()))

    async def plan(
        self, wanted: Wanted, home: Registered, context: RequestContext, *, unknown: Sequence[str] = ()
    ) -> CopyPlan:
        """What foreign references become at a home, and the copies that it takes; nothing is written.

        For a transaction, whose copies are entries of their own. `wanted`: (FHIRPath, reference as the client wrote it).
        `unknown`: FHIRPaths of references that are known to name nothing, told with whatever else is found. Raises as
        `prepare`.
        """
        if not wanted and not unknown:
            return CopyPlan()
        target = self._target(home)
        survey = Survey(self.federation, self.reads, target, context)
        if unknown:
            survey.problems.add(UNKNOWN, unknown)
        await survey.run(wanted)
        survey.problems.raise_any()
        base = target.origin.public_base
        full_urls = {one: uuid5(NAMESPACE_URL, f"{base}/{one}").urn for one in survey.actors}
        texts = dict.fromkeys(text for _, text in wanted)
        plan = plan_copies(texts, survey.actors, survey.at_home, full_urls, base)
        # As a regional agent marks its copies, which may come upon this one with an event that is older or newer.
        copies = (
            replace(copy, resource=marked(copy.resource, as_of=as_of(survey.actors[copy.original].resource)))
            for copy in plan.copies
        )
        return replace(plan, copies=tuple(copies))

    async def create(
        self, plan: CopyPlan, home: Registered, context: RequestContext
    ) -> Mapping[str, LocalCopy]:
        """Create the copies of a plan. What each `full_url` is at the home. Raises as `prepare`."""
        target = self._target(home)
        made: dict[str, LocalCopy] = {}
        for layer in sorted({copy.layer for copy in plan.copies}):
            copies = {copy.full_url: copy for copy in plan.copies if copy.layer == layer}
            stands = {full_url: one.local for full_url, one in made.items()}

            async def ask(full_url: str) -> LocalCopy | Problem:
                return await self._create(copies[full_url], stands, target, context)  # noqa: B023 - awaited here

            problems = Problems()
            for full_url, done in (await fan_out(list(copies), ask)).items():
                if isinstance(done, LocalCopy):
                    made[full_url] = done
                else:
                    problem = unavailable(done) if isinstance(done, ManagerError) else done
                    problems.add(problem, copies[full_url].paths)
            problems.raise_any()
        return made

    async def _create(
        self, copy: PlannedCopy, stands: Mapping[str, str], target: Target, context: RequestContext
    ) -> LocalCopy | Problem:
        """One copy. Raises `ManagerError` where it is not known to be there."""
        request = ManagerRequest(
            "POST",
            copy.type,
            headers={
                **context.headers(),
                "Content-Type": "application/fhir+json",
                "If-None-Exist": copy.criterion,
                "Prefer": "return=representation",
            },
            body=with_references(to_json(copy.resource), stands),
        )
        manager = target.calls.manager
        try:
            answer = await target.calls.send(request, context)
        except ManagerError as error:
            if error.sent and (found := await self._there(copy, target, context)) is not None:
                return found
            raise
        if answer.status in (200, 201):
            local = _local_reference(answer, copy.type)
            if local is not None:
                return LocalCopy(copy.original, local, created=answer.status == 201)
        elif answer.status != 412 and not is_ambiguous(answer):
            kind = kind_of_status(answer.status)
            if kind is FailureKind.REJECTED:
                return Problem.about("write.reference-refused", manager, relayed_issues(answer.body, manager))
            raise failed(manager, kind or FailureKind.INVALID, status=answer.status)
        found = await self._there(copy, target, context)
        if found is None:
            raise failed(manager, kind_of_status(answer.status) or FailureKind.INVALID, status=answer.status)
        return found

    async def _there(
        self, copy: PlannedCopy, target: Target, context: RequestContext
    ) -> LocalCopy | Problem | None:
        """What the home holds under a copy's identifier by now. Raises `ManagerError`."""
        aliases: dict[str, str] = {}
        evidence = Evidence(self.federation)
        found = await evidence.all_by_identifier(copy.type, copy.identifier, target, context, aliases)
        if not found:
            return None
        one = the_one(found)
        if one is None:
            return Problem.about("write.reference-ambiguous", target.calls.manager)
        return LocalCopy(copy.original, f"{copy.type}/{one.local_id}", created=False)

    def _target(self, home: Registered) -> Target:
        return Target(self.federation.calls(home), self.federation.origins.of(home.gestionnaire))


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    id: str = ""


_decode_head = msgspec.json.Decoder(_Head).decode


def _local_reference(answer: ManagerAnswer, resource_type: str) -> str | None:
    """What a create made or found, from `Location` or the body; None: the manager does not say."""
    for name in ("location", "content-location"):
        path = _ID_AND_TYPE.fullmatch(answer.headers.get(name, ""))
        if path is not None and path[1] == resource_type and ID.fullmatch(path[2]):
            return f"{resource_type}/{path[2]}"
    try:
        head = _decode_head(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    usable = head.resource_type == resource_type and ID.fullmatch(head.id)
    return f"{resource_type}/{head.id}" if usable else None
