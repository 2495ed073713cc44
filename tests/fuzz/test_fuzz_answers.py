"""Whatever a manager answers: it harms its own results alone, in bounded time and memory, and nothing is in the log."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st

from registry.model import Gestionnaire
from registry.redis_keys import RedisKeys
from tests.fuzz.campaign import Watched, bounded, campaign, is_failed_transaction, seconds, watched
from tests.fuzz.hostile_json import Change, Cut, any_json, changes, chopped, cuts, spoiled, written
from tests.fuzz.hostile_requests import CIRCLE, FHIR_JSON, FORM, ORGANIZATION, TRANSACTION
from tests.support.federation import Broker, federation, ids
from tests.support.fhir_builders import INS_TEST
from tests.support.regions import CHECKED, held_by, ins
from tests.support.scripted_manager import FHIR_JSON as ANSWERED
from tests.support.scripted_manager import Faults, Received, Reply, ScriptedManager, scripted_manager
from tests.support.valkey import Valkey, ValkeyServer

HOSTILE, HONEST = "bre", "occ"
_DUE = {200, 201, 204, 304, 400, 403, 404, 406, 409, 410, 412, 415, 422, 428, 501, 502, 503, 504}
_SECONDS = {"search_deadline": 2, "write_deadline": 2, "write_settle": 0.2, "probe_interval": 0.1}

_HEADERS = st.dictionaries(
    st.sampled_from(
        ["Content-Type", "ETag", "Last-Modified", "Location", "Content-Location", "Retry-After", "Content-Encoding",
         "Transfer-Encoding", "Content-Length", "Set-Cookie", "Warning", "Connection", "X-Evil", "Link"]
    ),
    st.sampled_from(
        ["", "text/html", "application/fhir+xml", ANSWERED, 'W/"1"', "W/", '"é"', "*", "x" * 3000,
         "Sat, 01 Jan 2028 00:00:00 GMT",
         "CareTeam/../../x", "http://evil.exemple/fhir/CareTeam/1/_history/2", "CareTeam/n1/_history/1", "-1",
         "99999999999999999999",
         "gzip", "br", "identity", "chunked", "1\r\nX-Evil: 1", "\x00", "upgrade", "</x>; rel=next"]
    ),
    max_size=3,
)  # fmt: skip


@dataclass(frozen=True)
class Spoil:
    """What becomes of one honest answer. `raw`: bytes in its place; `status`, `headers`: in place of its own, or more."""

    changes: list[Change] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None

    def of(self, answer: Reply) -> Reply:
        body = answer.body
        if self.raw is not None:
            body = self.raw
        elif self.changes and body:
            body = written(spoiled(json.loads(body), self.changes))
        return Reply(
            self.status or answer.status, chopped(body, self.cuts), {**answer.headers, **self.headers}
        )


_spoils = st.builds(
    Spoil,
    changes=changes,
    cuts=st.one_of(st.just([]), st.just([]), cuts),
    # 5xx open the breaker, and what is not asked is not tried
    status=st.one_of(
        st.none(),
        st.none(),
        st.none(),
        st.sampled_from([200, 201, 204, 304, 400, 404, 409, 412, 200, 100, 600]),
    ),
    headers=st.one_of(st.just({}), st.just({}), _HEADERS),
    raw=st.one_of(
        st.none(),
        st.none(),
        st.none(),
        st.none(),
        st.binary(max_size=60),
        any_json.map(written),
        st.integers(100, 3000).map(
            lambda depth: b'{"resourceType":"Bundle","entry":' + b"[" * depth + b"]" * depth + b"}"
        ),
        st.integers(100, 3000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
        st.just(b'{"resourceType":"Bundle","type":"searchset","total":' + b"9" * 5000 + b"}"),
    ),
)
_targets = st.lists(
    st.sampled_from(
        [
            ("GET", "CareTeam", None),
            ("GET", "CareTeam?_include=CareTeam:subject&_include:iterate=CareTeam:participant", None),
            ("GET", "CareTeam?_count=2&_sort=-_lastUpdated", None),
            ("GET", "CareTeam?_total=accurate&_summary=count", None),
            ("GET", "CareTeam?patient.family=EXEMPLE", None),
            ("GET", f"CareTeam?patient.identifier={INS_TEST}|{ins(0)}", None),
            ("GET", "Patient?_revinclude=CareTeam:subject", None),
            ("GET", "CareTeam?_id=bre.c0,occ.c1&_elements=status", None),
            ("GET", "CareTeam/bre.c0", None),
            ("GET", "CareTeam/bre.c0/_history/1", None),
            ("GET", "CareTeam/bre.c0/_history", None),
            ("GET", "CareTeam/_history?_count=2", None),
            ("GET", "CareTeam?_format=xml", None),
            ("POST", "CareTeam/_search", "status=active"),
            ("GET", f"CareTeam/$locate?patient={INS_TEST}|{ins(0)}", None),
            ("POST", "CareTeam", CIRCLE | {"subject": {"reference": "Patient/bre.p0"}}),
            ("POST", "Organization", ORGANIZATION),
            ("PUT", "CareTeam/bre.c0", CIRCLE | {"id": "bre.c0", "subject": {"reference": "Patient/bre.p0"}}),
            ("POST", "", TRANSACTION),
        ]
    ),
    min_size=1,
    max_size=4,
)
_campaigns = st.tuples(_targets, st.lists(_spoils, min_size=1, max_size=6))


@dataclass
class Hostile(dict[str, Any]):
    """In place of a scripted manager's `replies`: takes every path, and spoils one answer after the other in turn."""

    manager: ScriptedManager
    spoils: list[Spoil] = field(default_factory=list)
    told: int = 0

    def get(self, path: str, default: Any = None) -> Callable[[Received], Reply] | None:
        return self._answer if self.spoils else default

    def _answer(self, received: Received) -> Reply:
        self.told += 1
        return self.spoils[self.told % len(self.spoils)].of(self._honest(received))

    def _honest(self, received: Received) -> Reply:
        """Writes are taken too, as far as it goes."""
        if received.method in ("POST", "PUT") and received.body and not received.path.endswith("_search"):
            try:
                resource = json.loads(received.body)
            except ValueError:
                resource = {}
            if resource.get("resourceType") == "Bundle":
                entries = [
                    {
                        "response": {
                            "status": "201 Created",
                            "location": "Organization/n1/_history/1",
                            "etag": 'W/"1"',
                        }
                    }
                    for _ in resource.get("entry", ())
                ]
                body = {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
                return Reply(200, written(body))
            made = {**resource, "id": "n1", "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"}}
            where = f"{self.manager.base_url}/{resource.get('resourceType')}/n1/_history/1"
            return Reply(201, written(made), {"Content-Type": ANSWERED, "Location": where, "ETag": 'W/"1"'})
        return self.manager._route(received, Faults())


