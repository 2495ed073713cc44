"""TLS as the broker serves it, over real sockets: versions, client certificates, bound tokens, proxies, renewal."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from adapters.server_tls import ServerTls
from broker.core.access.certificates import thumbprint
from broker.core.messages import text
from broker.errors import ConfigurationError
from broker.gateway.peer import Peers
from tests.component.test_authentication import key_of
from tests.support.certificates import Authority, Certified
from tests.support.cli_process import cli
from tests.support.federation import Answered
from tests.support.issuer import Issuer, issuer
from tests.support.ports import lasting_port
from tests.support.secured import Secured, clients_file, secured
from tests.support.valkey import Valkey
from tests.support.waiting import until

HEADER = "X-SSL-Client-Cert"


@pytest.fixture
async def one() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        yield made


class Files:
    """Of a broker that serves TLS to clients of one authority, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority, self.clients = Authority("AC of servers"), Authority("AC of clients")
        self.ca = self.authority.written(directory / "ca.pem")
        self.cert = self.authority.server().written(directory / "server.pem")
        self.client_ca = self.clients.written(directory / "client-ca.pem")

    @property
    def settings(self) -> dict[str, Any]:
        return {"tls_cert": self.cert, "tls_client_ca": self.client_ca}

    def trust(self, client: Certified | None = None) -> ssl.SSLContext:
        """What a client of the broker goes by."""
        context = ssl.create_default_context(cafile=self.ca)
        if client is not None:
            context.load_cert_chain(client.written(self.directory / f"{client.sha256.hex()[:8]}.pem"))
        return context

    def directory_of(self, text: str) -> Path:
        return clients_file(self.directory / "clients.toml", text)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


DMP = """
[[client]]
id = "dmp"
certificate_subject = "CN=dmp,O=GIE"
scopes = ["cds/registry.read"]
"""


# --- the connection itself


def shaken(port: int, context: ssl.SSLContext) -> str | None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        return tls.version()


async def test_only_what_is_recent_is_spoken(valkey: Valkey, one: Issuer, files: Files) -> None:
    async with secured(valkey, one, tls_cert=files.cert) as broker:
        assert broker.root.startswith("https://")
        port = broker.running.settings.port
        assert await asyncio.to_thread(shaken, port, files.trust()) == "TLSv1.3"
        older = files.trust()
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await asyncio.to_thread(shaken, port, older) == "TLSv1.2"
        older.set_ciphers("AES128-SHA256:AES256-SHA256:ECDHE+AES:!AESGCM:!AESCCM")
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(shaken, port, older)
        with pytest.raises(OSError):  # noqa: PT011  # asyncio hangs up, with or without an alert
            await asyncio.to_thread(shaken, port, speaking(files.trust(), ssl.TLSVersion.TLSv1_1))


