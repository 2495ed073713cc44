"""The edge of the broker over real HTTP: headers, conditions, preferences, languages, and what no route takes."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest

from adapters.sandbox.app import running_sandbox
from broker.core.messages import text
from registry.model import Gestionnaire
from tests.support.federation import Broker, federation, outcome_codes
from tests.support.fhir_builders import care_team, patient
from tests.support.scripted_manager import Reply, ScriptedManager, reply, scripted_manager
from tests.support.valkey import Valkey

HELD = [
    patient("p1"),
    *(care_team(f"c{n}", last_updated=f"2026-01-0{n}T10:00:00Z") for n in range(1, 8)),
]
CHANGED = "Thu, 01 Jan 2026 10:00:00 GMT"  # of c1


@pytest.fixture
async def broker(valkey: Valkey) -> AsyncIterator[Broker]:
    """Over one sandbox, known as `bre`."""
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(running_sandbox(HELD))
        manager = Gestionnaire("bre", "Bretagne", "53", box.base_url)
        yield await stack.enter_async_context(federation(valkey, manager))


@asynccontextmanager
async def over_scripted(valkey: Valkey) -> AsyncIterator[tuple[Broker, ScriptedManager]]:
    async with scripted_manager(HELD) as manager, federation(valkey, manager.gestionnaire("bre")) as made:
        yield made, manager


@asynccontextmanager
async def asked(
    broker: Broker, method: str, target: str, **headers: str
) -> AsyncIterator[tuple[aiohttp.ClientResponse, bytes]]:
    """An answer as it stands on the wire: nothing is asked for or unpacked by the client itself."""
    root = broker.base_url.removesuffix("/fhir")
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as http:
        http.headers.pop("Accept-Encoding", None)
        async with http.request(method, root + target, headers=sent) as response:
            yield response, await response.read()


# --- methods and addresses


@pytest.mark.parametrize(
    "target",
    ["/fhir/CareTeam/bre.c1", "/fhir/CareTeam?_count=2", "/fhir/metadata", "/fhir/CareTeam/bre.c1/_history"],
)
async def test_head_gives_the_headers_of_get_and_no_body(broker: Broker, target: str) -> None:
    async with asked(broker, "GET", target) as (got, content):
        pass
    async with asked(broker, "HEAD", target) as (head, nothing):
        assert (head.status, nothing) == (200, b"")
        assert content
        assert (
            head.headers["Content-Type"]
            == got.headers["Content-Type"]
            == "application/fhir+json; charset=utf-8"
        )
        assert head.headers.get("ETag") == got.headers.get("ETag")
        assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/fhir", (404, 405)),
        ("GET", "/fhir/", (404, 405)),
        ("DELETE", "/fhir/CareTeam/bre.c1", (405,)),
        ("PATCH", "/fhir/CareTeam/bre.c1", (405,)),
        ("POST", "/fhir/metadata", (405,)),
        ("OPTIONS", "/fhir/CareTeam", (405,)),
        ("GET", "/fhir/CareTeam/bre.c1/nonsense", (404,)),
        ("GET", "/fhir/Basic/1", (404,)),
        ("GET", "/fhir/CareTeam/bre.c1%2F_history", (404,)),
    ],
)
async def test_what_fhir_does_not_offer_is_refused_with_an_outcome(
    broker: Broker, method: str, target: str, status: tuple[int, ...]
) -> None:
    async with asked(broker, method, target, Origin="https://elsewhere.example") as (response, content):
        assert response.status in status
        assert response.headers["Content-Type"].startswith("application/fhir+json")
        assert json.loads(content)["resourceType"] == "OperationOutcome"
        assert response.headers["X-Request-Id"]
        assert ("Allow" in response.headers) == (response.status == 405)
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


async def test_refusals_are_xml_where_xml_is_asked_for(broker: Broker) -> None:
    async with asked(broker, "DELETE", "/fhir/CareTeam/bre.c1", Accept="application/fhir+xml") as (
        _,
        content,
    ):
        assert ET.fromstring(content).tag == "{http://hl7.org/fhir}OperationOutcome"


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/registry", 404),
        ("GET", "/registry/nonsense", 404),
        ("DELETE", "/registry/gestionnaires", 405),
        ("PUT", "/registry/openapi.json", 405),
    ],
)
async def test_the_registry_refuses_with_a_problem_document(
    broker: Broker, method: str, target: str, status: int
) -> None:
    async with asked(broker, method, target) as (response, content):
        assert (response.status, response.headers["Content-Type"]) == (status, "application/problem+json")
        problem = json.loads(content)
        assert problem["status"] == status
        assert problem["fr"]
        assert problem["en"]
        assert ("Allow" in response.headers) == (status == 405)
        assert response.headers["X-Request-Id"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_registry_as_fhir_refuses_with_an_outcome(broker: Broker, method: str) -> None:
    target = {"GET": "/registry/fhir/Nonsense", "DELETE": "/registry/fhir/Organization"}[method]
    async with asked(broker, method, target) as (response, content):
        assert response.status in (404, 405)
        assert json.loads(content)["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("target", ["/", "/nonsense", "/fhirs", "/registryx", "/favicon.ico"])
async def test_elsewhere_nothing_is_found_and_it_is_said_plainly(broker: Broker, target: str) -> None:
    async with asked(broker, "GET", target, X_Request_Id="abc-7") as (response, content):
        assert response.status == 404
        assert response.headers["Content-Type"].startswith("text/plain")
        assert b"resourceType" not in content
        assert response.headers["X-Request-Id"] == "abc-7"


# --- reads and their conditions


async def test_a_read_carries_version_and_date(broker: Broker) -> None:
    answered = await broker.get("CareTeam/bre.c1")
    assert answered.headers["ETag"] == 'W/"1"'
    assert answered.headers["Last-Modified"] == CHANGED
    assert answered.headers["Cache-Control"] == "no-store"
    assert answered.headers["X-Intermediary"] == "cds-broker"


@pytest.mark.parametrize("target", ["CareTeam/bre.c1", "CareTeam/bre.c1/_history/1"])
@pytest.mark.parametrize("accept", ["application/fhir+json", "application/fhir+xml"])
async def test_conditions_spare_the_body(broker: Broker, target: str, accept: str) -> None:
    for headers in (
        {"If_None_Match": 'W/"1"'},
        {"If_None_Match": 'W/"7", W/"1"'},
        {"If_Modified_Since": CHANGED},
        {"If_Modified_Since": "Fri, 02 Jan 2026 10:00:00 GMT"},
    ):
        answered = await broker.get(target, Accept=accept, **headers)
        assert (answered.status, answered.body) == (304, b""), headers
        assert answered.headers["ETag"] == 'W/"1"'
    for headers in (
        {"If_None_Match": 'W/"2"'},
        {"If_Modified_Since": "Thu, 01 Jan 2026 09:59:59 GMT"},
        {"If_Modified_Since": "yesterday"},
    ):
        assert (await broker.get(target, Accept=accept, **headers)).status == 200, headers


async def test_a_manager_without_validators_or_conditions_is_made_up_for(valkey: Valkey) -> None:
    async with over_scripted(valkey) as (broker, manager):
        manager.replies["CareTeam/c1"] = reply(HELD[1])
        answered = await broker.get("CareTeam/bre.c1")
        assert answered.headers["ETag"] == 'W/"1"'
        assert parsedate_to_datetime(answered.headers["Last-Modified"]) == parsedate_to_datetime(CHANGED)
        assert (await broker.get("CareTeam/bre.c1", If_None_Match='W/"1"')).status == 304
        assert manager.requests[-1].headers["if-none-match"] == 'W/"1"'
        manager.replies["CareTeam/c1"] = Reply(304)
        refused = await broker.get("CareTeam/bre.c1")
        assert refused.status == 502
        assert outcome_codes(refused.json) == [("manager.invalid", "bre")]


def located(address: str) -> Reply:
    read = reply(HELD[1])
    read.headers["Content-Location"] = address
    return read


async def test_content_location_speaks_public_ids(valkey: Valkey) -> None:
    async with over_scripted(valkey) as (broker, manager):
        at = f"{manager.base_url}/CareTeam/c1/_history/1"
        manager.replies["CareTeam/c1"] = located(at)
        answered = await broker.get("CareTeam/bre.c1")
        assert answered.headers["Content-Location"] == f"{broker.base_url}/CareTeam/bre.c1/_history/1"
        manager.replies["CareTeam/c1"] = located("https://elsewhere.example/x")
        assert "Content-Location" not in (await broker.get("CareTeam/bre.c1")).headers


# --- forms of an answer


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        (None, False),
        ("identity", False),
        ("gzip", True),
        ("GZIP;q=0.5, br", True),
        ("deflate, gzip", True),
        ("*", True),
        ("deflate, br", False),
        ("gzip;q=0", False),
        ("*, gzip;q=0", False),
    ],
)
async def test_gzip_only_where_it_is_asked_for(broker: Broker, accepted: str | None, *, packed: bool) -> None:
    headers = {"Accept_Encoding": accepted} if accepted else {}
    for target in ("/fhir/CareTeam", "/registry/openapi.json"):
        async with asked(broker, "GET", target, **headers) as (response, content):
            assert response.headers.get("Content-Encoding") == ("gzip" if packed else None)
            assert response.headers["Vary"] == "Accept-Encoding"
            assert json.loads(gzip.decompress(content) if packed else content)


async def test_pretty_is_taken_and_ignored(broker: Broker) -> None:
    plain = await broker.get("CareTeam?_count=2&_sort=_lastUpdated")
    pretty = await broker.get("CareTeam?_count=2&_sort=_lastUpdated&_pretty=true", Prefer="handling=strict")
    assert pretty.status == 200
    assert [e["resource"] for e in pretty.json["entry"]] == [e["resource"] for e in plain.json["entry"]]
    assert (await broker.get("CareTeam/bre.c1?_pretty=true")).json == (
        await broker.get("CareTeam/bre.c1")
    ).json
    assert (await broker.get("CareTeam/_history?_pretty=true")).status == 200
    assert (await broker.get("metadata?_pretty=true")).status == 200


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("en", "en"),
        ("fr", "fr"),
        ("de, en;q=0.3", "en"),
        ("en;q=0.2, fr-FR;q=0.9", "fr"),
        ("", "fr"),
        ("de", "fr"),
    ],
)
async def test_an_outcome_is_in_the_clients_language_with_the_other_beside_it(
    broker: Broker, accepted: str, language: str
) -> None:
    expected = {one: text("request.not-found", one) for one in ("fr", "en")}
    outcome = (await broker.get("CareTeam/bre.nobody", Accept_Language=accepted)).json
    details: dict[str, Any] = outcome["issue"][0]["details"]
    [translation] = details["_text"]["extension"]
    other = {part["url"]: part.get("valueCode") or part["valueString"] for part in translation["extension"]}
    assert outcome["language"] == language
    assert other["lang"] == {"fr": "en", "en": "fr"}[language]
    assert {language: details["text"], other["lang"]: other["content"]} == expected


# --- preferences


@pytest.mark.parametrize(
    ("target", "stated", "applied"),
    [
        ("CareTeam", None, None),
        ("CareTeam", "handling=strict", "handling=strict"),
        ("CareTeam", "handling=lenient", "handling=lenient"),
        ("CareTeam", "respond-async", None),
        ("CareTeam", "wait=2, partial=deny, handling=strict", "handling=strict, partial=deny, wait=2"),
        ("CareTeam", "wait=100", None),  # longer than the broker ever waits
        ("CareTeam", "return=minimal", None),  # not of a search
        ("CareTeam/_history", "partial=allow, handling=strict", "handling=strict, partial=allow"),
        ("CareTeam/bre.c1", "wait=1.5, partial=deny", "wait=1.5"),
    ],
)
async def test_what_was_honoured_is_said(
    broker: Broker, target: str, stated: str | None, applied: str | None
) -> None:
    answered = await broker.get(target, **({"Prefer": stated} if stated else {}))
    assert answered.status == 200
    assert answered.headers.get("Preference-Applied") == applied


async def test_a_partial_answer_refused_says_that_this_was_wished(valkey: Valkey) -> None:
    async with over_scripted(valkey) as (broker, manager):
        manager.faults.status = 500
        answered = await broker.get("CareTeam", Prefer="partial=deny")
        assert answered.status == 503
        assert answered.headers["Preference-Applied"] == "partial=deny"
        assert answered.headers["Retry-After"]


@pytest.mark.parametrize("stated", ["handling=maybe", "wait=soon", "partial=perhaps"])
async def test_a_preference_that_cannot_be_is_refused(broker: Broker, stated: str) -> None:
    answered = await broker.get("CareTeam", Prefer=stated)
    assert answered.status == 400
    assert outcome_codes(answered.json) == [("request.bad-preference", None)]


# --- what goes on to managers


@pytest.mark.parametrize(
    "target", ["CareTeam", "CareTeam/bre.c1", "CareTeam/bre.c1/_history", "Patient/bre.p1"]
)
async def test_managers_are_told_the_request_and_the_way_it_came(valkey: Valkey, target: str) -> None:
    async with over_scripted(valkey) as (broker, manager):
        await broker.get(
            target,
            X_Request_Id="req-42",
            Via="1.1 proxy.example, 1.1 cds-broker-0123456789abcdef",
            Authorization="Bearer of the client",
            Cookie="a=b",
        )
        received = manager.requests[-1]
        assert received.headers["x-request-id"] == "req-42"
        hops = [hop.strip() for hop in received.headers["via"].split(",")]
        assert hops[0] == "1.1 cds-broker-0123456789abcdef"
        assert len(hops) == 2
        assert hops[1].startswith("1.1 cds-broker-")
        assert "authorization" not in received.headers
        assert "cookie" not in received.headers


async def test_a_request_that_was_here_before_is_refused(valkey: Valkey) -> None:
    async with over_scripted(valkey) as (broker, manager):
        await broker.get("CareTeam/bre.c1")
        own = manager.requests[-1].headers["via"]
        count = len(manager.requests)
        answered = await broker.get("CareTeam/bre.c1", Via=own)
        assert outcome_codes(answered.json) == [("federation.loop", None)]
        assert answered.status >= 400
        assert len(manager.requests) == count
