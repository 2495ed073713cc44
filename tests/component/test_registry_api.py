"""The registry's JSON API over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from broker.errors import FailureKind, ManagerError
from broker.gateway.problem import Problem
from registry.model import Gestionnaire, Registered, Skills, Status
from tests.support.fake_stores import FakeGestionnaireStore
from tests.support.registry_app import RegistryApp, registry_app

BRE: dict[str, Any] = {
    "id": "bre",
    "name": "GCS e-Santé Bretagne",
    "region": "53",
    "base_url": "https://cds.bretagne.example/fhir/",
}
IDF: dict[str, Any] = BRE | {"id": "idf", "region": "11", "base_url": "https://cds.idf.example/fhir"}
ALL = "/registry/gestionnaires"


@pytest.fixture
async def api() -> AsyncIterator[RegistryApp]:
    async with registry_app() as running:
        yield running


def assert_problem(answer: tuple[int, Any, Any], status: int, key: str) -> Problem:
    got, body, headers = answer
    assert (got, headers["Content-Type"]) == (status, "application/problem+json")
    problem = msgspec.convert(body, Problem)
    assert problem.status == status
    assert problem.type == f"/registry/problems#{key}"
    assert problem.title
    assert problem.fr in problem.detail
    assert problem.en in problem.detail
    assert "{" not in problem.detail
    return problem


async def test_create_then_read(api: RegistryApp) -> None:
    status, body, headers = await api.ask("POST", ALL, json=BRE)
    assert (status, headers["ETag"], headers["Location"]) == (201, '"1"', f"{ALL}/bre")
    registered = msgspec.convert(body, Registered)
    assert registered.gestionnaire.base_url == "https://cds.bretagne.example/fhir"
    status, again, headers = await api.ask("GET", headers["Location"])
    assert (status, again, headers["ETag"]) == (200, body, '"1"')
    assert [one.gestionnaire.id for one in api.view.all()] == ["bre"]


async def test_list_and_filter(api: RegistryApp) -> None:
    for declared in (IDF, BRE):
        await api.ask("POST", ALL, json=declared)
    await api.ask("POST", f"{ALL}/idf/suspend")

    async def listed(query: str) -> list[str]:
        status, body, _ = await api.ask("GET", ALL + query)
        assert status == 200
        return [one["gestionnaire"]["id"] for one in body["gestionnaires"]]

    assert await listed("") == ["bre", "idf"]
    assert await listed("?status=active") == ["bre"]
    assert await listed("?region=11&status=suspended") == ["idf"]
    assert await listed("?region=94") == []
    for query in ("?status=asleep", "?region=99", "?statut=active"):
        assert_problem(await api.ask("GET", ALL + query), 400, "registry.bad-value")


async def test_suspend_and_resume(api: RegistryApp) -> None:
    await api.ask("POST", ALL, json=BRE)
    status, body, headers = await api.ask("POST", f"{ALL}/bre/suspend")
    assert (status, body["gestionnaire"]["status"], headers["ETag"]) == (200, "suspended", '"2"')
    suspended = api.view.get("bre")
    assert suspended is not None
    assert suspended.gestionnaire.status is Status.SUSPENDED
    assert (await api.ask("POST", f"{ALL}/bre/suspend"))[2]["ETag"] == '"2"'
    status, body, headers = await api.ask("POST", f"{ALL}/bre/resume")
    assert (status, body["gestionnaire"].get("status", "active"), headers["ETag"]) == (200, "active", '"3"')


async def test_a_change_needs_the_revision_that_was_read(api: RegistryApp) -> None:
    await api.ask("POST", ALL, json=BRE)
    new = BRE | {"name": "Nouveau nom"}
    status, body, headers = await api.ask("PUT", f"{ALL}/bre", json=new, headers={"If-Match": '"1"'})
    assert (status, body["gestionnaire"]["name"], headers["ETag"]) == (200, "Nouveau nom", '"2"')
    stale = await api.ask("PUT", f"{ALL}/bre", json=BRE, headers={"If-Match": '"1"'})
    assert_problem(stale, 412, "registry.precondition")
    assert (await api.ask("PUT", f"{ALL}/bre", json=BRE))[0] == 200
    assert (await api.ask("PUT", f"{ALL}/bre", json=new, headers={"If-Match": "*"}))[0] == 200
    odd = await api.ask("PUT", f"{ALL}/bre", json=BRE, headers={"If-Match": "three"})
    assert_problem(odd, 400, "registry.bad-value")


async def test_a_change_does_not_resume_in_passing(api: RegistryApp) -> None:
    await api.ask("POST", ALL, json=BRE)
    await api.ask("POST", f"{ALL}/bre/suspend")
    _, body, _ = await api.ask("PUT", f"{ALL}/bre", json=BRE | {"name": "Nouveau nom"})
    assert body["gestionnaire"]["status"] == "suspended"
    _, body, _ = await api.ask("PUT", f"{ALL}/bre", json=BRE | {"status": "active"})
    assert body["gestionnaire"].get("status", "active") == "active"


async def test_conflicts(api: RegistryApp) -> None:
    await api.ask("POST", ALL, json=BRE)
    assert_problem(await api.ask("POST", ALL, json=BRE), 409, "registry.exists")
    same = await api.ask("POST", ALL, json=IDF | {"base_url": BRE["base_url"]})
    assert_problem(same, 409, "registry.same-address")
    moved = await api.ask("PUT", f"{ALL}/bre", json=BRE | {"id": "xyz"})
    assert_problem(moved, 422, "registry.invalid")


async def test_remove(api: RegistryApp) -> None:
    await api.ask("POST", ALL, json=BRE)
    assert (await api.ask("DELETE", f"{ALL}/bre"))[:2] == (204, None)
    assert list(api.view.all()) == []
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/suspend"),
        ("POST", "/resume"),
        ("POST", "/check"),
    ):
        assert_problem(await api.ask(method, f"{ALL}/bre{path}"), 404, "registry.unknown")
    assert_problem(await api.ask("PUT", f"{ALL}/bre", json=BRE), 404, "registry.unknown")


async def test_every_wrong_field_is_named(api: RegistryApp) -> None:
    problem = assert_problem(
        await api.ask("POST", ALL, json={"id": "BRE", "region": "99", "name": 3, "colour": "red"}),
        422,
        "registry.invalid",
    )
    assert {error.field for error in problem.errors} == {"name", "colour", "base_url"}
    problem = assert_problem(
        await api.ask("POST", ALL, json=BRE | {"id": "BRE", "region": "99"}), 422, "registry.invalid"
    )
    assert {error.field for error in problem.errors} == {"id", "region"}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "key"),
    [
        (b"{", "application/json", 400, "registry.bad-json"),
        (b"[]", "application/json", 400, "registry.bad-json"),
        (b"\xff\xfe", "application/json", 400, "registry.bad-json"),
        (b"[" * 60_000, "application/json", 400, "registry.bad-json"),
        (b'{"a":' * 10_000, "application/json", 400, "registry.bad-json"),
        (b"{}", "text/plain", 415, "request.content-type"),
        (b"{}", "application/xml", 415, "request.content-type"),
        (b" " * 70_000, "application/json", 413, "request.too-large"),
    ],
)
async def test_unreadable_bodies(
    api: RegistryApp, body: bytes, content_type: str, status: int, key: str
) -> None:
    answer = await api.ask("POST", ALL, data=body, headers={"Content-Type": content_type})
    assert_problem(answer, status, key)


async def test_no_secret_and_no_path_leaves(api: RegistryApp) -> None:
    auth = {
        "type": "oauth2",
        "token_url": "https://auth.example/token",
        "client_id": "the-client-id",
        "client_secret_env": "BRE_SECRET",
        "cert_file": "/etc/private/cert.pem",
    }
    _, created, _ = await api.ask("POST", ALL, json=BRE | {"auth": auth})
    shown = {"type": "oauth2", "client_secret_env": "BRE_SECRET"}
    assert created["gestionnaire"]["auth"] == shown
    for path in ("", "/bre"):
        _, body, _ = await api.ask("GET", ALL + path)
        assert "the-client-id" not in str(body)
        assert "/etc/private" not in str(body)

    # What is shown can be sent back with another change: what was hidden stays.
    _, changed, _ = await api.ask("PUT", f"{ALL}/bre", json=created["gestionnaire"] | {"name": "Nouveau nom"})
    assert changed["gestionnaire"]["auth"] == shown
    kept = api.view.get("bre")
    assert kept is not None
    assert msgspec.to_builtins(kept.gestionnaire.auth) == auth
    await api.ask("PUT", f"{ALL}/bre", json=BRE | {"auth": {"type": "none"}})
    kept = api.view.get("bre")
    assert kept is not None
    assert msgspec.to_builtins(kept.gestionnaire.auth) == {}


async def test_an_identity_stays_where_a_change_does_not_mean_it(api: RegistryApp) -> None:
    identity = {"audience": "https://cds.example", "key_file": "/etc/private/key.pem", "purpose": "COC"}
    status, created, _ = await api.ask("POST", ALL, json=BRE | {"identity": identity})
    assert status == 201
    assert "/etc/private" not in str(created)
    for body in (created["gestionnaire"] | {"name": "Nouveau nom"}, BRE):
        assert (await api.ask("PUT", f"{ALL}/bre", json=body))[0] == 200
        kept = api.view.get("bre")
        assert kept is not None
        assert kept.gestionnaire.identity is not None
        assert kept.gestionnaire.identity.key_file == "/etc/private/key.pem"
    assert (await api.ask("PUT", f"{ALL}/bre", json=BRE | {"identity": None}))[0] == 200
    gone = api.view.get("bre")
    assert gone is not None
    assert gone.gestionnaire.identity is None


@pytest.mark.parametrize(
    ("kind", "key", "detail", "told"),
    [
        (
            FailureKind.CREDENTIALS,
            "registry.credentials",
            "auth.token_url: invalid_client (401)",
            "invalid_client (401)",
        ),
        (FailureKind.ADDRESS, "registry.address", "base_url", "CDS_MANAGER_NETWORKS"),
    ],
)
async def test_check_says_what_to_set_right(kind: FailureKind, key: str, detail: str, told: str) -> None:
    async def refused(manager: Gestionnaire) -> Skills:
        raise ManagerError(kind, sent=False, detail=detail)

    async with registry_app(check=refused) as api:
        await api.ask("POST", ALL, json=BRE)
        problem = assert_problem(await api.ask("POST", f"{ALL}/bre/check"), 502, key)
        assert told in problem.fr
        assert told in problem.en
        assert "GCS e-Santé Bretagne (Bretagne)" in problem.fr


async def test_check_keeps_what_was_found(api: RegistryApp) -> None:
    await api.ask("POST", ALL, json=BRE)
    status, body, headers = await api.ask("POST", f"{ALL}/bre/check")
    assert (status, headers["ETag"]) == (200, '"1"')
    assert body["skills"] == {
        "checked_at": "2026-01-01T00:00:00Z",
        "chaining": False,
        "lacks": ["chaining"],
    }
    assert (await api.ask("GET", f"{ALL}/bre"))[1] == body
    kept = api.view.get("bre")
    assert kept is not None
    assert kept.skills is not None


async def test_check_says_what_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    async def unreachable(manager: Gestionnaire) -> Skills:
        raise ManagerError(FailureKind.UNREACHABLE)

    async with registry_app(check=unreachable) as api:
        await api.ask("POST", ALL, json=BRE)
        problem = assert_problem(await api.ask("POST", f"{ALL}/bre/check"), 502, "manager.unreachable")
        assert "GCS e-Santé Bretagne (Bretagne)" in problem.fr


async def test_check_names_the_region_and_not_its_code() -> None:
    async def unreachable(manager: Gestionnaire) -> Skills:
        raise ManagerError(FailureKind.UNREACHABLE, slug="bre", name=manager.name, region=manager.region)

    async with registry_app(check=unreachable) as api:
        await api.ask("POST", ALL, json=BRE)
        problem = assert_problem(await api.ask("POST", f"{ALL}/bre/check"), 502, "manager.unreachable")
        assert "GCS e-Santé Bretagne (Bretagne)" in problem.fr


async def test_an_unforeseen_error_is_a_document_too(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(manager: Gestionnaire) -> Skills:
        raise ZeroDivisionError("a secret detail")

    async with registry_app(check=broken) as api:
        await api.ask("POST", ALL, json=BRE)
        problem = assert_problem(await api.ask("POST", f"{ALL}/bre/check"), 500, "internal")
        assert "secret detail" not in problem.detail


async def test_a_store_that_is_down_is_said() -> None:
    store = FakeGestionnaireStore()
    async with registry_app(store) as api:
        await api.ask("POST", ALL, json=BRE)
        store.down = True
        assert_problem(await api.ask("GET", ALL), 503, "federation.store")
        assert_problem(await api.ask("POST", ALL, json=IDF), 503, "federation.store")
        assert_problem(await api.ask("DELETE", f"{ALL}/bre"), 503, "federation.store")


async def test_every_problem_has_its_type(api: RegistryApp) -> None:
    status, types, _ = await api.ask("GET", "/registry/problems")
    assert status == 200
    known = {one["type"].partition("#")[2] for one in types}
    assert {
        "registry.unknown",
        "registry.precondition",
        "federation.store",
        "manager.timeout",
        "internal",
    } <= known


async def test_unknown_addresses_and_methods_are_documents(api: RegistryApp) -> None:
    assert_problem(await api.ask("GET", "/registry/nothing"), 404, "request.not-found")
    answer = await api.ask("PATCH", f"{ALL}/bre", json={})
    assert_problem(answer, 405, "request.method")
    assert answer[2]["Allow"] == "DELETE, GET, HEAD, PUT"