@pytest.mark.timeout(max(120, int(seconds() * 3)))
def test_whatever_a_manager_answers(valkey_server: ValkeyServer) -> None:
    valkey = Valkey(valkey_server.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
    with watched() as log, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        broker, hostile = runner.run(_started(stack, valkey))

        def throw(example: Any) -> None:
            runner.run(_campaign(broker, hostile, log, *example))

        def between() -> None:
            runner.run(_honest_again(broker, hostile))

        try:
            campaign("answers", _campaigns, throw, between)
        finally:
            hostile.spoils = []
            runner.run(stack.aclose())
        assert not log.bad, "\n".join(log.bad)


async def _started(stack: AsyncExitStack, valkey: Valkey) -> tuple[Broker, Hostile]:
    registered: list[Gestionnaire] = []
    managers = {}
    for place, slug in enumerate((HOSTILE, HONEST)):
        manager = await stack.enter_async_context(
            scripted_manager(held_by(slug, range(place, 10, 2)), page_size=100)
        )
        managers[slug] = manager
        region = {"bre": "53", "occ": "76"}[slug]
        registered.append(manager.gestionnaire(slug, region=region, timeout=1.0))
    hostile = Hostile(managers[HOSTILE])
    managers[HOSTILE].replies = hostile
    given = {
        **_SECONDS,
        "locator": True,
        "locator_poll": 0.2,
        "locator_freshness": 30,
        "max_answer_bytes": 1 << 20,
    }
    broker = await stack.enter_async_context(
        federation(valkey, *registered, limit_rate=1e6, limit_address_rate=1e6, **given)
    )
    for slug in (HOSTILE, HONEST):
        await broker.running.store.save_skills(slug, CHECKED)
    await broker.running.managers.refresh()
    return broker, hostile


async def _campaign(
    broker: Broker, hostile: Hostile, log: Watched, targets: list[tuple[str, str, Any]], spoils: list[Spoil]
) -> None:
    hostile.spoils, hostile.told = spoils, 0
    try:
        await asyncio.gather(*(_asked(broker, *target) for target in targets))
    finally:
        hostile.spoils = []
    assert not log.bad, "\n".join(log.bad)


async def _asked(broker: Broker, method: str, target: str, body: Any) -> None:
    status, headers, found = await bounded(_exchanged(broker, method, target, body), f"{method} {target}")
    assert status in _DUE or is_failed_transaction(status, found), (method, target, status, found[:500])
    assert b"Traceback" not in found
    assert "x-evil" not in headers
    assert "set-cookie" not in headers
    if (method, target) == ("GET", "CareTeam"):
        assert status == 200, found[:500]
        honest = {one for one in ids(json.loads(found)) if one.startswith(HONEST)}
        assert honest == {f"occ.c{number}" for number in range(1, 10, 2)}, (
            "one manager harms no other's results"
        )


async def _exchanged(
    broker: Broker, method: str, target: str, body: Any
) -> tuple[int, dict[str, str], bytes]:
    data, kind = (
        (body, FORM)
        if isinstance(body, str)
        else (written(body), FHIR_JSON)
        if body is not None
        else (None, "")
    )
    headers = {"Content-Type": kind, "X-Gestionnaire": HOSTILE} if kind else {}
    url = f"{broker.base_url}/{target}".removesuffix("/")
    async with broker.http.request(method, url, data=data, headers=headers) as answer:
        return (
            answer.status,
            {name.lower(): value for name, value in answer.headers.items()},
            await answer.read(),
        )


async def _honest_again(broker: Broker, hostile: Hostile) -> None:
    """What it answers well is shown, as soon as it does."""
    assert not hostile.spoils

    async def shown() -> None:
        while True:
            found = await broker.bundle("CareTeam")
            if {one for one in ids(found) if one.startswith(HOSTILE)} >= {
                f"bre.c{number}" for number in range(0, 10, 2)
            }:
                return
            await asyncio.sleep(0.05)

    await bounded(shown(), "the manager answers well and is not shown")