def speaking(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A context for that version and no other, whatever the machine thinks of it."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = version, version
    return context


def agreed(client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    """The version of a handshake between the two, in memory."""
    forth, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, forth, server_hostname="127.0.0.1"),
        server.wrap_bio(forth, back, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[0].version()


def test_it_is_the_broker_that_does_not_speak_what_is_old(files: Files) -> None:
    old = ssl.TLSVersion.TLSv1_1
    willing = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    willing.load_cert_chain(files.cert)
    assert agreed(speaking(files.trust(), old), speaking(willing, old)) == "TLSv1.1", "the client would"
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
        agreed(speaking(files.trust(), old), ServerTls(files.cert).context())
    assert agreed(files.trust(), ServerTls(files.cert).context()) == "TLSv1.3"


async def test_a_client_certificate_of_another_authority_ends_the_handshake(
    valkey: Valkey, one: Issuer, files: Files
) -> None:
    async with secured(valkey, one, **files.settings) as broker:
        stranger = files.trust(Authority("AC of clients").client("dmp"))
        with pytest.raises((aiohttp.ClientError, OSError)):
            await broker.get(one.token(), tls=stranger)
        assert (await broker.get(one.token(), tls=files.trust())).status == 200


# --- certificates alone


async def test_a_certificate_says_who_asks(valkey: Valkey, files: Files) -> None:
    path = files.directory_of(DMP)
    async with secured(valkey, auth="mtls", clients=path, **files.settings) as broker:
        known = files.trust(files.clients.client("dmp", organization="GIE"))
        assert (await broker.get(tls=known)).status == 200
        none = await broker.get(tls=files.trust())
        assert (none.status, key_of(none)) == (401, "access.certificate-missing")
        assert none.headers["WWW-Authenticate"] == 'Certificate realm="cds-broker"'
        assert (await broker.get("eyJ.a.b", tls=files.trust())).status == 401, "a token is nothing here"
        for other in (files.clients.client("dmp"), files.clients.client("other", organization="GIE")):
            stranger = await broker.get(tls=files.trust(other))
            assert (stranger.status, key_of(stranger)) == (403, "access.unknown-client")
        forwarded = await broker.get(
            headers=[(HEADER, quote(files.clients.client("dmp", organization="GIE").pem))], tls=files.trust()
        )
        assert (forwarded.status, key_of(forwarded)) == (401, "access.certificate-missing")
        assert (await broker.get(target="fhir/metadata", tls=files.trust())).status == 200


async def test_what_was_revoked_is_refused(valkey: Valkey, files: Files) -> None:
    path = files.directory_of(DMP)
    revoked, good = (files.clients.client("dmp", organization="GIE") for _ in range(2))
    crl = files.clients.revoking(files.directory / "crl.pem")
    async with secured(valkey, auth="mtls", clients=path, tls_client_crl=crl, **files.settings) as broker:
        assert (await broker.get(tls=files.trust(revoked))).status == 200
        files.clients.revoking(crl, revoked)
        await broker.running.load_tls()
        with pytest.raises((aiohttp.ClientError, OSError)):
            await broker.get(tls=files.trust(revoked))
        assert (await broker.get(tls=files.trust(good))).status == 200


# --- tokens bound to a certificate


async def test_a_bound_token_serves_with_its_certificate_only(
    valkey: Valkey, one: Issuer, files: Files
) -> None:
    mine, other = files.clients.client("dmp"), files.clients.client("other")
    token = one.token(cnf={"x5t#S256": thumbprint(mine.der)})
    async with secured(valkey, one, **files.settings) as broker:
        for certificate, status in (
            (other, 401),
            (None, 401),
            (mine, 200),
            (other, 401),
            (None, 401),
            (mine, 200),
        ):
            answer = await broker.get(token, tls=files.trust(certificate))
            assert answer.status == status, "also once it is known"
            if status == 401:
                assert key_of(answer) == "access.binding"
        assert (await broker.get(one.token(), tls=files.trust(mine))).status == 200


async def test_whoever_has_a_token_and_not_its_certificate_cannot_use_it_up(
    valkey: Valkey, one: Issuer, files: Files
) -> None:
    mine = files.clients.client("dmp")
    token = one.token(jti="1", cnf={"x5t#S256": thumbprint(mine.der)})
    async with secured(valkey, one, oidc_jti="once", **files.settings) as broker:
        assert key_of(await broker.get(token, tls=files.trust())) == "access.binding"
        assert (await broker.get(token, tls=files.trust(mine))).status == 200
        assert key_of(await broker.get(token, tls=files.trust(mine))) == "access.replayed"


# --- behind a proxy


async def forwarded(broker: Secured, token: str | None, *certificates: str) -> Answered:
    return await broker.get(token, headers=[(HEADER, one) for one in certificates])


async def test_a_trusted_proxy_says_what_certificate_the_client_showed(
    valkey: Valkey, one: Issuer, files: Files
) -> None:
    mine, other = files.clients.client("dmp"), files.clients.client("other")
    token = one.token(cnf={"x5t#S256": thumbprint(mine.der)})
    good = quote(mine.pem)
    async with secured(valkey, one, trusted_proxies="127.0.0.1/32, ::1") as broker:
        assert (await forwarded(broker, token, good)).status == 200
        for sent in ([], [""], [quote(other.pem)]):
            assert key_of(await forwarded(broker, token, *sent)) == "access.binding"
        for sent in (["nonsense"], [good, good], [good + good], [quote(mine.pem[:-40])], ["A" * 40_000]):
            answer = await forwarded(broker, token, *sent)
            assert (answer.status, key_of(answer)) == (401, "access.certificate")
    async with secured(valkey, one, trusted_proxies="192.0.2.0/24") as broker:
        assert key_of(await forwarded(broker, token, good)) == "access.binding", (
            "anybody else is not believed"
        )
        assert (await forwarded(broker, one.token(), "nonsense")).status == 200
    async with secured(valkey, one, trusted_proxies="127.0.0.1", proxy_cert_header="X-Cert") as broker:
        assert key_of(await forwarded(broker, token, good)) == "access.binding"
        assert (await broker.get(token, headers=[("X-Cert", good)])).status == 200


async def test_a_proxys_own_certificate_is_not_its_clients(valkey: Valkey, files: Files) -> None:
    path = files.directory_of(DMP)
    proxy = files.trust(files.clients.client("dmp", organization="GIE"))
    settings = files.settings | {"trusted_proxies": "127.0.0.1", "clients": path}
    async with secured(valkey, auth="mtls", **settings) as broker:
        assert key_of(await broker.get(tls=proxy)) == "access.certificate-missing"


async def test_a_certificate_that_has_ended_is_refused_whoever_forwards_it(
    valkey: Valkey, files: Files
) -> None:
    path = files.directory_of(DMP)
    ended = files.clients.client("dmp", organization="GIE", days=-1)
    good = files.clients.client("dmp", organization="GIE")
    async with secured(valkey, auth="mtls", clients=path, trusted_proxies="127.0.0.1") as broker:
        assert (await forwarded(broker, None, quote(good.pem))).status == 200
        answer = await forwarded(broker, None, quote(ended.pem))
        assert (answer.status, key_of(answer)) == (401, "access.certificate")


# --- renewal


@asynccontextmanager
async def asking(port: int, tls: ssl.SSLContext) -> AsyncIterator[list[int | str]]:
    """Requests without a pause, each over a connection of its own, and one connection that is kept."""
    results: list[int | str] = []

    async def ask(connector: aiohttp.TCPConnector) -> None:
        async with aiohttp.ClientSession(connector=connector) as http:
            while True:
                try:
                    async with http.get(f"https://127.0.0.1:{port}/health/live") as response:
                        results.append(response.status)
                except (aiohttp.ClientError, OSError) as error:
                    results.append(type(error).__name__)
                await asyncio.sleep(0)

    connectors = (aiohttp.TCPConnector(ssl=tls, force_close=True), aiohttp.TCPConnector(ssl=tls))
    tasks = [asyncio.create_task(ask(connector)) for connector in connectors]
    try:
        yield results
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def shown(port: int, tls: ssl.SSLContext) -> bytes | None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return secure.getpeercert(binary_form=True)


async def test_a_new_certificate_is_taken_over_and_nobody_is_cut_off(files: Files, valkey: Valkey) -> None:
    """A process, as an operator runs it; SIGHUP says that the files have changed."""
    port = lasting_port()
    environment = {
        "CDS_OIDC_ISSUER": "https://issuer.invalid",
        "CDS_OIDC_AUDIENCE": "x",
        "CDS_REDIS_URL": valkey.url,
        "CDS_REDIS_PREFIX": valkey.keys.prefix,
        "CDS_LOCATOR_SECRET": "a secret for tests, long enough",
        "CDS_TLS_CERT": str(files.cert),
        "CDS_SYNC": "false",
        "CDS_LOCATOR": "false",
    }
    async with cli("serve", "--port", str(port), environment=environment) as process:
        await process.line(f"serving https://127.0.0.1:{port}")
        before = await asyncio.to_thread(shown, port, files.trust())
        async with asking(port, files.trust()) as results:
            await until(lambda: len(results) > 20)
            renewed = files.authority.server()
            renewed.written(files.cert)
            process.signal(signal.SIGHUP)

            async def taken_over() -> bool:
                return await asyncio.to_thread(shown, port, files.trust()) == renewed.der

            await until(taken_over)
            assert before != renewed.der
            files.cert.write_text("nonsense")
            process.signal(signal.SIGHUP)
            await process.line("TLS files")
            assert await taken_over(), "what was read before goes on being served"
            count = len(results)
            await until(lambda: len(results) > count + 20)
        assert set(results) == {200}
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"tls_cert": "/nonexistent.pem"}, "CDS_TLS_CERT"),
        ({"oidc_tls_ca": "/nonexistent.pem"}, "CDS_OIDC_TLS_CA"),
        ({"clients": "/nonexistent.toml"}, "CDS_CLIENTS"),
        ({"host": "0.0.0.0"}, "CDS_TLS_CERT"),
        ({"oidc_issuer": ""}, "CDS_OIDC_ISSUER"),
        ({"oidc_audience": " , "}, "CDS_OIDC_AUDIENCE"),
        ({"oidc_bound": True}, "CDS_TLS_CLIENT_CA"),
        ({"oidc_introspection_url": "https://issuer.invalid/i"}, "CDS_OIDC_INTROSPECTION_SECRET_FILE"),
        ({"auth": "mtls"}, "CDS_CLIENTS"),
        ({"oidc_issuer": "http://issuer.example"}, "CDS_OIDC_ISSUER"),
        ({"oidc_issuer": "http://127.evil.example"}, "CDS_OIDC_ISSUER"),
        ({"oidc_algorithms": "RS256,HS256"}, "CDS_OIDC_ALGORITHMS"),
        ({"oidc_algorithms": "none"}, "CDS_OIDC_ALGORITHMS"),
        ({"trusted_proxies": "10.0.0.1/8"}, "CDS_TRUSTED_PROXIES"),
        ({"proxy_cert_header": "a b"}, "CDS_PROXY_CERT_HEADER"),
        ({"tls_client_ca": "/x.pem"}, "CDS_TLS_CERT"),
        ({"oidc_leeway": 3600}, "CDS_OIDC_LEEWAY"),
    ],
)
async def test_what_is_missing_or_wrong_is_said_before_anything_is_served(
    valkey: Valkey, changed: dict[str, Any], named: str
) -> None:
    given = {"auth": "oidc", "oidc_issuer": "https://issuer.invalid", "oidc_audience": "x"} | changed
    given = {name: value for name, value in given.items() if value != ""}
    with pytest.raises(ConfigurationError) as caught:
        async with secured(valkey, **given):
            pytest.fail("it was served")
    for language in ("fr", "en"):
        assert named in text(caught.value.key, language, **caught.value.params)


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----"])
async def test_a_file_of_authorities_that_holds_none_is_refused(
    valkey: Valkey, one: Issuer, files: Files, content: str
) -> None:
    files.client_ca.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        async with secured(valkey, one, **files.settings):
            pytest.fail("it was served")
    assert caught.value.params["setting"] == "CDS_TLS_CLIENT_CA"


