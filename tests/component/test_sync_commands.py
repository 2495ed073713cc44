"""`cds-broker sync agent|status|dead-letters` on a real log, as typed."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.commands.sync import app
from broker.commands.sync_agent import chosen_manager
from broker.errors import ConfigurationError
from broker.sync.change_log import MAX_RECORD_BYTES, Position, Record
from broker.sync.dead_letters import Reason
from tests.support.agents import Region, region
from tests.support.cli_process import cli
from tests.support.valkey import Valkey
from tests.support.waiting import until


@pytest.fixture
async def world(valkey: Valkey) -> AsyncIterator[Region]:
    async with region(valkey) as made:
        yield made


def settings_of(valkey: Valkey) -> dict[str, str]:
    return {
        "CDS_REDIS_URL": valkey.url,
        "CDS_REDIS_PREFIX": valkey.keys.prefix,
        "CDS_DATA_DIR": "/nonexistent",
        "COLUMNS": "200",
        "LC_ALL": "C.UTF-8",
    }


async def typed(valkey: Valkey, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner(env=settings_of(valkey)).invoke, app, list(arguments))


async def as_json(valkey: Valkey, *arguments: str) -> Any:
    result = await typed(valkey, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def put_away(world: Region, count: int) -> None:
    """So many events that cannot be read, behind one that can."""
    await world.publish(world.home.created(0))
    await world.publish(*(replace(world.home.created(n), value=b"{}") for n in range(1, count + 1)))
    await world.settle()


async def test_the_agent_as_a_process_works_off_its_topic_and_says_what_it_did(
    valkey: Valkey, world: Region
) -> None:
    await world.publish(*(world.home.created(n) for n in range(5)))
    arguments = ("sync", "agent", "--gestionnaire", "occ", "--manager-url", world.box.base_url)
    async with cli(*arguments, "--once", "--json", environment=settings_of(valkey)) as process:
        assert await process.ended() == 0
    assert json.loads("".join(process.stdout)) == {
        "applied": 5,
        "needless": 0,
        "own": 0,
        "dead": 0,
        "retries": 0,
    }
    assert world.differences() == []
    # Nothing of a person is said, and no identifier: the lines name the manager, the topic and figures.
    said = "".join(process.stderr)
    assert "EXEMPLE" not in said
    assert "1.2.250.1.213" not in said
    assert "bre-1" not in said


async def test_the_agent_ends_in_order_when_told_to(valkey: Valkey, world: Region) -> None:
    arguments = ("sync", "agent", "--gestionnaire", "occ", "--manager-url", world.box.base_url)
    async with cli(*arguments, environment=settings_of(valkey)) as process:
        await process.line("agent of occ: topic")
        await world.publish(world.home.created(1))
        await until(lambda: world.differences() == [], seconds=20)
        process.signal(signal.SIGINT)
        assert await process.ended() == 0
    assert process.stdout == []


async def test_status_shows_backlog_and_dead_letters(valkey: Valkey, world: Region) -> None:
    await put_away(world, 2)
    await world.publish(*(world.home.created(n) for n in range(10, 14)))
    found = await as_json(valkey, "status")
    (line,) = found["managers"]
    assert line.pop("backlog_seconds") >= 0
    assert line == {"id": "occ", "backlog_events": 4, "dead_letters": 2}
    table = await typed(valkey, "status")
    assert table.exit_code == 0
    assert "occ" in table.stdout
    unknown = await as_json(valkey, "status", "--gestionnaire", "cor")
    assert unknown["managers"] == [
        {"id": "cor", "backlog_events": None, "backlog_seconds": None, "dead_letters": 0}
    ]


async def test_dead_letters_are_listed_without_telling_of_whom(valkey: Valkey, world: Region) -> None:
    await put_away(world, 2)
    found = (await as_json(valkey, "dead-letters", "list"))["dead_letters"]
    assert sorted((one["circle"], one["manager"], one["reason"], one["attempts"]) for one in found) == [
        ("bre.c1", "occ", "unreadable", 1),
        ("bre.c2", "occ", "unreadable", 1),
    ]
    table = (await typed(valkey, "dead-letters", "list", "--gestionnaire", "occ")).stdout
    assert "bre.c2" in table
    assert "unreadable" in table


async def test_dead_letters_are_replayed_one_or_all(valkey: Valkey, world: Region) -> None:
    await put_away(world, 3)
    found = (await as_json(valkey, "dead-letters", "list"))["dead_letters"]
    first = found[0]["id"]
    assert await as_json(valkey, "dead-letters", "replay", first) == {"replayed": 1, "not_replayed": []}
    left = (await as_json(valkey, "dead-letters", "list"))["dead_letters"]
    assert [one["id"] for one in left] == [one["id"] for one in found[1:]]
    missing = await typed(valkey, "dead-letters", "replay", "no-such-id")
    assert missing.exit_code == 1
    assert await as_json(valkey, "dead-letters", "replay", "--gestionnaire", "occ") == {
        "replayed": 2,
        "not_replayed": [],
    }
    assert await as_json(valkey, "dead-letters", "list") == {"dead_letters": []}
    agent = await world.settle()  # they are as unreadable as before, and come back
    assert agent.tally.figures()["dead"] == 3


async def test_a_dead_letter_is_given_up_with_its_content(valkey: Valkey, world: Region) -> None:
    await put_away(world, 1)
    (letter,) = await world.dead()
    assert await as_json(valkey, "dead-letters", "discard", letter.id) == {
        "discarded": 1,
        "not_discarded": [],
    }
    assert await world.dead() == []
    kept = [record.value async for batch in world.log.read(world.letters.topic) for record in batch.records]
    assert kept == [None]
    assert (await typed(valkey, "dead-letters", "discard", letter.id)).exit_code == 1


async def test_an_event_put_away_twice_is_one_dead_letter(world: Region) -> None:
    await world.letters.ensure()
    record = Record(b"bre.c1", b"value", (("ce_id", b"x"), ("dl_reason", b"forged")), Position(2, "7-1"), 0.0)
    for attempts in (1, 2):
        await world.letters.add(record, "topic", Reason.REFUSED, "CareTeam 422", attempts)
    (letter,) = await world.dead()
    assert (letter.reason, letter.attempts, letter.partition, letter.offset) == ("refused", 2, 2, "7-1")


async def test_a_dead_letter_comes_back_as_it_was(world: Region) -> None:
    await world.letters.ensure()
    whole = Record(b"bre.c1", b"value", (("ce_id", b"x"), ("ce_id", b"y")), Position(0, "1"), 0.0)
    tombstone = Record(b"bre.c2", None, (("ce_id", b"z"),), Position(0, "2"), 0.0)
    for one in (whole, tombstone):
        await world.letters.add(one, "topic", Reason.CONFLICT, "", 1)
    assert await world.letters.replay(await world.dead()) == 2
    found = {
        record.key: (record.value, record.headers)
        async for batch in world.log.read("cds.replication.occ")
        for record in batch.records
    }
    assert found == {b"bre.c1": (whole.value, whole.headers), b"bre.c2": (None, tombstone.headers)}


async def test_one_that_is_too_large_to_be_kept_is_told_without_its_content(world: Region) -> None:
    await world.letters.ensure()
    record = Record(b"bre.c1", bytes(MAX_RECORD_BYTES - 10), (), Position(0, "1"), 0.0)
    await world.letters.add(record, "topic", Reason.REFUSED, "CareTeam 413", 1)
    (letter,) = await world.dead()
    assert (letter.circle, letter.replayable) == ("bre.c1", False)
    assert await world.letters.replay([letter]) == 0
    assert len(await world.dead()) == 1


def test_the_manager_is_told_by_file_or_address(tmp_path: Path) -> None:
    file = tmp_path / "gestionnaires.toml"
    file.write_text(
        '[[gestionnaire]]\nid = "occ"\nname = "Occitanie"\nregion = "76"\n'
        'base_url = "https://cds.occitanie.example/fhir"\n'
        'auth = { type = "bearer", token_env = "OCC_TOKEN" }\n'
    )
    declared = chosen_manager("occ", None, file)
    assert declared.base_url == "https://cds.occitanie.example/fhir"
    moved = chosen_manager("occ", "http://127.0.0.1:9001/fhir/", file)
    assert (moved.base_url, moved.auth) == ("http://127.0.0.1:9001/fhir", declared.auth)
    assert chosen_manager("bre", "http://127.0.0.1:9001/fhir", file).id == "bre"
    for slug, url, where, key in (
        ("bre", None, file, "config.agent-unknown"),
        ("bre", None, None, "config.agent-address"),
        ("bre", "ftp://x", None, "config.agent-manager"),
        ("Bre/", "http://x.example", None, "config.agent-manager"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            chosen_manager(slug, url, where)
        assert refused.value.key == key
