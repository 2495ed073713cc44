"""Secrets, certificates and authorities that are replaced under a running broker: nothing that runs is dropped."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.manager_http import HttpManagerClient
from adapters.manager_link import LOOK_SECONDS
from broker.errors import FailureKind, ManagerError
from broker.ports import ManagerRequest
from registry.model import Auth, AuthType
from tests.support.certificates import Authority
from tests.support.fake_clock import FakeClock
from tests.support.scripted_manager import Faults, Received, Reply, reply, scripted_manager
from tests.support.waiting import until

READ = ManagerRequest("GET", "CareTeam")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[HttpManagerClient]:
    client = HttpManagerClient(clock, environ={})
    yield client
    await client.aclose()


def replaced(path: Path, text: str) -> Path:
    """As an orchestrator does: at once."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    return fresh.replace(path)


async def test_a_token_is_rotated_under_load(
    client: HttpManagerClient, clock: FakeClock, tmp_path: Path
) -> None:
    """The manager takes the new one alone from the moment it is there: who is refused meanwhile has it read at once."""
    token = replaced(tmp_path / "token", "one")
    good = "one"

    def guarded(received: Received) -> Reply:
        return reply({}, 200 if received.headers["authorization"] == f"Bearer {good}" else 401)

    async with scripted_manager() as manager:
        manager.replies["CareTeam"] = guarded
        who = manager.gestionnaire(auth=Auth(type=AuthType.BEARER, token_file=str(token)))
        statuses: list[int] = []
        done = False

        async def load() -> None:
            while not done:
                statuses.append((await client.send(who, READ, timeout=5)).status)

        running = [asyncio.create_task(load()) for _ in range(4)]
        for name in ("two", "three"):
            asked = len(statuses)
            await until(lambda asked=asked: len(statuses) > asked + 20)  # type: ignore[misc]
            await clock.advance(2)
            replaced(token, name)
            good = name
        asked = len(statuses)
        await until(lambda: len(statuses) > asked + 20)
        done = True
        await asyncio.gather(*running)
        assert set(statuses) == {200}
        assert manager.connections_made <= 4


