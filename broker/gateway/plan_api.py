"""`POST /registry/plan`: which managers a search would ask, which not, and why (federation, section 2).

By POST, for what is explained may hold an INS; and the answer names parameters and never repeats a value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from broker.core.access.principal import Principal
from broker.core.messages import text
from broker.core.query import SearchQuery
from broker.core.query_parser import canonical_type, parse_search
from broker.core.routing import Ask, LeftOut, Plan, Refused, Unable
from broker.errors import RequestError
from broker.gateway.fhir_request import principal_of
from broker.gateway.problem import problem_response, translating
from broker.gateway.registry_operations import FORM, JSON, PLAN, ManagerInPlan, SearchPlan, SearchToPlan
from registry.model import REGIONS, Gestionnaire

Explain = Callable[[SearchQuery, Principal], Awaitable[Plan]]

_MAX_PARAMETERS = 100


def plan_routes(explain: Explain, *, max_count: int) -> Iterable[web.RouteDef]:
    async def planned(request: web.Request) -> web.Response:
        query = _query(await _search(request), max_count)
        plan = await explain(query, principal_of(request))
        body = msgspec.json.encode(_rendered(query, plan))
        return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})

    handler = translating(planned, lambda _request, error: problem_response(error))
    yield web.RouteDef(PLAN.method, PLAN.path, handler, {})


async def _search(request: web.Request) -> str:
    """The search to explain, of a JSON body or of a form."""
    body = await request.read()
    if request.content_type == FORM:
        return _of_form(body)
    if request.content_type != JSON:
        raise RequestError("request.content-type")
    try:
        return msgspec.json.decode(body, type=SearchToPlan).search
    except msgspec.ValidationError:
        raise RequestError("registry.bad-value", parameter="search") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError("registry.bad-json") from None


def _of_form(body: bytes) -> str:
    """As strict as the JSON body is: one `search`, and nothing else."""
    try:
        given = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict"
        )
    except ValueError:
        raise RequestError("registry.bad-value", parameter="search") from None
    if [name for name, _ in given] != ["search"]:
        raise RequestError("registry.bad-value", parameter="search")
    return given[0][1]


def _query(search: str, max_count: int) -> SearchQuery:
    kind, _, parameters = search.lstrip("/").partition("?")
    resource_type = canonical_type(kind)
    if resource_type is None:
        raise RequestError("request.unknown-type")
    try:
        pairs = parse_qsl(parameters, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise RequestError("request.too-many-parameters", limit=_MAX_PARAMETERS) from None
    return parse_search(resource_type, pairs, strict=False, max_count=max_count)


def _rendered(query: SearchQuery, plan: Plan) -> SearchPlan:
    judged: list[Ask | LeftOut | Refused | Unable] = [
        *plan.asks,
        *plan.left_out,
        *plan.refused,
        *plan.unable,
    ]
    managers = [_of(one) for one in judged]
    managers.sort(key=lambda one: one.id)
    return SearchPlan(
        type=query.type,
        criteria=tuple(criterion.name for criterion in query.criteria),
        ignored=query.ignored,
        managers=tuple(managers),
    )


def _of(one: Ask | LeftOut | Refused | Unable) -> ManagerInPlan:
    match one:
        case Ask(manager=manager, plan=plan):
            return _line(
                manager,
                one.reason,
                one.parameter,
                asked=True,
                native=tuple(criterion.name for criterion in plan.criteria),
                resolved_here=tuple(criterion.name for criterion in plan.chains),
                filtered_here=tuple(criterion.name for criterion in plan.filters),
                includes_here=plan.include_here,
                sorted_here=not plan.sorts,
            )
        case LeftOut(manager=manager):
            return _line(manager, one.reason, one.parameter)
        case Refused(manager=manager):
            return _line(manager, "manager.not-authorised", "")
        case Unable(manager=manager):
            return _line(manager, "manager.not-supported", one.parameter)


def _line(
    manager: Gestionnaire,
    reason: str,
    parameter: str,
    *,
    asked: bool = False,
    native: tuple[str, ...] = (),
    resolved_here: tuple[str, ...] = (),
    filtered_here: tuple[str, ...] = (),
    includes_here: bool = False,
    sorted_here: bool = False,
) -> ManagerInPlan:
    region = REGIONS.get(manager.region, manager.region)
    told = {"name": manager.name, "region": region, "parameter": parameter}
    return ManagerInPlan(
        id=manager.id,
        name=manager.name,
        region=manager.region,
        asked=asked,
        reason=reason,
        fr=text(reason, "fr", **told),
        en=text(reason, "en", **told),
        native=native,
        resolved_here=resolved_here,
        filtered_here=filtered_here,
        includes_here=includes_here,
        sorted_here=sorted_here,
    )