async def test_whoever_comes_unencrypted_from_elsewhere_is_not_answered() -> None:
    """The address is the connection's: no test can come from another machine."""

    class Elsewhere:
        def get_extra_info(self, name: str, default: object = None) -> object:
            return ("192.0.2.7", 4711) if name == "peername" else default

    for proxies, secure in (
        ((), False),
        ((ip_network("192.0.2.0/24"),), True),
        ((ip_network("192.0.3.0/24"),), False),
    ):
        request = make_mocked_request("GET", "/", transport=Elsewhere())
        assert Peers(proxies).is_secure(request) is secure


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        ([], "127.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
        (["203.0.113.9", "192.0.2.1, 127.0.0.2"], "192.0.2.1"),
        (["203.0.113.9, nonsense"], "127.0.0.1"),
        (["::1, 2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_address_behind_a_proxy_is_the_last_that_it_did_not_add(
    forwarded_for: list[str], address: str
) -> None:
    class Near:
        def get_extra_info(self, name: str, default: object = None) -> object:
            return ("127.0.0.1", 4711) if name == "peername" else default

    headers = CIMultiDict([("X-Forwarded-For", one) for one in forwarded_for])
    request = make_mocked_request("GET", "/", headers=headers, transport=Near())
    assert Peers((ip_network("127.0.0.0/8"),)).address(request) == address
    assert Peers().address(request) == "127.0.0.1"