async def test_a_password_is_read_again_where_its_file_changed(
    client: HttpManagerClient, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = replaced(tmp_path / "password", "one")
    reads: list[str] = []
    opened = Path.open

    def counted(self: Path, *args: object, **options: object) -> object:
        reads.append(self.name)
        return opened(self, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counted)
    async with scripted_manager() as manager:
        auth = Auth(type=AuthType.BASIC, username="u", password_file=str(password))
        who = manager.gestionnaire(auth=auth)
        for _ in range(5):
            await client.send(who, READ, timeout=2)
            await clock.advance(LOOK_SECONDS)
        assert reads == ["password"], "a file that did not change is looked at, not read"
        sent = {one.headers["authorization"] for one in manager.requests}
        replaced(password, "two")
        await client.send(who, READ, timeout=2)
        assert manager.requests[-1].headers["authorization"] not in sent


@pytest.mark.parametrize("spoilt", ["", "two\nlines", "\udcff", None])
async def test_half_a_rotation_is_no_reason_to_stop(
    client: HttpManagerClient,
    clock: FakeClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoilt: str | None,
) -> None:
    token = replaced(tmp_path / "token", "one")
    async with scripted_manager() as manager:
        who = manager.gestionnaire(auth=Auth(type=AuthType.BEARER, token_file=str(token)))
        await client.send(who, READ, timeout=2)
        token.unlink() if spoilt is None else token.write_bytes(spoilt.encode(errors="surrogateescape"))
        await clock.advance(LOOK_SECONDS)
        await client.send(who, READ, timeout=2)
        assert manager.requests[-1].headers["authorization"] == "Bearer one"
        assert "manager bre: auth.token_file" in caplog.text
        assert "two" not in caplog.text
        replaced(token, "three")
        await clock.advance(LOOK_SECONDS)
        await client.send(who, READ, timeout=2)
        assert manager.requests[-1].headers["authorization"] == "Bearer three"


async def test_a_client_certificate_and_an_authority_are_rotated_under_load(
    client: HttpManagerClient, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the old authority and certificate to the new: exchanges that run end as they began, none fails."""
    caplog.set_level(logging.INFO)
    old, new = Authority("old"), Authority("new")
    ca, certificate = tmp_path / "ca.pem", tmp_path / "client.pem"
    old.written(ca)
    old.client("before").written(certificate)
    both = tmp_path / "both.pem"
    both.write_bytes(ca.read_bytes() + new.written(tmp_path / "new-ca.pem").read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(both))
    context.load_cert_chain(old.server().written(tmp_path / "server.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    async with scripted_manager(tls=context, faults=Faults(delay=0.02)) as manager:
        auth = Auth(type=AuthType.MTLS, cert_file=str(certificate), key_file=str(certificate))
        who = manager.gestionnaire(auth=auth, tls_ca=str(ca))
        statuses: list[int] = []
        done = False

        async def load() -> None:
            while not done:
                statuses.append((await client.send(who, ManagerRequest("GET", "metadata"), timeout=5)).status)

        running = [asyncio.create_task(load()) for _ in range(3)]
        await until(lambda: len(statuses) > 9)
        # Both authorities for a while, then the new one alone: as a rotation is done.
        replaced(ca, both.read_text())
        new.client("after").written(certificate)
        await clock.advance(LOOK_SECONDS)
        asked, connections = len(statuses), manager.connections_made
        await until(lambda: len(statuses) > asked + 9)
        assert connections < manager.connections_made <= connections + 3
        context.load_cert_chain(new.server().written(tmp_path / "server.pem"))
        replaced(ca, (tmp_path / "new-ca.pem").read_text())
        await clock.advance(LOOK_SECONDS)
        asked = len(statuses)
        await until(lambda: len(statuses) > asked + 9)
        done = True
        await asyncio.gather(*running)
        assert set(statuses) == {200}
        assert caplog.text.count("credentials read again") == 2

        # A pair that does not fit, as in the middle of a rotation that is not done at once: what was before stays.
        certificate.write_text("-----BEGIN NOTHING-----")
        await clock.advance(LOOK_SECONDS)
        assert (await client.send(who, ManagerRequest("GET", "metadata"), timeout=5)).status == 200
        assert "manager bre: auth.cert_file" in caplog.text


@pytest.mark.parametrize("field", ["token_file", "cert_file", "tls_ca"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "large"])
async def test_what_is_no_plain_file_is_not_read(
    client: HttpManagerClient, tmp_path: Path, field: str, kind: str
) -> None:
    """A pipe or a device would keep its reader for ever."""
    file = tmp_path / "named"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "large":
        file.write_bytes(b"x" * (2 << 20))
    path = {"device": "/dev/zero", "folder": str(tmp_path)}.get(kind, str(file))
    given = {"tls_ca": path} if field == "tls_ca" else {}
    auth = Auth(type=AuthType.BEARER, token_env="T") if given else Auth(type=AuthType.BEARER, **{field: path})
    async with scripted_manager() as manager:
        with pytest.raises(ManagerError) as caught:
            await client.send(manager.gestionnaire(auth=auth, **given), READ, timeout=2)
        assert caught.value.kind is FailureKind.CREDENTIALS
        assert str(caught.value.params["detail"]).partition(": ")[2] in ("not a file", "too large")


async def test_a_registration_that_starts_with_a_broken_file_is_mended_by_mending_the_file(
    client: HttpManagerClient, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    async with scripted_manager() as manager:
        who = manager.gestionnaire(auth=Auth(type=AuthType.BEARER, token_file=str(token)))
        with pytest.raises(ManagerError) as caught:
            await client.send(who, READ, timeout=2)
        assert caught.value.kind is FailureKind.CREDENTIALS
        assert caught.value.params["detail"] == "auth.token_file: FileNotFoundError"
        token.write_text("one")
        assert (await client.send(who, READ, timeout=2)).status == 200
