"""Traces of requests: one search is one trace over all its managers, clients' own traces, and a broker that makes none."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.commands.log_lines import JsonFormatter
from broker.core.trace_context import TraceContext, read_traceparent
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.tracing import ATTRIBUTES
from tests.support.broker_process import broker_program
from tests.support.cli_process import cli
from tests.support.collector import Collector, Taken, collector
from tests.support.federation import Broker, federation
from tests.support.fhir_builders import care_team
from tests.support.imported_modules import IMPORTED, is_of_redis
from tests.support.scripted_manager import Received, ScriptedManager, scripted_manager
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until

REGION = {"bre": "53", "occ": "76", "idf": "11"}
TRACE, THEIR_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
THEIRS = f"00-{TRACE}-{THEIR_SPAN}-01"
SEARCH = "GET /fhir/{type}"
LOST = 'cds_spans_dropped_total{reason="collector"}'


@dataclass
class World:
    broker: Broker
    managers: Mapping[str, ScriptedManager]
    collector: Collector

    def asked(self) -> dict[str, Received]:
        """The last search at each manager since the last `forget`."""
        return {
            slug: one
            for slug, manager in self.managers.items()
            for one in manager.requests
            if one.path.startswith("CareTeam")
        }

    def forget(self) -> None:
        for manager in self.managers.values():
            manager.requests.clear()

    async def whole(self, name: str = SEARCH) -> list[Taken]:
        """The trace of the first such request, all of it: its own span ends last."""
        return self.collector.of((await self.collector.span(name)).trace)


@asynccontextmanager
async def world(valkey: Valkey, *, traced: bool = True, **settings: Any) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        taken = await stack.enter_async_context(collector())
        managers = {
            slug: await stack.enter_async_context(
                scripted_manager([care_team(f"{slug}-{n}", identifier=f"{slug}-{n}") for n in range(3)])
            )
            for slug in REGION
        }
        declared = [one.gestionnaire(slug, region=REGION[slug]) for slug, one in managers.items()]
        given = {"otel_endpoint": taken.url} | settings if traced else settings
        broker = await stack.enter_async_context(federation(valkey, *declared, checked=True, **given))
        made = World(broker, managers, taken)
        made.forget()
        yield made


def only(spans: list[Taken], kind: str) -> list[Taken]:
    return [one for one in spans if one.kind == kind]


async def test_a_search_is_one_trace_over_its_managers(valkey: Valkey, tmp_path: Path) -> None:
    async with world(valkey, audit="file", audit_dir=tmp_path) as w:
        answered = await w.broker.get("CareTeam?identifier=bre-1", X_Request_Id="abc-1")
        assert answered.status == 200
        spans = await w.whole()
        named = {one.name: one for one in spans}
        (server,) = only(spans, "SERVER")
        assert (server.name, server.parent, server.links) == (SEARCH, "", ())
        assert server.attributes == {
            "http.request.method": "GET",
            "http.route": "/fhir/{type}",
            "http.response.status_code": 200,
            "cds.request_id": "abc-1",
        }
        fan_out = named["fan-out"]
        assert (fan_out.parent, fan_out.attributes) == (server.id, {"cds.managers": 3})
        clients = only(spans, "CLIENT")
        assert {one.parent for one in clients} == {fan_out.id}
        assert {one.attributes["cds.manager"] for one in clients} == set(REGION)
        for one in clients:
            assert one.name == "POST CareTeam/_search"
            assert one.attributes["http.response.status_code"] == 200
            assert one.attributes["http.response.body.size"] > 100
            assert server.start <= one.start <= one.end <= server.end
        merge = named["merge"]
        assert (merge.parent, merge.attributes["cds.streams"]) == (server.id, 3)
        assert named["audit"].parent == server.id
        # Each manager is told of the very exchange that it is a part of.
        told = {slug: TraceContext(one.headers["traceparent"]) for slug, one in w.asked().items()}
        assert all(one.is_sampled for one in told.values())
        assert {slug: (one.trace_id, one.span_id) for slug, one in told.items()} == {
            one.attributes["cds.manager"]: (one.trace, one.id) for one in clients
        }
        resource = server.resource
        assert (resource["service.name"], resource["service.version"]) == ("cds-broker", "0.1.0")
        assert len(resource["service.instance.id"]) == 36
        assert {name for one in spans for name in one.attributes} <= set(ATTRIBUTES)


async def test_how_a_manager_failed_is_told(valkey: Valkey) -> None:
    async with world(valkey) as w:
        w.managers["occ"].faults.status = 500
        await w.managers["idf"].refuse()
        await w.broker.get("CareTeam")
        clients = {one.attributes["cds.manager"]: one for one in only(await w.whole(), "CLIENT")}
        assert {slug: one.failed for slug, one in clients.items()} == {"bre": False, "occ": True, "idf": True}
        assert clients["occ"].attributes["error.type"] == "500"
        assert clients["occ"].attributes["http.response.status_code"] == 500
        assert clients["idf"].attributes["error.type"] == "unreachable"
        assert "http.response.status_code" not in clients["idf"].attributes


async def test_a_refusal_is_no_failure_of_the_broker_and_says_why(valkey: Valkey) -> None:
    async with world(valkey) as w:
        await w.broker.get("CareTeam?identifer=295109912611193", Prefer="handling=strict")
        (span,) = await w.whole()
        assert not span.failed
        assert span.attributes["http.response.status_code"] == 400
        assert span.attributes["cds.reason"] == "request.unknown-parameter"
        await w.broker.get("CareTeam/295109912611193/a/b/c")
        nowhere = await w.collector.span("GET")
        assert nowhere.attributes["http.response.status_code"] == 404
        assert not nowhere.failed
        w_health = await w.broker.get(w.broker.base_url.replace("/fhir", "/health/live"), traceparent=THEIRS)
        assert w_health.status == 200
        assert not any("/health" in one.name for one in w.collector.spans)
        assert b"295109912611193" not in b"".join(w.collector.bodies)


async def test_a_client_decides_nothing_and_is_linked_to(valkey: Valkey) -> None:
    async with world(valkey) as w:
        await w.broker.get("CareTeam", traceparent=THEIRS, tracestate="vendor=secret")
        spans = await w.whole()
        (server,) = only(spans, "SERVER")
        assert server.trace != TRACE
        assert (server.parent, server.links) == ("", ((TRACE, THEIR_SPAN),))
        for one in w.asked().values():
            assert one.headers["traceparent"][3:35] == server.trace
            assert "tracestate" not in one.headers
        assert all(one.state == "" for one in spans)
        # Nor does one that asks for no recording, nor one that is none.
        for given in (THEIRS[:-1] + "0", "00-295109912611193-1-01"):
            before = len(w.collector.named(SEARCH))
            await w.broker.get("CareTeam", traceparent=given)
            server = await w.collector.span(SEARCH, before + 1)
            assert len(server.links) == (1 if given.startswith(THEIRS[:50]) else 0)


async def test_a_client_that_is_believed_is_continued(valkey: Valkey) -> None:
    async with world(valkey, otel_continue=True, otel_sample=0.0) as w:
        await w.broker.get("CareTeam", traceparent=THEIRS, tracestate="vendor=secret")
        spans = await w.whole()
        (server,) = only(spans, "SERVER")
        assert (server.trace, server.parent, server.links) == (TRACE, THEIR_SPAN, ())
        ids = {one.id for one in only(spans, "CLIENT")}
        assert len(ids) == 3
        assert {one.headers["traceparent"][36:52] for one in w.asked().values()} == ids
        assert {one.headers["tracestate"] for one in w.asked().values()} == {"vendor=secret"}
        assert b"secret" not in b"".join(w.collector.bodies)
        # Its flag says that this one is not recorded, nor is one that begins here.
        w.forget()
        for given in ({"traceparent": THEIRS[:-1] + "0"}, {}):
            await w.broker.get("CareTeam", **given)
            told = {TraceContext(one.headers["traceparent"]).is_sampled for one in w.asked().values()}
            assert told == {False}
    assert len(w.collector.named(SEARCH)) == 1  # all has been sent by the end


async def test_what_is_not_sampled_is_told_to_managers_and_to_nobody_else(valkey: Valkey) -> None:
    async with world(valkey, otel_sample=0.0) as w:
        await w.broker.get("CareTeam")
        told = [one.headers["traceparent"] for one in w.asked().values()]
        assert len(told) == 3
        assert len({one[3:35] for one in told}) == 1
        assert all(read_traceparent(one) == one and one.endswith(("-00", "-02")) for one in told)
    assert w.collector.bodies == []


async def test_without_tracing_a_clients_trace_goes_through_as_it_came(valkey: Valkey) -> None:
    async with world(valkey, traced=False) as w:
        await w.broker.get("CareTeam", traceparent=THEIRS, tracestate="a=1,b=2")
        for one in w.asked().values():
            assert (one.headers["traceparent"], one.headers["tracestate"]) == (THEIRS, "a=1,b=2")
        for nothing in (
            {},
            {"traceparent": "00-295109912611193-1-01", "tracestate": "a=1"},
            {"tracestate": "a=1"},
        ):
            w.forget()
            await w.broker.get("CareTeam", **nothing)
            assert len(w.asked()) == 3
            for one in w.asked().values():
                assert not {"traceparent", "tracestate"} & set(one.headers)


async def test_a_probe_is_no_part_of_the_request_that_opened_the_breaker(valkey: Valkey) -> None:
    async with world(valkey, traced=False, probe_interval=0.1) as w:
        w.managers["occ"].faults.status = 500

        async def probed() -> bool:
            await w.broker.get("CareTeam", traceparent=THEIRS)
            return any(("_elements", "identifier") in one.params for one in w.managers["occ"].requests)

        await until(probed, seconds=10)
        probes = [one for one in w.managers["occ"].requests if ("_elements", "identifier") in one.params]
        assert all("traceparent" not in one.headers for one in probes)


async def test_log_lines_have_the_trace(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    formatter = JsonFormatter()
    lines: list[dict[str, Any]] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(formatter.format(record)))

    keeping = Keeping()
    log = logging.getLogger("broker.requests")
    log.addHandler(keeping)
    try:
        with caplog.at_level(logging.INFO, "broker.requests"):
            async with world(valkey) as w:
                await w.broker.get("CareTeam")
                server = await w.collector.span(SEARCH)
            async with world(valkey, traced=False) as w:
                await w.broker.get("CareTeam", traceparent=THEIRS)
                await w.broker.get("CareTeam")
    finally:
        log.removeHandler(keeping)
    told = [one.get("trace_id") for one in lines if one.get("route") == "/fhir/{type}"]
    assert told == [server.trace, TRACE, None]


async def test_a_dead_collector_costs_spans_and_no_request(valkey: Valkey) -> None:
    async with world(valkey) as w:
        w.collector.status = 400  # it is told so at once, and does not try again
        for _ in range(3):
            assert (await w.broker.get("CareTeam")).status == 200

        async def counted() -> bool:
            page = await w.broker.get(w.broker.base_url.replace("/fhir", "/metrics"))
            lost = next(
                line
                for line in page.body.decode().splitlines()
                if line.startswith('cds_spans_dropped_total{reason="collector"}')
            )
            return float(lost.split()[1]) >= 15

        await until(counted, seconds=15)
        assert w.collector.spans == []
        w.collector.status = 200
        assert (await w.broker.get("CareTeam")).status == 200
        await w.collector.span(SEARCH)


async def test_a_hung_collector_does_not_keep_the_broker_from_ending(valkey: Valkey) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        w = await stack.enter_async_context(world(valkey))
        w.collector.hold = asyncio.Event()
        assert (await w.broker.get("CareTeam")).status == 200
        began = loop.time()
    assert loop.time() - began < 10


async def test_the_environment_may_name_the_process(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one,deployment.environment.name=test")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "courtier")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ans")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    async with world(valkey) as w:
        await w.broker.get("CareTeam")
        resource = (await w.collector.span(SEARCH)).resource
        assert w.collector.headers[0]["x-tenant"] == "ans"
        assert w.collector.headers[0]["Content-Encoding"] == "gzip"
    assert (resource["service.name"], resource["service.instance.id"]) == ("courtier", "one")
    assert resource["deployment.environment.name"] == "test"
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with world(valkey, otel_service="other") as w:
        await w.broker.get("CareTeam", traceparent=THEIRS)
        assert {one.headers["traceparent"] for one in w.asked().values()} == {THEIRS}
    assert w.collector.bodies == []


@pytest.mark.parametrize("wrong", ["localhost:4318", "ftp://collector", "http://", "http://collector?a=b"])
def test_an_endpoint_is_an_address(wrong: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load(auth="none", otel_endpoint=wrong)
    assert "CDS_OTEL_ENDPOINT" in str(raised.value.params)


@pytest.mark.parametrize("wrong", ["-0.1", "1.1", "nan", "some"])
def test_a_share_is_one(wrong: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load(auth="none", otel_sample=wrong)
    assert "CDS_OTEL_SAMPLE" in str(raised.value.params)


@pytest.mark.parametrize("installed", [True, False])
async def test_a_broker_without_traces_imports_nothing_of_them(
    tmp_path: Path, own_valkey: ValkeyServer, installed: bool
) -> None:
    async with scripted_manager([care_team("1")]) as manager:
        file = tmp_path / "g.toml"
        file.write_text(
            f'[[gestionnaire]]\nid = "bre"\nname = "b"\nregion = "53"\nbase_url = "{manager.base_url}"\n'
        )
        program = broker_program(file, own_valkey.url, tmp_path / "data")
        program.module = "tests.support.imported_modules"
        if not installed:
            program.environment = {**program.environment, "TEST_ABSENT": "1"}
        await program.start()
        try:
            async with cli("search", "--url", program.base_url) as asked:
                await asked.ended()
            assert any(one.path.startswith("CareTeam") for one in manager.requests)
            assert await program.stopped() == 0
        finally:
            await program.gone()
    (told,) = [line for line in program.stderr if IMPORTED in line]
    found = json.loads(told.partition(IMPORTED)[2])
    # redis-py itself looks for an API of metrics wherever there is one.
    assert [one for one in found if not installed or not is_of_redis(one)] == []


async def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    given = {"CDS_AUTH": "none", "CDS_DATA_DIR": str(tmp_path), "TEST_ABSENT": "1", "LANG": "en_GB.UTF-8"}
    given |= {"CDS_OTEL_ENDPOINT": "http://127.0.0.1:4318"}
    async with cli(
        "serve", "--port", "0", environment=given, module="tests.support.imported_modules"
    ) as process:
        assert await process.ended() == 2
        told = await process.line("CDS_OTEL_ENDPOINT")
    assert "pip install 'cds-broker[otel]'" in told
