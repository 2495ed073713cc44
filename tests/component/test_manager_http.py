"""The HTTP client towards managers, against real sockets: what it sends, hands back, and how it authenticates."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from broker.errors import ConfigurationError, FailureKind, ManagerError, RequestError
from broker.ports import ManagerRequest
from registry.model import Auth, AuthType
from tests.support.certificates import Authority
from tests.support.fake_clock import FakeClock
from tests.support.fhir_builders import care_team, circles, patient
from tests.support.scripted_manager import Faults, Reply, scripted_manager
from tests.support.waiting import until

SEARCH = ManagerRequest("POST", "CareTeam/_search", form=[("_count", "2"), ("identifier", "urn:x|1,é")])
ENV = {"TOKEN": "s3cret\n", "PASSWORD": "pässword", "EMPTY": ""}


@pytest.fixture
async def client() -> AsyncIterator[HttpManagerClient]:
    client = HttpManagerClient(SystemClock(), environ=ENV)
    yield client
    await client.aclose()


async def test_a_search_goes_out_as_a_form_and_comes_back_whole(client: HttpManagerClient) -> None:
    async with scripted_manager([care_team("c1"), patient("p1")]) as manager:
        request = ManagerRequest("POST", "CareTeam/_search", form=[("_count", "2"), ("status", "active,é")])
        headers = {"X-Request-Id": "r-1", "Via": "1.1 broker", "accept": "application/fhir+json;q=1"}
        request = ManagerRequest(request.method, request.target, form=request.form, headers=headers)
        answer = await client.send(manager.gestionnaire(), request, timeout=2)
        assert answer.status == 200
        assert json.loads(answer.body)["resourceType"] == "Bundle"
        assert answer.headers["content-type"].startswith("application/fhir+json")
        assert 0 < answer.seconds < 2
        (received,) = manager.requests
        assert (received.method, received.path, received.query) == ("POST", "CareTeam/_search", [])
        assert received.form == [("_count", "2"), ("status", "active,é")]
        assert received.headers["x-request-id"] == "r-1"
        assert received.headers["via"] == "1.1 broker"
        assert received.headers["accept"] == "application/fhir+json;q=1"
        assert received.headers["accept-encoding"] == "gzip"
        assert received.headers["user-agent"] == "cds-broker"
        assert "authorization" not in received.headers


async def test_connections_are_reused_and_every_status_is_an_answer(client: HttpManagerClient) -> None:
    async with scripted_manager(circles(3)) as manager:
        who = manager.gestionnaire()
        for target, status in (("CareTeam/c0", 200), ("CareTeam/none", 404), ("CareTeam/_history", 501)):
            assert (await client.send(who, ManagerRequest("GET", target), timeout=2)).status == status
        manager.replies["CareTeam/c1"] = Reply(304, b"", {"ETag": 'W/"1"'})
        unchanged = await client.send(who, ManagerRequest("GET", "CareTeam/c1"), timeout=2)
        assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", 'W/"1"')
        assert manager.connections_made == 1


@pytest.mark.parametrize("next_links", ["absolute", "relative", "hapi"])
async def test_every_style_of_next_link_is_followed(client: HttpManagerClient, next_links: str) -> None:
    async with scripted_manager(circles(7), page_size=3, next_links=next_links) as manager:
        who = manager.gestionnaire()
        ids: list[str] = []
        request = ManagerRequest("POST", "CareTeam/_search", form=[("_count", "3")])
        while True:
            page = json.loads((await client.send(who, request, timeout=2)).body)
            ids += [entry["resource"]["id"] for entry in page["entry"]]
            following = [link["url"] for link in page["link"] if link["relation"] == "next"]
            if not following:
                break
            request = ManagerRequest("GET", following[0])
        assert ids == [f"c{n}" for n in range(7)]


@pytest.mark.parametrize("faults", [Faults(), Faults(chunked=True)], ids=["length", "chunked"])
async def test_gzip_is_undone(client: HttpManagerClient, faults: Faults) -> None:
    async with scripted_manager(circles(50), page_size=50, compress=True, faults=faults) as manager:
        answer = await client.send(manager.gestionnaire(), ManagerRequest("GET", "CareTeam"), timeout=2)
        assert len(json.loads(answer.body)["entry"]) == 50
        assert "content-encoding" not in answer.headers
        assert "content-length" not in answer.headers


async def test_highly_compressed_but_within_the_bound(client: HttpManagerClient) -> None:
    size = 5 << 20
    async with scripted_manager(faults=Faults(gzip_bomb=size)) as manager:
        answer = await client.send(manager.gestionnaire(), ManagerRequest("GET", "CareTeam"), timeout=2)
        assert answer.body == b"0" * size


async def test_a_large_body_is_sent_whole(client: HttpManagerClient) -> None:
    body = b'{"resourceType":"Bundle","x":"' + b"y" * (3 << 20) + b'"}'
    async with scripted_manager() as manager:
        request = ManagerRequest("POST", "", body=body, headers={"content-type": "application/fhir+json"})
        await client.send(manager.gestionnaire(), request, timeout=5)
        assert manager.requests[0].body == body
        assert manager.requests[0].headers["content-type"] == "application/fhir+json"


async def test_an_answer_before_the_whole_request_has_left_ends_the_connection(
    client: HttpManagerClient,
) -> None:
    """Else the rest of the body would be read as the next request."""
    connections = 0

    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        refused = head.startswith(b"POST")
        status = b"413 Content Too Large" if refused else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\n{}" % status)
        await writer.drain()
        if refused:  # nothing more is read
            await closed.wait()
        writer.close()

    closed = asyncio.Event()
    server = await asyncio.start_server(impatient, "127.0.0.1", 0)
    async with server, scripted_manager() as manager:
        port = server.sockets[0].getsockname()[1]
        who = manager.gestionnaire("big", base_url=f"http://127.0.0.1:{port}/fhir")
        large = ManagerRequest("POST", "CareTeam", body=b"x" * (12 << 20))
        assert (await client.send(who, large, timeout=5)).status == 413
        assert (await client.send(who, ManagerRequest("GET", "CareTeam/c0"), timeout=5)).status == 200
        assert connections == 2
        closed.set()
        await client.aclose()


async def test_headers_that_belong_to_the_client_are_not_passed_on(client: HttpManagerClient) -> None:
    headers = {"Authorization": "Bearer callers-own", "Host": "evil", "Cookie": "a=b", "User-Agent": "x"}
    async with scripted_manager() as manager:
        who = manager.gestionnaire(auth=Auth(type=AuthType.BEARER, token_env="TOKEN"))
        await client.send(who, ManagerRequest("GET", "metadata", headers=headers), timeout=2)
        received = manager.requests[0].headers
        assert received["authorization"] == "Bearer s3cret"
        assert received["host"] == f"127.0.0.1:{manager.port}"
        assert received["user-agent"] == "cds-broker"
        assert "cookie" not in received


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\x00", "é"])
async def test_a_header_cannot_split_the_request(client: HttpManagerClient, value: str) -> None:
    async with scripted_manager() as manager:
        request = ManagerRequest("GET", "metadata", headers={"X-Request-Id": value})
        with pytest.raises(RequestError):
            await client.send(manager.gestionnaire(), request, timeout=2)
        assert manager.requests == []


async def test_cookies_and_proxies_of_the_environment_are_not_used(
    client: HttpManagerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with scripted_manager() as manager:
        manager.replies["metadata"] = Reply(200, b"{}", {"Set-Cookie": "session=1; Path=/"})
        for _ in range(2):
            await client.send(manager.gestionnaire(), ManagerRequest("GET", "metadata"), timeout=2)
        assert "cookie" not in manager.requests[1].headers


async def test_basic_credentials(client: HttpManagerClient) -> None:
    async with scripted_manager() as manager:
        auth = Auth(type=AuthType.BASIC, username="broker", password_env="PASSWORD")
        await client.send(manager.gestionnaire(auth=auth), ManagerRequest("GET", "metadata"), timeout=2)
        scheme, _, pair = manager.requests[0].headers["authorization"].partition(" ")
        assert (scheme, base64.b64decode(pair).decode()) == ("Basic", "broker:pässword")


async def test_a_token_in_a_file_is_read_again_after_a_while(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    clock = FakeClock()
    client = HttpManagerClient(clock)
    async with scripted_manager() as manager:
        who = manager.gestionnaire(auth=Auth(type=AuthType.BEARER, token_file=str(token)))
        for wait, expected in ((0.0, "Bearer one"), (9.0, "Bearer one"), (1.0, "Bearer two")):
            await clock.advance(wait)
            await client.send(who, ManagerRequest("GET", "metadata"), timeout=2)
            assert manager.requests[-1].headers["authorization"] == expected
            token.write_text("two\n")
        assert manager.connections_made == 1
    await client.aclose()


@pytest.mark.parametrize(
    "auth",
    [
        Auth(type=AuthType.BEARER),
        Auth(type=AuthType.BEARER, token_env="NOT_THERE"),
        Auth(type=AuthType.BEARER, token_env="EMPTY"),
        Auth(type=AuthType.BEARER, token_file="/nonexistent/token"),
        Auth(type=AuthType.OAUTH2, token_url="https://idp.example/token"),
    ],
)
async def test_a_missing_secret_sends_nothing(client: HttpManagerClient, auth: Auth) -> None:
    async with scripted_manager() as manager:
        who = manager.gestionnaire(auth=auth)
        with pytest.raises(ManagerError) as caught:
            await client.send(who, ManagerRequest("GET", "metadata"), timeout=2)
        assert caught.value.kind is FailureKind.CREDENTIALS
        assert not caught.value.sent
        assert str(caught.value.params["detail"]).startswith("auth.")
        with pytest.raises(ConfigurationError):
            await client.prepare(who)
        assert manager.requests == []


async def test_a_changed_registration_takes_effect_at_the_next_request(client: HttpManagerClient) -> None:
    async with scripted_manager() as first, scripted_manager() as second:
        await client.send(first.gestionnaire("a"), ManagerRequest("GET", "metadata"), timeout=2)
        await client.send(second.gestionnaire("a"), ManagerRequest("GET", "metadata"), timeout=2)
        assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_an_idle_connection_closed_by_the_manager_costs_no_failure(client: HttpManagerClient) -> None:
    """RFC 9112, 9.3.1: a safe request is sent once more; a write is not."""
    async with scripted_manager(circles(1)) as manager:
        who = manager.gestionnaire()
        for request, tries in (
            (ManagerRequest("GET", "CareTeam/c0"), 2),
            (SEARCH, 2),
            (ManagerRequest("PUT", "CareTeam/c0", body=b"{}"), 1),
            (ManagerRequest("POST", "CareTeam", body=b"{}"), 1),
            (ManagerRequest("DELETE", "CareTeam/c0"), 1),
        ):
            manager.requests.clear()
            manager.faults = Faults(reset=True, times=1)
            if tries == 2:
                assert (await client.send(who, request, timeout=2)).status == 200
            else:
                with pytest.raises(ManagerError) as caught:
                    await client.send(who, request, timeout=2)
                assert caught.value.kind is FailureKind.UNREACHABLE
            assert len(manager.requests) == tries


async def test_a_safe_request_is_sent_twice_at_most(client: HttpManagerClient) -> None:
    async with scripted_manager(faults=Faults(reset=True)) as manager:
        with pytest.raises(ManagerError):
            await client.send(manager.gestionnaire(), SEARCH, timeout=2)
        assert len(manager.requests) == 2


async def test_closing_twice_is_harmless_and_leaves_no_connection(client: HttpManagerClient) -> None:
    async with scripted_manager() as manager:
        await client.send(manager.gestionnaire(), ManagerRequest("GET", "metadata"), timeout=2)
        await client.aclose()
        await client.aclose()
        await until(lambda: manager.connections == 0)


# --- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A private authority, a server certificate for 127.0.0.1 and a client certificate: paths by name."""
    folder = tmp_path_factory.mktemp("tls")
    one = Authority("Autorité de test")
    made = {
        "ca": one.written(folder / "ca.pem"),
        "server": one.server().written(folder / "server.pem"),
        "client": one.client("client").written(folder / "client.pem"),
    }
    return {name: str(path) for name, path in made.items()}


