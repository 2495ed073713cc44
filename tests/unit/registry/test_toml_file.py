"""The file of managers and what it does to the registry."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from broker.errors import ConfigurationError
from registry.model import Status
from registry.toml_file import Applied, apply, parse, read
from tests.support.fake_stores import FakeGestionnaireStore
from tests.support.gestionnaires import gestionnaire

EXAMPLE = Path(__file__).parents[3] / "deploy" / "gestionnaires.example.toml"


def test_the_example_is_valid() -> None:
    declarations = read(EXAMPLE)
    assert len(declarations) >= 3
    assert "bre" in {one.id for one in declarations}


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.read_bytes())
    assert read(path) == read(EXAMPLE)


def test_no_managers_is_no_error() -> None:
    assert parse("", file="f") == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[[gestionnaire]", "TOML"),
        ("gestionnaire = 3", "[[gestionnaire]]"),
        ("[[gestionnaires]]\nid = 'a'", "[[gestionnaire]]"),
        ("[[gestionnaire]]\nid = 'a'", "gestionnaire[0].base_url"),
        (
            """
            [[gestionnaire]]
            id = 'a'
            name = 'A'
            region = '53'
            base_url = 'https://a.example'
            [[gestionnaire]]
            id = 'a'
            name = 'B'
            region = '53'
            base_url = 'https://b.example'
            """,
            "a.id",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, file="f.toml")
    assert caught.value.key == "config.gestionnaires"
    assert part in str(caught.value.params["problems_fr"])
    assert part in str(caught.value.params["problems_en"])


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path / "none.toml")
    assert caught.value.key == "config.file"


async def test_a_file_adds_changes_and_leaves() -> None:
    store = FakeGestionnaireStore()
    await store.put(gestionnaire("old"))
    await store.put(gestionnaire("same"))
    await store.put(gestionnaire("other"))
    declared = [gestionnaire("same"), gestionnaire("other", name="Nouveau nom"), gestionnaire("new")]
    assert await apply(store, declared) == Applied(added=("new",), changed=("other",), unchanged=("same",))
    assert [one.gestionnaire.id for one in await store.all()] == ["new", "old", "other", "same"]
    assert await apply(store, declared) == Applied(unchanged=("same", "other", "new"))


@pytest.mark.parametrize(
    ("now", "declared"), [(Status.SUSPENDED, Status.ACTIVE), (Status.ACTIVE, Status.SUSPENDED)]
)
async def test_the_file_does_not_undo_a_status(now: Status, declared: Status) -> None:
    store = FakeGestionnaireStore()
    await store.put(gestionnaire(status=now.value))
    await apply(store, [gestionnaire(status=declared.value, name="Nouveau nom")])
    kept = await store.get("bre")
    assert kept is not None
    assert (kept.gestionnaire.status, kept.gestionnaire.name) == (now, "Nouveau nom")


async def test_a_new_manager_may_start_suspended() -> None:
    store = FakeGestionnaireStore()
    await apply(store, [gestionnaire(status="suspended")])
    kept = await store.get("bre")
    assert kept is not None
    assert kept.gestionnaire.status is Status.SUSPENDED


async def test_several_processes_apply_one_file() -> None:
    store = FakeGestionnaireStore()
    results = await asyncio.gather(
        *(apply(store, [gestionnaire("aaa"), gestionnaire("bbb")]) for _ in range(4))
    )
    assert sum(len(result.added) for result in results) == 2
    assert [one.revision for one in await store.all()] == [1, 1]


async def test_an_address_of_another_is_an_error_of_the_file() -> None:
    store = FakeGestionnaireStore()
    await store.put(gestionnaire("aaa"))
    moved = msgspec.structs.replace(gestionnaire("bbb"), base_url="https://aaa.cds.example/fhir")
    with pytest.raises(ConfigurationError) as caught:
        await apply(store, [moved], file="f.toml")
    assert "bbb.base_url" in str(caught.value.params["problems_en"])
    assert "aaa" in str(caught.value.params["problems_en"])
