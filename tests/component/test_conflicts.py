"""Persons with two homes on a running broker: its API, its metrics, its topic, and the command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from adapters.clock import SystemClock
from adapters.redis_streams_log import LogKeys, RedisStreamsLog
from adapters.sandbox.store import Store
from broker.commands.sync import app
from broker.sync.change_log import Record
from registry.redis_connection import connect
from tests.support.federation import Broker, federation
from tests.support.fhir_builders import care_team, patient
from tests.support.locator_broker import QUICK, api, fill, fresh, write
from tests.support.recorded_sandbox import recorded_sandbox
from tests.support.valkey import Valkey
from tests.support.waiting import until

PATH = "/registry/conflicts"
MALFORMED = (
    "state=all",
    "state=",
    "limit=0",
    "limit=501",
    "limit=x",
    "limit=",
    "after=x",
    "after=1-1",
    "page=2",
)


@asynccontextmanager
async def two_regions(valkey: Valkey) -> AsyncIterator[tuple[Broker, Store, Store]]:
    """`bre` holds the circles of persons 0 to 9, `occ` of 10 to 19."""
    bre, occ = Store(SystemClock()), Store(SystemClock())
    fill(bre, range(10))
    fill(occ, range(10, 20))
    async with recorded_sandbox(bre) as one, recorded_sandbox(occ) as other:
        managers = (one.gestionnaire("bre"), other.gestionnaire("occ", region="76"))
        async with federation(valkey, *managers, **QUICK, sync=True) as broker:
            await fresh(broker, "bre", "occ")
            yield broker, bre, occ


def second_home(store: Store, number: int) -> None:
    """Another circle of a person whose first one is elsewhere."""
    person = patient(f"q{number}", ins=f"ins{number}")
    write(store, person, care_team(f"second{number}", subject=f"Patient/q{number}", identifier=f"b{number}"))


async def shown(broker: Broker, query: str = "") -> dict[str, Any]:
    status, found = await api(broker, "GET", PATH + query)
    assert status == 200, found
    return found


async def typed(broker: Broker, *arguments: str) -> Result:
    environment = {"CDS_URL": broker.base_url.removesuffix("/fhir"), "COLUMNS": "200", "LC_ALL": "C.UTF-8"}
    return await asyncio.to_thread(CliRunner(env=environment).invoke, app, ["conflicts", *arguments])


async def topic(valkey: Valkey) -> list[Record]:
    client = connect(valkey.url)
    try:
        log = RedisStreamsLog(client, SystemClock(), keys=LogKeys(valkey.keys.prefix))
        if "cds.conflicts" not in await log.topics():
            return []
        return [record async for batch in log.read("cds.conflicts") for record in batch.records]
    finally:
        await client.aclose()


async def test_from_a_second_circle_to_its_end(valkey: Valkey) -> None:
    async with two_regions(valkey) as (broker, _, occ):

        async def looked() -> bool:
            return (await shown(broker))["as_of"] is not None

        await until(looked)
        assert (await shown(broker)) | {"as_of": None} == {
            "conflicts": [],
            "total": 0,
            "as_of": None,
            "next": None,
        }
        assert (await typed(broker)).stdout == "No conflict.\n"
        second_home(occ, 3)

        async def told() -> bool:
            found = (await shown(broker))["conflicts"]
            return len(found) == 1 and found[0]["published"]

        await until(told, seconds=10)
        found = await shown(broker)
        (one,) = found["conflicts"]
        assert found["total"] == 1
        assert (one["state"], one["resolved"], one["count"]) == ("open", None, 2)
        assert one["circles"] == [
            {"reference": "CareTeam/bre.c3", "manager": "bre", "name": "Gestionnaire bre", "region": "53"},
            {
                "reference": "CareTeam/occ.second3",
                "manager": "occ",
                "name": "Gestionnaire occ",
                "region": "76",
            },
        ]
        for circle in one["circles"]:  # what the list points to can be read
            read = await broker.get(circle["reference"])
            assert (read.status, read.json["resourceType"]) == (200, "CareTeam")
        async with broker.http.get(broker.base_url.removesuffix("/fhir") + "/metrics") as response:
            metrics = await response.text()
        assert "cds_conflicts 1.0" in metrics
        assert "cds_conflict_oldest_seconds" in metrics

        listed = await typed(broker, "--json")
        assert listed.exit_code == 0
        assert json.loads(listed.stdout)["conflicts"] == [one]
        table = (await typed(broker)).stdout
        assert one["id"] in table
        assert "CareTeam/occ.second3" in table
        assert "occ · Gestionnaire occ" in table
        (event,) = await topic(valkey)
        for text in (json.dumps(found), table, metrics, repr(event)):
            assert "ins3" not in text

        occ.delete("CareTeam", "second3")

        async def over() -> bool:
            return bool((await shown(broker, "?state=resolved"))["conflicts"])

        await until(over, seconds=10)
        assert (await shown(broker))["conflicts"] == []
        assert one["id"] in (await typed(broker, "--state", "resolved")).stdout

        async def cleared() -> bool:
            return [record.value for record in await topic(valkey)] == [None]

        await until(cleared)


async def test_the_list_comes_in_pages(valkey: Valkey) -> None:
    async with two_regions(valkey) as (broker, bre, occ):
        for number in range(3):
            second_home(occ, number)
            second_home(bre, number + 10)

        async def all_there() -> bool:
            return (await shown(broker))["total"] == 6

        await until(all_there, seconds=10)
        found, query = [], "?limit=4"
        while True:
            page = await shown(broker, query)
            found.append(len(page["conflicts"]))
            if page["next"] is None:
                break
            query = f"?limit=4&after={page['next']}"
        assert found == [4, 2]
        assert len(json.loads((await typed(broker, "--json")).stdout)["conflicts"]) == 6


async def test_what_cannot_be_asked(valkey: Valkey) -> None:
    async with federation(valkey, **QUICK) as broker:
        for query in MALFORMED:
            status, problem = await api(broker, "GET", f"{PATH}?{query}")
            assert (status, problem["type"].rpartition(":")[2].rpartition("#")[2]) == (
                400,
                "registry.bad-value",
            ), query
        document = (await api(broker, "GET", "/registry/openapi.json"))[1]["paths"][PATH]["get"]
        assert [one["name"] for one in document["parameters"]] == ["state", "limit", "after"]


@pytest.mark.parametrize("arguments", [("--state", "nothing"), ("--nothing",)])
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, ["conflicts", *arguments]).exit_code == 2


def test_no_broker() -> None:
    result = CliRunner().invoke(app, ["conflicts", "--url", "http://127.0.0.1:1"])
    assert result.exit_code != 0


def test_help() -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["conflicts", "--help"])
    assert "cds-broker sync conflicts --json" in result.stdout
