"""`cds-broker sync bootstrap` and `sync status --url`, as typed, against a running broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.commands.sync import app
from tests.support.cli_process import cli
from tests.support.ports import lasting_port
from tests.support.sync_world import SyncWorld, replication_topic, sync_world, told_of
from tests.support.valkey import Valkey
from tests.support.waiting import until
from tests.support.write_federation import address

_ENGLISH, _FRENCH = ({"COLUMNS": "200", "LC_ALL": f"{name}.UTF-8"} for name in ("C", "fr_FR"))


@pytest.fixture
async def world(valkey: Valkey) -> AsyncIterator[SyncWorld]:
    """Idf is subscribed, and has been sent one circle of Bretagne's."""
    async with sync_world(valkey) as made:
        await made.start()
        await made.circle("bre")
        await made.at_rest()
        await made.subscribe("idf")
        await until(lambda: sent(made), seconds=20)
        yield made


async def sent(world: SyncWorld) -> bool:
    found = (await as_json(world, "status"))["bootstraps"]
    return bool(found) and all(one["state"] == "done" for one in found)


async def typed(world: SyncWorld, *arguments: str, environment: dict[str, str] = _ENGLISH) -> Result:
    told = [*arguments, "--url", address(world.broker)]
    return await asyncio.to_thread(CliRunner(env=environment).invoke, app, told)


async def as_json(world: SyncWorld, *arguments: str) -> Any:
    result = await typed(world, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def told(world: SyncWorld) -> int:
    (circle,) = world.boxes["bre"].store.live("CareTeam")
    return len(told_of(await world.records(replication_topic(world, "idf")), f"bre.{circle}"))


async def test_bootstrap_sends_the_present_state_once_more_and_waits_until_it_is_sent(
    world: SyncWorld,
) -> None:
    before = await told(world)
    found = await as_json(world, "bootstrap", "--gestionnaire", "idf")
    assert {(one["id"], one["manager"], one["state"]) for one in found} == {
        ("idf", "bre", "done"),
        ("idf", "cor", "done"),
    }
    assert {one["manager"]: one["sent"] for one in found} == {"bre": 1, "cor": 0}
    assert await told(world) == before + 1
    async with world.agent("idf") as agent:
        await world.at_rest("idf")
        assert agent.tally.figures()["dead"] == 0
    assert world.versions()["idf"] == 1  # what came twice was applied once


async def test_bootstrap_shows_what_became_of_it_as_a_table(world: SyncWorld) -> None:
    shown = await typed(world, "bootstrap", "--gestionnaire", "idf")
    assert shown.exit_code == 0, shown.output
    assert "Present state" in shown.stdout
    assert shown.stdout.count("done") == 2
    french = await typed(world, "bootstrap", "--gestionnaire", "idf", environment=_FRENCH)
    assert "État initial" in french.stdout


async def test_bootstrap_need_not_be_waited_for(world: SyncWorld) -> None:
    before = await told(world)
    found = await as_json(world, "bootstrap", "--gestionnaire", "idf", "--no-wait")
    assert {one["manager"] for one in found} == {"bre", "cor"}

    async def is_told() -> bool:
        return await told(world) == before + 1

    await until(is_told, seconds=20)


async def test_bootstrap_ends_where_nothing_moves_and_names_who_is_not_done(world: SyncWorld) -> None:
    await world.stop_manager("bre")
    ended = await typed(world, "bootstrap", "--gestionnaire", "idf", "--patience", "1", "--json")
    assert ended.exit_code == 1
    assert ended.stderr.splitlines()[-1] == "Not done: bre."
    assert {one["manager"]: one["state"] == "done" for one in json.loads(ended.stdout)} == {
        "bre": False,
        "cor": True,
    }


@pytest.mark.parametrize(("slug", "said"), [("cor", "cor"), ("zzz", "zzz"), ("../x", "x")])
async def test_bootstrap_of_who_is_not_subscribed_is_refused_in_words(
    world: SyncWorld, slug: str, said: str
) -> None:
    arguments = ("sync", "bootstrap", "--gestionnaire", slug, "--url", address(world.broker))
    async with cli(*arguments) as process:
        assert await process.ended() == 1
    message = "\n".join(process.stderr)
    assert "Traceback" not in message
    assert said in message
    assert process.stdout == []


@pytest.mark.parametrize("command", [("bootstrap", "--gestionnaire", "idf"), ("status",)])
async def test_where_no_broker_answers_it_says_what_to_do(command: tuple[str, ...]) -> None:
    url = f"http://127.0.0.1:{lasting_port()}"
    async with cli("sync", *command, "--url", url) as process:
        assert await process.ended() == 1
    message = "\n".join(process.stderr)
    assert "Traceback" not in message
    assert f"No broker answers at {url}" in message


async def test_status_of_the_broker_is_what_its_api_says(world: SyncWorld) -> None:
    async with world.broker.http.get(f"{address(world.broker)}/registry/synchronisation") as response:
        by_api = await response.json(content_type=None)
    by_command = await as_json(world, "status")
    assert by_command.keys() == by_api.keys()
    assert by_command["engine"] == "redis-streams"
    assert by_command["publisher"] == by_api["publisher"] is not None
    (line,) = by_command["subscribers"]
    assert line.pop("backlog_seconds") >= 0
    assert line == {"id": "idf", "backlog_events": 1, "dead_letters": 0}  # no agent has run yet
    other = await as_json(world, "status", "--gestionnaire", "cor")
    assert (other["subscribers"], other["bootstraps"]) == ([], [])


async def test_status_of_the_broker_as_tables_in_both_languages(world: SyncWorld) -> None:
    for environment, words in (
        (_ENGLISH, ("to be published: 0", "To apply", "Present state")),
        (_FRENCH, ("à publier : 0", "À appliquer", "État initial")),
    ):
        shown = await typed(world, "status", environment=environment)
        assert shown.exit_code == 0, shown.output
        assert all(word in shown.stdout for word in words)
        assert "idf" in shown.stdout
    for value in world.personal:
        assert value not in shown.stdout