async def test_tls_of_a_private_authority_and_a_client_certificate(
    client: HttpManagerClient, authority: dict[str, str]
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority["ca"])
    context.load_cert_chain(authority["server"])
    context.verify_mode = ssl.CERT_REQUIRED
    mtls = Auth(type=AuthType.MTLS, cert_file=authority["client"])
    async with scripted_manager(tls=context) as manager:
        trusted = manager.gestionnaire("a", tls_ca=authority["ca"], auth=mtls)
        assert (await client.send(trusted, ManagerRequest("GET", "metadata"), timeout=5)).status == 200
        for refused, kind in (
            (manager.gestionnaire("b"), FailureKind.UNREACHABLE),  # unknown authority
            (
                manager.gestionnaire("c", tls_ca=authority["ca"]),
                FailureKind.UNREACHABLE,
            ),  # no client certificate
            (manager.gestionnaire("d", tls_ca="/nonexistent/ca.pem"), FailureKind.CREDENTIALS),
            (
                manager.gestionnaire("e", base_url=manager.base_url.replace("https:", "http:")),
                FailureKind.UNREACHABLE,
            ),
        ):
            with pytest.raises(ManagerError) as caught:
                await client.send(refused, ManagerRequest("GET", "metadata"), timeout=5)
            assert caught.value.kind is kind
        assert len(manager.requests) == 1


async def test_tls_older_than_1_2_is_refused(client: HttpManagerClient, authority: dict[str, str]) -> None:
    context = _only_tls_1_1(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    context.load_cert_chain(authority["server"])
    permissive = _only_tls_1_1(ssl.create_default_context(cafile=authority["ca"]))
    async with scripted_manager(tls=context) as manager:
        # The server does speak to whoever accepts that version: the refusal is ours.
        _, writer = await asyncio.open_connection("127.0.0.1", manager.port, ssl=permissive)
        writer.close()
        await writer.wait_closed()
        who = manager.gestionnaire(tls_ca=authority["ca"])
        with pytest.raises(ManagerError) as caught:
            await client.send(who, ManagerRequest("GET", "metadata"), timeout=5)
        assert caught.value.kind is FailureKind.UNREACHABLE


def _only_tls_1_1(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context
