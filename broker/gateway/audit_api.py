"""The trail of this node under `/registry/audit`, for those who watch over accesses. To read it is an access too."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec
from aiohttp import web

from broker.audit.sink import AuditPage, AuditQuery, AuditReader
from broker.errors import AuditError, BrokerError, RequestError
from broker.gateway.problem import problem_response, translating
from broker.gateway.registry_operations import AUDIT

_MAX_COUNT = 200
_NAMES = frozenset(one.name for one in AUDIT.parameters)


def audit_routes(reader: AuditReader | None) -> Iterable[web.RouteDef]:
    """`reader`: None where this node keeps no files of its trail. Errors become problem documents in here."""

    async def audit(request: web.Request) -> web.Response:
        query = asked(request.query)
        if reader is None:
            raise AuditError("audit.not-here")
        return _json(await reader.page(query))

    yield web.RouteDef(AUDIT.method, AUDIT.path, translating(audit, _respond), {})


def asked(given: Mapping[str, str]) -> AuditQuery:
    """Raises `RequestError` for what is no parameter, or no value of one."""
    unknown = next((name for name in given if name not in _NAMES), None)
    if unknown is not None:
        raise RequestError("request.unknown-parameter", parameter=unknown[:40])
    return AuditQuery(
        since=_instant(given, "since"),
        until=_instant(given, "until"),
        client=given.get("client"),
        person=given.get("person"),
        request_id=given.get("request"),
        count=_count(given),
        after=given.get("after"),
    )


def _instant(given: Mapping[str, str], name: str) -> dt.datetime | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        at = dt.datetime.fromisoformat(text.replace(" ", "+"))  # an unencoded plus sign of an offset
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise RequestError("request.bad-value", parameter=name, expected="YYYY-MM-DDThh:mm:ss±hh:mm")
    return at


def _count(given: Mapping[str, str]) -> int:
    text = given.get("count", "50")
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) == 0:
        raise RequestError("request.bad-value", parameter="count", expected="1…")
    return min(int(text), _MAX_COUNT)


def _respond(request: web.Request, error: BrokerError) -> web.Response:
    return problem_response(error)


def _json(page: AuditPage) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(page), content_type="application/json", headers={"Cache-Control": "no-store"}
    )
