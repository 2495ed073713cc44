"""`Homes` over the federation: a circle as it is at its home, with its actors, in public terms (federation, section 6).

One search brings the circle and what it includes; what a manager cannot bring by it is bridged, as in any search. Whatever
actor is lacking then is read by itself, until nothing is lacking or its manager says that there is no such actor: an event
is self-contained or it waits. Where the search does not show the circle, or an older version, the circle is read by its id:
search indexes lag behind, and only a read tells a deletion from an absence.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.core.bundle import read_resource
from broker.core.change_event import Change, is_instant
from broker.core.dedup import is_replica
from broker.core.entry import Entry
from broker.core.event_content import closure
from broker.core.identity import ID, public_id
from broker.core.manager_failure import failed
from broker.core.preferences import Preferences
from broker.core.query_parser import parse_search
from broker.core.routing import plan_search
from broker.errors import BrokerError, FailureKind, RequestError, StoreError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.included import page_includes
from broker.federation.managers import ManagersView
from broker.federation.pages import PageState
from broker.federation.read import ReadService
from broker.federation.search_work import Work, page_run, searches_of
from broker.ports import Clock
from broker.sync.event_records import Content
from broker.sync.homes import Absence, StaleError
from broker.sync.instants import epoch
from registry.model import Registered, Status
from registry.outbox_model import Waiting

UNKNOWN_REGION = "0"
"""Of a manager that left the federation."""

_INCLUDES = (
    ("_include", "CareTeam:*"),
    ("_include:iterate", "PractitionerRole:practitioner"),
    ("_include:iterate", "PractitionerRole:organization"),
    ("_include:iterate", "RelatedPerson:patient"),
    ("_include:iterate", "Organization:partof"),
)
_ROUNDS = 6  # of reading what is lacking: a role's organisation, its parent, …
_AT_ONCE = 6


@dataclass(slots=True)
class FederationHomes:
    """`via`: as brokers name themselves to managers. `timeout`: seconds for one circle with its actors."""

    view: ManagersView
    federation: Federation
    reads: ReadService
    clock: Clock
    via: str
    timeout: float = 15.0
    _aliases: dict[str, str] = field(default_factory=dict)

    def managers(self) -> Sequence[str]:
        return [one.gestionnaire.id for one in self.view.all()]

    def stated(self, waiting: Waiting) -> Change:
        change = waiting.change
        registered = self.view.get(change.manager)
        return Change(
            manager=change.manager,
            region=UNKNOWN_REGION if registered is None else registered.gestionnaire.region,
            local_id=change.circle_id,
            public_id=public_id(change.manager, change.circle_id, self._aliases),
            version=change.version if change.version and ID.fullmatch(change.version) else None,
            last_updated=change.at if change.at and is_instant(change.at) else None,
            operation=change.operation,
            sequence=waiting.sequence,
            traceparent=change.trace,
        )

    async def remember(self) -> None:
        if self._aliases:
            kept = dict(self._aliases)
            await self.federation.remember(kept)
            self._aliases = {alias: own for alias, own in self._aliases.items() if alias not in kept}

    async def fetch(self, change: Change) -> Content | Absence:
        registered = self.view.get(change.manager)
        if registered is None:
            if self.view.stale_since is not None:
                raise StoreError("federation.store")  # nobody is known to have left
            return Absence.LEFT
        manager = registered.gestionnaire
        if manager.status is not Status.ACTIVE:
            raise BrokerError("manager.suspended", slug=manager.id, name=manager.name, region=manager.region)
        context = self._context()
        aliases: dict[str, str] = {}
        circle, actors = await self._searched(change, registered, context, aliases)
        if circle is None or is_older(circle, change):
            read = await self._read(change.type, change.local_id, registered, context, aliases)
            if not isinstance(read, Entry):
                return read
            circle = read
        if is_replica(circle):
            return Absence.REPLICA
        content = Content(circle, await self._completed(circle, actors, context, aliases))
        await self.federation.remember(aliases)
        if is_older(circle, change):
            raise StaleError(content)
        return content

    # --- requests

    async def _searched(
        self, change: Change, registered: Registered, context: RequestContext, aliases: dict[str, str]
    ) -> tuple[Entry | None, list[Entry]]:
        """The circle and what came with it, where its home finds it."""
        federation = self.federation
        query = parse_search(change.type, [("_id", change.public_id), *_INCLUDES], strict=False)
        plan = plan_search(
            query,
            [registered],
            public_base=federation.options.public_base,
            aliases={change.public_id: change.local_id},
            skills_of=federation.skills_of,
        )
        if not plan.asks:
            return None, []
        state = PageState("search", change.type, tuple(query.pairs()), 1)
        work = Work(query, plan, state, None, context, aliases)
        searches = searches_of(federation, work)
        run = page_run(federation, work, searches)
        taken = await run.read()
        if change.manager in run.failures:
            raise run.failures[change.manager]
        included, _ = await page_includes(query, run, searches, taken, context, aliases, federation.options)
        circle = next((one.item for one in taken.found if one.public_id == change.public_id), None)
        return circle, included

    async def _completed(
        self, circle: Entry, actors: Sequence[Entry], context: RequestContext, aliases: dict[str, str]
    ) -> tuple[Entry, ...]:
        """With every actor that there is."""
        at_hand = list(actors)
        asked: set[str] = set()
        for _ in range(_ROUNDS):
            belonging, lacking = closure(circle, at_hand, self.federation.options.public_base)
            missing = [reference for reference in lacking if reference not in asked]
            if not missing:
                return belonging
            asked |= {*missing}
            for start in range(0, len(missing), _AT_ONCE):
                found = await asyncio.gather(
                    *(self._actor(one, context, aliases) for one in missing[start : start + _AT_ONCE])
                )
                at_hand += [one for one in found if one is not None]
        return closure(circle, at_hand, self.federation.options.public_base)[0]

    async def _actor(self, reference: str, context: RequestContext, aliases: dict[str, str]) -> Entry | None:
        """`Type/public id`; None where nobody has one."""
        kind, _, public = reference.partition("/")
        slug = public.partition(".")[0]
        registered = self.view.get(slug)
        if registered is None:
            return None
        local_id = aliases.get(public)
        if local_id is None:
            try:
                local_id = (await self.reads.locate(public, context)).local_id
            except RequestError:
                return None
        found = await self._read(kind, local_id, registered, context, aliases)
        return found if isinstance(found, Entry) else None

    async def _read(
        self,
        resource_type: str,
        local_id: str,
        registered: Registered,
        context: RequestContext,
        aliases: dict[str, str],
    ) -> Entry | Absence:
        calls = self.federation.calls(registered)
        answer = await calls.get(f"{resource_type}/{local_id}", context)
        if answer.status in (404, 410):
            return Absence.MISSING if answer.status == 404 else Absence.GONE
        if answer.status != 200:
            raise failed(registered.gestionnaire, FailureKind.REJECTED, status=answer.status)
        origin = self.federation.origins.of(registered.gestionnaire)
        entry = read_resource(answer.body, origin, resource_type, aliases, self.federation.origins.all())
        if entry.local_id != local_id:
            raise failed(registered.gestionnaire, FailureKind.INVALID, detail="another id")
        return entry

    def _context(self) -> RequestContext:
        return RequestContext(
            request_id=secrets.token_hex(8),
            caller="",
            language="fr",
            preferences=Preferences(),
            deadline=self.clock.monotonic() + self.timeout,
            via=self.via,
            clock=self.clock,
        )


def is_older(circle: Entry, change: Change) -> bool:
    """Whether what is shown is a version before the change's."""
    shown, told = circle.version_id, change.version
    if shown is not None and shown == told:
        return False
    if shown is not None and told is not None and shown.isdecimal() and told.isdecimal():
        return int(shown) < int(told)
    before, at = epoch(circle.last_updated), epoch(change.last_updated)
    return before is not None and at is not None and before < at
