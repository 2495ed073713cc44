"""Where managers and their token endpoints may be: judged at registration, and at each connection by where a name leads."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import ResolveResult

from adapters.clock import SystemClock
from adapters.manager_admission import Admission
from adapters.manager_http import HttpManagerClient
from broker.core.hook_address import LOOPBACK, AddressRules
from broker.errors import ConfigurationError, FailureKind, ManagerError
from broker.ports import ManagerRequest
from registry.model import Auth, AuthType, Gestionnaire
from registry.toml_file import admitted
from registry.validation import InvalidDeclarationError
from tests.support.gestionnaires import gestionnaire
from tests.support.loopback import SPELT
from tests.support.registry_app import registry_app
from tests.support.scripted_manager import ScriptedManager, scripted_manager
from tests.support.token_endpoint import token_endpoint

READ = ManagerRequest("GET", "metadata")
PUBLIC, LOCAL = AddressRules(), AddressRules(LOOPBACK)


@pytest.fixture
async def manager() -> AsyncIterator[ScriptedManager]:
    async with scripted_manager() as one:
        yield one


class Names:
    """What names lead to, for whoever connects."""

    def __init__(self) -> None:
        self.leads: list[str] = []
        self.asked: list[str] = []

    async def resolve(
        self, _: object, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host, host=one, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
            )
            for one in self.leads
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    known = Names()

    async def resolve(self: object, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        return await known.resolve(self, host, port, family)

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    return known


async def failure(client: HttpManagerClient, who: Gestionnaire) -> ManagerError:
    with pytest.raises(ManagerError) as caught:
        await client.send(who, READ, timeout=2)
    return caught.value


@pytest.mark.parametrize("host", SPELT)
async def test_an_address_inside_is_not_called_however_it_is_spelt(
    manager: ScriptedManager, host: str
) -> None:
    client = HttpManagerClient(SystemClock(), rules=PUBLIC)
    error = await failure(client, manager.gestionnaire(base_url=f"http://{host}:{manager.port}/fhir"))
    # Odd spellings may be refused as no host at all.
    assert error.kind in (FailureKind.ADDRESS, FailureKind.UNREACHABLE)
    assert manager.connections_made == 0
    await client.aclose()


async def test_a_name_is_judged_by_where_it_leads_when_it_is_called(
    manager: ScriptedManager, names: Names
) -> None:
    """DNS rebinding: registered while it led outside, it leads inside later. And one look-up serves many requests."""
    client, allowed = (
        HttpManagerClient(SystemClock(), rules=PUBLIC),
        HttpManagerClient(SystemClock(), rules=LOCAL),
    )
    who = manager.gestionnaire(base_url=f"http://cds.example:{manager.port}/fhir")
    names.leads = ["10.0.0.1", "127.0.0.1", "169.254.169.254"]
    error = await failure(client, who)
    assert (error.kind, error.sent, error.params["detail"]) == (FailureKind.ADDRESS, False, "base_url")
    assert manager.connections_made == 0
    names.asked.clear()
    for _ in range(20):
        assert (await allowed.send(who, READ, timeout=2)).status == 200
    assert names.asked == ["cds.example"]
    await client.aclose()
    await allowed.aclose()


async def test_token_endpoints_are_held_to_the_same(manager: ScriptedManager, names: Names) -> None:
    """The manager is allowed, its token endpoint is not, by address and by name."""
    names.leads = ["127.0.0.2"]
    rules = AddressRules((ip_network("127.0.0.1/32"),))
    client = HttpManagerClient(SystemClock(), rules=rules, environ={"S": "x"})
    async with token_endpoint() as endpoint:
        for slug, host in (("a", "127.0.0.2"), ("b", "tokens.example")):
            url = endpoint.url.replace("127.0.0.1", host)
            auth = endpoint.auth(token_url=url, client_secret_env="S")
            error = await failure(client, manager.gestionnaire(slug, auth=auth))
            assert (error.kind, error.params["detail"]) == (FailureKind.ADDRESS, "auth.token_url")
        assert endpoint.asked == []
    assert manager.requests == []
    await client.aclose()


# --- at registration

INSIDE = [
    "http://10.1.2.3/fhir",
    "https://169.254.169.254/fhir",
    "http://[fd00::1]/fhir",
    "http://localhost/fhir",
]


@pytest.mark.parametrize("url", INSIDE)
async def test_an_address_inside_is_refused_at_registration(url: str) -> None:
    body = {"id": "bre", "name": "Bretagne", "region": "53", "base_url": url}
    async with registry_app(admit=Admission(PUBLIC)) as api:
        status, problem, _ = await api.ask("POST", "/registry/gestionnaires", json=body)
        assert status == 422
        (error,) = problem["errors"]
        assert error["field"] == "base_url"
        assert "CDS_MANAGER_NETWORKS" in error["fr"]
        assert "CDS_MANAGER_NETWORKS" in error["en"]
        status, _, _ = await api.ask(
            "POST", "/registry/gestionnaires", json=body | {"base_url": "https://93.184.216.34/fhir"}
        )
        assert status == 201
        status, _, _ = await api.ask("PUT", "/registry/gestionnaires/bre", json=body)
        assert status == 422


async def test_a_name_that_leads_inside_is_refused_without_telling_where(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    leads = {"inside.example": ["10.9.8.7"], "both.example": ["10.9.8.7", "93.184.216.34"]}

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        if host not in leads:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in leads[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    admission = Admission(PUBLIC)
    with pytest.raises(InvalidDeclarationError) as caught:
        await admission(gestionnaire(base_url="https://inside.example/fhir"))
    assert "10.9.8.7" not in caught.value.line("en") + caught.value.line("fr")
    assert "10.9.8.7" in caplog.text, "for who runs the broker"
    await admission(gestionnaire(base_url="https://both.example/fhir"))
    await admission(gestionnaire(base_url="https://not-there-yet.example/fhir"))
    await Admission(AddressRules((ip_network("10.9.0.0/16"),)))(
        gestionnaire(base_url="https://inside.example/fhir")
    )
    auth = Auth(
        type=AuthType.OAUTH2, token_url="https://inside.example/token", client_id="x", client_secret_env="S"
    )
    with pytest.raises(InvalidDeclarationError) as caught:
        await admission(gestionnaire(base_url="https://both.example/fhir", auth=_raw(auth)))
    assert [one.field for one in caught.value.problems] == ["auth.token_url"]


def _raw(auth: Auth) -> dict[str, Any]:
    return {name: getattr(auth, name) for name in auth.__struct_fields__ if getattr(auth, name) is not None}


async def test_the_brokers_own_secrets_are_no_managers(tmp_path: Path) -> None:
    """Whoever may register a manager could have them sent to an address of their choice."""
    own, folder = tmp_path / "locator-secret", tmp_path / "data"
    folder.mkdir()
    own.write_text("s")
    link = tmp_path / "link"
    link.symlink_to(folder / "secret")
    admission = Admission(LOCAL, {"CDS_REDIS_URL"}, [own], folder)
    for given in (
        {"token_env": "CDS_REDIS_URL"},
        {"token_file": str(own)},
        {"token_file": str(folder / "secret")},
        {"token_file": f"{tmp_path}/x/../data/secret"},
        {"token_file": str(link)},
    ):
        with pytest.raises(InvalidDeclarationError) as caught:
            await admission(gestionnaire(base_url="https://127.0.0.1/fhir", auth={"type": "bearer", **given}))
        assert {one.field.partition("_")[0] for one in caught.value.problems} == {"auth.token"}
    for given in ({"token_env": "CDS_BRE_TOKEN"}, {"token_file": str(tmp_path / "bre-token")}):
        await admission(gestionnaire(base_url="https://127.0.0.1/fhir", auth={"type": "bearer", **given}))


async def test_a_file_of_managers_is_refused_whole_with_every_problem() -> None:
    declared = [gestionnaire(f"m{number}", base_url=url) for number, url in enumerate(INSIDE)]
    with pytest.raises(ConfigurationError) as caught:
        await admitted(declared, Admission(PUBLIC), file="g.toml")
    told = str(caught.value.params["problems_en"])
    assert all(f"m{number}.base_url" in told for number in range(len(INSIDE)))
    await admitted([gestionnaire()], Admission(PUBLIC), file="g.toml")
