"""One circle per person across the whole federation (federation, section 4; the profile of cds-ihe-careteam).

No single manager can keep this rule, and no conditional create can: two managers may be asked at the same instant. So a
creation first takes the person (`claims`), then looks. Where the index holds everything of everybody, and nobody has a
circle, that is all. Else the look is the federation's own search, at the index for managers of which it holds everything, at
the managers themselves for all others: it knows of replicas, of lacks that must be bridged, and of who did not answer.
Whoever cannot be asked might hold a circle: then it is not created, unless the client takes the risk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from broker.core import json_text
from broker.core.copies import is_copy, original_of
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM
from broker.core.identity import Origin, public_id
from broker.core.outcome import OUTCOME_SYSTEM
from broker.core.preferences import Preferences
from broker.core.query import SearchQuery
from broker.core.query_parser import parse_search
from broker.core.query_values import escape
from broker.errors import AccessError, Issue, RefusedError, RequestError, StoreError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.issues import NOT_AUTHORISED, manager_issue
from broker.federation.locating import LocatorGuide
from broker.federation.search import SearchService
from broker.federation.writing.claims import Claims
from broker.federation.writing.records import Claim, Marker, Person, seal_marker
from registry.locator_model import Coverage, CoverageState, Identifier
from registry.model import Gestionnaire, Status

_NOT_A_CIRCLE = "entered-in-error"
_PAGE = 10
_KEPT = 5.0  # seconds
_HARMLESS = frozenset({"manager.unsorted", "manager.suspended", NOT_AUTHORISED})
"""What may be said of a manager whose answer is whole all the same. The suspended are judged here, not by the search; of
those that the client does not reach its own condition asks nothing."""


@dataclass(frozen=True, slots=True)
class Look:
    """Circles that there are (the home's before its replicas), and what must be said of managers that did not answer."""

    circles: tuple[dict[str, Any], ...]
    unsure: tuple[Issue, ...]


@dataclass(frozen=True, slots=True)
class Uniqueness:
    federation: Federation
    searches: SearchService
    guide: LocatorGuide | None
    claims: Claims

    async def claim(self, person: Person, context: RequestContext, *, except_for: str | None = None) -> Claim:
        """Hold a person of whom there is no circle (but `except_for`, by public id).

        `write.second-circle` with the existing one's address, `write.uniqueness-unsure` with who could not be asked,
        `write.being-made`. Raises `StoreError`. The claim is the caller's to end.
        """
        names = self.claims.person_names(person)
        claim = await self.claims.take(names, context, self.second_circle)
        try:
            await self._check(person, context, except_for)
        except SecondCircleError as error:
            context.touched.name("CareTeam", error.marker.public_id)
            await self.release(claim, error.marker)
            raise
        except BaseException:
            await self.release(claim)
            raise
        return claim

    async def release(self, claim: Claim, marker: Marker | None = None) -> None:
        """Let go of names under which nothing was sent; who waits for them need not look for what was found (`marker`).

        Where the store is out they expire by themselves.
        """
        if claim.token is None:
            return
        result = None if marker is None else seal_marker(self.claims.sealer, marker)
        try:
            await self.claims.log.finish(
                None,
                names=claim.names,
                token=claim.token,
                result=result,
                keep=0 if result is None else _KEPT,
            )
        except StoreError:
            return

    async def _check(self, person: Person, context: RequestContext, except_for: str | None) -> None:
        if await self._surely_nobody(person):
            return
        own = context.as_broker()  # the rule is the federation's: it holds beyond what the client reaches
        looks = await asyncio.gather(*(self.searched(query, own) for query in self._queries(person)))
        held, unsure = await self._suspended(person.identifiers)
        for one in looks:
            unsure += [issue for issue in one.unsure if issue not in unsure]
        look = Look((*held, *(circle for one in looks for circle in one.circles)), tuple(unsure))
        others = [one for one in look.circles if one["id"] != except_for]
        if others:
            origins = self.federation.origins.all()
            raise self.second_circle(_marker(others, self.federation.options.public_base, origins))
        if look.unsure and not context.preferences.accept_risk:
            raise RefusedError("write.uniqueness-unsure", [Issue("write.uniqueness-unsure"), *look.unsure])
        context.touched.risk_accepted |= bool(look.unsure)

    async def _surely_nobody(self, person: Person) -> bool:
        """Whether the index alone can say that there is no such circle: it holds everything of everybody who might have one.

        Of the suspended, whose coverage grows old, what it held last counts, as in `_suspended`.
        """
        if self.guide is None or not person.identifiers:
            return False
        found = await self.guide.holders(person.identifiers, person.circle)
        if found is None or any(found.persons.values()) or any(found.circles.values()):
            return False
        fresh = self.guide.covered(found.coverage)
        managers = [one.gestionnaire for one in self.federation.managers.all()]
        return any(one.status is Status.ACTIVE for one in managers) and all(
            one.id in fresh or (one.status is Status.SUSPENDED and _was_covered(found.coverage.get(one.id)))
            for one in managers
        )

    def second_circle(self, marker: Marker) -> SecondCircleError:
        return SecondCircleError(marker, self.federation.options.public_base)

    def _queries(self, person: Person) -> list[SearchQuery]:
        """For circles of the person; and for the circle itself by its business identifier: a second one of the same
        would be taken for a copy of the first."""
        if person.identifiers:
            found = [_query("patient.identifier", _tokens(person.identifiers))]
        else:
            found = [_query("subject", ",".join(person.references))] if person.references else []
        if person.circle:
            found.append(_query("identifier", _tokens(person.circle)))
        return found

    async def searched(self, query: SearchQuery, context: RequestContext) -> Look:
        """Circles that a search finds on its first page, whoever did not answer being told. `access.no-manager`."""
        asked = replace(
            context,
            preferences=Preferences(),
            deadline=context.clock.monotonic() + max(0.0, context.remaining()) * 0.6,
        )
        answer = await self.searches.first_page(query, asked)
        told = json_text.tree(answer.body)
        if answer.status == 403:
            raise AccessError("access.no-manager")
        if answer.status != 200:
            return Look((), tuple(_unsure(told)) or (Issue("write.uniqueness-unsure"),))
        resources = [entry["resource"] for entry in told.get("entry", ())]
        circles = [one for one in resources if one["resourceType"] == "CareTeam"]
        outcomes = [one for one in resources if one["resourceType"] == "OperationOutcome"]
        return Look(
            tuple(one for one in circles if one.get("status") != _NOT_A_CIRCLE),
            tuple(issue for one in outcomes for issue in _unsure(one)),
        )

    async def _suspended(self, persons: Sequence[Identifier]) -> tuple[list[dict[str, Any]], list[Issue]]:
        """Managers that are not asked: what the index knew of them counts, if it ever held all of them."""
        suspended = [
            one.gestionnaire
            for one in self.federation.managers.all()
            if one.gestionnaire.status is Status.SUSPENDED
        ]
        if not suspended:
            return [], []
        unknown = [manager_issue("manager.suspended", one) for one in suspended]
        if self.guide is None or not persons:
            return [], unknown
        try:
            found = await self.guide.locator.pointers(persons, ())
        except StoreError:
            return [], unknown
        slugs = {one.id: one for one in suspended}
        pointers = [p for each in found.persons.values() for p in each if p.manager in slugs]
        circles = [_pointed(slugs[p.manager], p.circle_id, replica=p.replica) for p in pointers]
        covered = {slug for slug, one in found.coverage.items() if _was_covered(one)}
        return circles, [issue for issue in unknown if issue.params["slug"] not in covered]


def _was_covered(coverage: Coverage | None) -> bool:
    return coverage is not None and coverage.state is CoverageState.COMPLETE


def _query(name: str, values: str) -> SearchQuery:
    return parse_search("CareTeam", [(name, values), ("_count", str(_PAGE))], strict=True)


def _tokens(identifiers: Sequence[Identifier]) -> str:
    return ",".join(f"{escape(system)}|{escape(value)}" for system, value in identifiers)


def _pointed(manager: Gestionnaire, circle_id: str, *, replica: bool) -> dict[str, Any]:
    tags = [{"system": REPLICA_SYSTEM, "code": REPLICA_CODE}] if replica else []
    return {"resourceType": "CareTeam", "id": public_id(manager.id, circle_id), "meta": {"tag": tags}}


def _unsure(outcome: dict[str, Any]) -> list[Issue]:
    """The issues of a search that leave open whether a manager holds a match, as ours."""
    found = []
    for issue in outcome.get("issue", ()):
        codings = issue.get("details", {}).get("coding", ())
        said = {coding.get("system"): coding for coding in codings}
        key = said.get(OUTCOME_SYSTEM, {}).get("code", "")
        if key.startswith("manager.") and key not in _HARMLESS:
            found.append(_again(key, codings))
    return found


def _again(key: str, codings: Sequence[dict[str, str]]) -> Issue:
    """An issue of the search's outcome, to be said anew: its codings hold all that fills its text but the parameter."""
    slug = next((one for one in codings if one["system"] == "urn:cds-broker:gestionnaire"), {})
    region = next((one["code"] for one in codings if "TRE-R30" in one["system"]), "")
    params = {"slug": slug.get("code", ""), "name": slug.get("display", ""), "region": region}
    return Issue(key, {**params, "parameter": "patient.identifier"}, severity="error")


def _marker(circles: Sequence[dict[str, Any]], public_base: str, origins: Sequence[Origin]) -> Marker:
    """Where the circle is: its home; of a replica alone, the home that it names where that is one of ours."""
    circle = min(circles, key=lambda one: (is_copy(one), one["id"]))
    public = str(circle["id"])
    if is_copy(circle):
        source = circle["meta"].get("source")
        original = original_of(source if isinstance(source, str) else None, public_base, origins)
        public = public if original is None else original.removeprefix("CareTeam/")
    return Marker(public, public.partition(".")[0])


class SecondCircleError(RequestError):
    """There is a circle of this person already: `marker` says where."""

    def __init__(self, marker: Marker, public_base: str) -> None:
        self.marker = marker
        super().__init__("write.second-circle", circle=f"CareTeam/{marker.public_id}", home=marker.home)
        self.location = f"{public_base}/CareTeam/{marker.public_id}"
