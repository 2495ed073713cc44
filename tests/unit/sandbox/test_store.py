"""The store: versions, instants, indexes."""

from __future__ import annotations

import datetime as dt

import orjson
import pytest

from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store
from broker.errors import RequestError
from tests.support.fake_clock import FakeClock

PATIENT = b'{"resourceType":"Patient","identifier":[{"system":"s","value":"A1"}]}'


@pytest.fixture
def store() -> Store:
    return Store(FakeClock())


def test_instants_strictly_increase_by_milliseconds_although_time_stands_still(store: Store) -> None:
    versions = [store.put("Patient", str(n), PATIENT) for n in range(3)]
    instants = [version.instant for version in versions]
    assert instants == [
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=n) for n in range(3)
    ]
    assert versions[2].content["meta"] == {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00.002Z"}


def test_versions_count_and_the_live_one_is_the_last(store: Store) -> None:
    for _ in range(3):
        store.put("Patient", "1", PATIENT)
    assert [v.version_id for v in store.versions("Patient", "1")] == ["1", "2", "3"]
    assert store.live("Patient")["1"].number == 3


def test_a_deletion_is_a_version_without_content(store: Store) -> None:
    store.put("Patient", "1", PATIENT)
    gone = store.delete("Patient", "1")
    assert (gone.method, gone.number, gone.raw) == ("DELETE", 2, b"")
    assert store.delete("Patient", "1") is gone
    assert store.live("Patient") == {}
    assert list(store.with_identifier("Patient", "A1")) == []
    with pytest.raises(RequestError):
        store.delete("Patient", "2")


def test_indexes_follow_changes(store: Store) -> None:
    store.put("Patient", "1", PATIENT)
    store.put("Patient", "1", PATIENT.replace(b"A1", b"B2"))
    assert list(store.with_identifier("Patient", "a1")) == []
    assert list(store.with_identifier("Patient", "b2")) == ["1"]
    store.put("CareTeam", "c", b'{"resourceType":"CareTeam","subject":{"reference":"Patient/1/_history/2"}}')
    assert list(store.referring("CareTeam", "Patient/1")) == ["c"]
    store.put("CareTeam", "c", b'{"resourceType":"CareTeam"}')
    assert list(store.referring("CareTeam", "Patient/1")) == []


def test_loading_keeps_ids_and_instants_and_history_is_in_their_order(store: Store) -> None:
    loaded = [
        {"resourceType": "Patient", "id": "new", "meta": {"lastUpdated": "2025-06-01T12:00:00.5+02:00"}},
        {"resourceType": "Patient", "id": "old", "meta": {"lastUpdated": "2024-01-01T00:00:00Z"}},
        {"resourceType": "Patient", "meta": {"lastUpdated": "soon"}},
    ]
    assert store.load([loaded[0], orjson.dumps(loaded[1]), loaded[2]]) == 3
    assert [v.id for v in store.changes("Patient")][:2] == ["old", "new"]
    assert store.live("Patient")["new"].content["meta"]["lastUpdated"] == "2025-06-01T10:00:00.500Z"
    store.load(
        [{"resourceType": "Patient", "id": "between", "meta": {"lastUpdated": "2024-06-01T00:00:00Z"}}]
    )
    assert [v.id for v in store.changes("Patient")][:3] == ["old", "between", "new"]


@pytest.mark.parametrize("wrong", [{"resourceType": "Basic"}, {}, b"[]"])
def test_loading_refuses_other_types(store: Store, wrong: dict[str, str] | bytes) -> None:
    with pytest.raises(RequestError):
        store.load([wrong])
    assert not any(store.live(kind) for kind in ("Patient", "CareTeam"))


def test_uuid_versions() -> None:
    store = Store(FakeClock(), SandboxOptions(uuid_versions=True))
    first, second = (store.put("Patient", "1", PATIENT).version_id for _ in range(2))
    assert len(first) == 36
    assert first != second
