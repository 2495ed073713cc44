"""`CareTeam/$locate`: the pointers alone, for clients that go to the manager themselves (federation, section 5).

The answer is a FHIR `Parameters`: one `circle` for each place where a circle is held, one `unknown` for each manager of
which the index does not hold everything at this moment, so that the client knows whom else to ask, and one `not-authorised`
for each that the client does not reach, of which nothing is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from broker.core.identified import Identified, identified
from broker.core.identity import public_id
from broker.core.query import SearchQuery
from broker.errors import AccessError, RequestError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.locating import LocatorGuide
from registry.locator_model import Coverage, Pointer
from registry.model import Gestionnaire, Status
from registry.ports import Located

Part = dict[str, Any]

CRITERIA = "identifier, patient.identifier"
"""What a client may locate by."""


@dataclass(frozen=True, slots=True)
class LocateService:
    federation: Federation
    guide: LocatorGuide

    async def locate(self, query: SearchQuery, context: RequestContext) -> bytes:
        """The `Parameters`, as JSON. `locate.nothing-named` where no criterion names an identifier; `access.no-manager`;
        `StoreError`."""
        named = identified(query)
        if not named or len(named) != len(query.criteria):
            raise RequestError("locate.nothing-named", parameter=CRITERIA)
        managers = [one.gestionnaire for one in self.federation.managers.all()]
        reached = [one for one in managers if context.principal.reaches(one)]
        if managers and not reached:
            raise AccessError("access.no-manager")
        found = await self.guide.pointers(named)
        aliases: dict[str, str] = {}
        parts = [
            part
            for pointer in _matching(named, found)
            if (part := self._circle(pointer, aliases, context)) is not None
        ]
        await self.federation.remember(aliases)
        parts += self._unknown(reached, found.coverage)
        parts += [_not_authorised(one) for one in managers if one not in reached]
        return orjson.dumps({"resourceType": "Parameters", "parameter": parts})

    def _circle(self, pointer: Pointer, aliases: dict[str, str], context: RequestContext) -> Part | None:
        registered = self.federation.managers.get(pointer.manager)
        if registered is None:
            return None  # it has left the registry, and the index is being cleared
        manager = registered.gestionnaire
        if not context.principal.reaches(manager):
            return None
        public = public_id(manager.id, pointer.circle_id, aliases)
        context.touched.name("CareTeam", public)
        parts: list[Part] = [
            {"name": "gestionnaire", "valueCode": manager.id},
            {"name": "region", "valueCode": manager.region},
            {"name": "endpoint", "valueUrl": manager.base_url},
            {"name": "id", "valueId": pointer.circle_id},
            {"name": "reference", "valueReference": {"reference": f"CareTeam/{public}"}},
            {"name": "home", "valueBoolean": not pointer.replica},
            {"name": "active", "valueBoolean": manager.status is Status.ACTIVE},
        ]
        if pointer.version is not None:
            parts.append({"name": "version", "valueString": pointer.version})
        return {"name": "circle", "part": parts}

    def _unknown(self, reached: Sequence[Gestionnaire], coverage: Mapping[str, Coverage]) -> list[Part]:
        covered = self.guide.covered(coverage)
        active = [one for one in reached if one.status is Status.ACTIVE]
        return [_not_covered(manager, coverage) for manager in active if manager.id not in covered]


def _not_authorised(manager: Gestionnaire) -> Part:
    return {
        "name": "not-authorised",
        "part": [
            {"name": "gestionnaire", "valueCode": manager.id},
            {"name": "region", "valueCode": manager.region},
        ],
    }


def _not_covered(manager: Gestionnaire, coverage: Mapping[str, Coverage]) -> Part:
    state = coverage.get(manager.id, Coverage()).state
    return {
        "name": "unknown",
        "part": [
            {"name": "gestionnaire", "valueCode": manager.id},
            {"name": "endpoint", "valueUrl": manager.base_url},
            {"name": "coverage", "valueCode": state.value},
        ],
    }


def _matching(named: Sequence[Identified], found: Located) -> list[Pointer]:
    """The circles that meet every criterion (each by any of its values), homes first."""
    kept: dict[tuple[str, str], Pointer] | None = None
    for criterion in named:
        lists = [found.persons.get(one, ()) for one in criterion.persons]
        lists += [found.circles.get(one, ()) for one in criterion.circles]
        here = {(pointer.manager, pointer.circle_id): pointer for pointers in lists for pointer in pointers}
        kept = here if kept is None else {key: kept[key] for key in kept.keys() & here.keys()}
    return sorted(
        (kept or {}).values(), key=lambda pointer: (pointer.replica, pointer.manager, pointer.circle_id)
    )
