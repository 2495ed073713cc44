"""What a store of managers must do: run on the fake and on the real one."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from broker.errors import RequestError
from registry.model import Skills, Status
from tests.contract.stores.conftest import Stores
from tests.support.gestionnaires import gestionnaire
from tests.support.waiting import until


async def test_an_empty_store_knows_nobody(stores: Stores) -> None:
    assert list(await stores.gestionnaires.all()) == []
    assert await stores.gestionnaires.get("bre") is None
    assert list(await stores.gestionnaires.history("bre")) == []
    assert await stores.gestionnaires.remove("bre") is False


async def test_what_is_put_is_given_back(stores: Stores) -> None:
    declared = gestionnaire(
        territory=["22", "2A"],
        timeout=3,
        auth={"type": "bearer", "token_env": "TOKEN"},
        dialect={"chaining": False},
    )
    put = await stores.gestionnaires.put(declared)
    assert put.gestionnaire == declared
    assert put.revision == 1
    assert put.updated_at.endswith("Z")
    assert await stores.gestionnaires.get("bre") == put


async def test_managers_come_in_the_order_of_their_slugs(stores: Stores) -> None:
    for slug in ("pdl", "bre", "idf"):
        await stores.gestionnaires.put(gestionnaire(slug))
    assert [one.gestionnaire.id for one in await stores.gestionnaires.all()] == ["bre", "idf", "pdl"]


async def test_writing_the_same_changes_nothing(stores: Stores) -> None:
    first = await stores.gestionnaires.put(gestionnaire())
    assert await stores.gestionnaires.put(gestionnaire()) == first
    assert len(await stores.gestionnaires.history("bre")) == 1


async def test_each_change_is_a_revision(stores: Stores) -> None:
    await stores.gestionnaires.put(gestionnaire())
    second = await stores.gestionnaires.put(gestionnaire(name="Autre"), expected_revision=1)
    assert second.revision == 2
    history = await stores.gestionnaires.history("bre")
    assert [(one.revision, removed) for one, removed in history] == [(2, False), (1, False)]
    assert history[0][0].gestionnaire.name == "Autre"


@pytest.mark.parametrize("expected", [0, 2])
async def test_another_revision_is_a_conflict(stores: Stores, expected: int) -> None:
    await stores.gestionnaires.put(gestionnaire())
    with pytest.raises(RequestError) as caught:
        await stores.gestionnaires.put(gestionnaire(name="Autre"), expected_revision=expected)
    assert caught.value.key == "registry.conflict"
    assert (await stores.gestionnaires.get("bre")).gestionnaire.name == "GCS e-Santé Bretagne"


async def test_a_revision_of_nobody_is_a_conflict(stores: Stores) -> None:
    with pytest.raises(RequestError):
        await stores.gestionnaires.put(gestionnaire(), expected_revision=1)


async def test_of_concurrent_creations_one_wins(stores: Stores) -> None:
    outcomes = await asyncio.gather(
        *(
            stores.gestionnaires.put(gestionnaire(name=f"Nom {number}"), expected_revision=0)
            for number in range(8)
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert len(await stores.gestionnaires.history("bre")) == 1


async def test_no_concurrent_change_is_lost(stores: Stores) -> None:
    await asyncio.gather(*(stores.gestionnaires.put(gestionnaire(name=f"Nom {n}")) for n in range(8)))
    history = await stores.gestionnaires.history("bre")
    assert [one.revision for one, _ in history] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert {one.gestionnaire.name for one, _ in history} == {f"Nom {n}" for n in range(8)}


async def test_two_managers_never_share_an_address(stores: Stores) -> None:
    outcomes = await asyncio.gather(
        *(
            stores.gestionnaires.put(gestionnaire(slug, base_url="https://same.example/fhir"))
            for slug in ("aaa", "bbb", "ccc")
        ),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, RequestError)]
    assert [error.key for error in refused] == ["registry.same-address"] * 2


async def test_an_address_is_free_again_when_it_is_given_up(stores: Stores) -> None:
    await stores.gestionnaires.put(gestionnaire("aaa", base_url="https://one.example/fhir"))
    await stores.gestionnaires.put(gestionnaire("aaa", base_url="https://two.example/fhir"))
    await stores.gestionnaires.put(gestionnaire("bbb", base_url="https://one.example/fhir"))
    await stores.gestionnaires.remove("aaa")
    await stores.gestionnaires.put(gestionnaire("ccc", base_url="https://two.example/fhir"))
    assert [one.gestionnaire.id for one in await stores.gestionnaires.all()] == ["bbb", "ccc"]


async def test_a_removal_is_a_version_and_revisions_go_on(stores: Stores) -> None:
    await stores.gestionnaires.put(gestionnaire())
    assert await stores.gestionnaires.remove("bre") is True
    assert await stores.gestionnaires.get("bre") is None
    assert await stores.gestionnaires.remove("bre") is False
    again = await stores.gestionnaires.put(gestionnaire(), expected_revision=0)
    assert again.revision == 3
    history = await stores.gestionnaires.history("bre")
    assert [(one.revision, removed) for one, removed in history] == [(3, False), (2, True), (1, False)]
    assert list(await stores.gestionnaires.known_slugs()) == ["bre"]


async def test_the_history_is_bounded(stores: Stores) -> None:
    for number in range(53):
        await stores.gestionnaires.put(gestionnaire(name=f"Nom {number}"))
    revisions = [one.revision for one, _ in await stores.gestionnaires.history("bre")]
    assert revisions == list(range(53, 3, -1))


async def test_skills_are_kept_without_a_revision(stores: Stores) -> None:
    await stores.gestionnaires.put(gestionnaire())
    skills = Skills(
        checked_at="2026-01-01T00:00:00Z", chaining=False, search_params={"CareTeam": ("status",)}
    )
    await stores.gestionnaires.save_skills("bre", skills)
    kept = await stores.gestionnaires.get("bre")
    assert (kept.skills, kept.revision) == (skills, 1)
    suspended = await stores.gestionnaires.put(
        msgspec.structs.replace(kept.gestionnaire, status=Status.SUSPENDED)
    )
    assert (suspended.skills, suspended.revision) == (skills, 2)


async def test_skills_of_another_address_are_forgotten(stores: Stores) -> None:
    await stores.gestionnaires.put(gestionnaire())
    await stores.gestionnaires.save_skills("bre", Skills(chaining=True))
    moved = await stores.gestionnaires.put(gestionnaire(base_url="https://elsewhere.example/fhir"))
    assert moved.skills is None
    assert (await stores.gestionnaires.get("bre")).skills is None


async def test_skills_do_not_outlive_a_removal(stores: Stores) -> None:
    await stores.gestionnaires.save_skills("bre", Skills(chaining=True))
    assert (await stores.gestionnaires.put(gestionnaire())).skills is None
    await stores.gestionnaires.save_skills("bre", Skills(chaining=True))
    await stores.gestionnaires.remove("bre")
    assert (await stores.gestionnaires.put(gestionnaire())).skills is None


async def test_who_listens_hears_each_change(stores: Stores) -> None:
    heard = 0

    async def listen() -> None:
        nonlocal heard
        async for _ in stores.gestionnaires.changes():
            heard += 1

    async def hears(number: int) -> None:
        await until(lambda: heard >= number)

    listener = asyncio.create_task(listen())
    try:
        await hears(1)  # it listens
        await stores.gestionnaires.put(gestionnaire())
        await hears(2)
        await stores.gestionnaires.put(gestionnaire())  # changes nothing
        await stores.gestionnaires.save_skills("bre", Skills(chaining=True))
        await hears(3)
        await stores.gestionnaires.remove("bre")
        await hears(4)
        assert heard == 4
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
