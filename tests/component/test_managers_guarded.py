"""A whole broker towards managers that want to be convinced: tokens, identity, networks; and what of it is seen anywhere."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from broker.errors import ConfigurationError
from registry.model import Identity
from tests.support.agents import region
from tests.support.federation import federation, outcome_codes
from tests.support.issuer import ec_key, issuer
from tests.support.scripted_manager import scripted_manager
from tests.support.secured import secured
from tests.support.token_endpoint import token_endpoint
from tests.support.valkey import Valkey
from tests.support.waiting import until

SECRET = "v3ry-s3cret"
LOCAL = "127.0.0.0/8"
AUDIENCE = "https://cds.bretagne.example"


def search(slug: str) -> str:
    return f"fhir/CareTeam?_id={slug}.c1"


async def test_a_client_is_announced_to_the_manager_and_no_secret_is_seen(
    valkey: Valkey, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("BRE_SECRET", SECRET)
    key, file = ec_key(), tmp_path / "identity-key.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    given = {"manager_networks": LOCAL, "data_dir": tmp_path / "data"}
    async with (
        issuer() as one,
        token_endpoint() as endpoint,
        scripted_manager() as manager,
        secured(valkey, one, **given) as broker,
    ):
        manager.replies["CareTeam/_search"] = endpoint.guards
        auth = endpoint.auth(client_secret_env="BRE_SECRET")
        who = manager.gestionnaire(auth=auth, identity=Identity(AUDIENCE, key_file=str(file), purpose="COC"))
        await broker.running.store.put(who)
        await broker.running.managers.refresh()
        token = one.token(client_id="dmp", sub="dmp", scope="system/*.rs cds/registry.read cds/metrics")
        answer = await broker.get(token, search("bre"))
        assert answer.status == 200
        (sent,) = [one for one in manager.requests if one.path == "CareTeam/_search"]
        claims = jwt.decode(
            sent.headers["x-forwarded-identity"],
            key.public_key(),
            ["ES256"],
            audience=AUDIENCE,
            issuer=broker.running.base_url,
        )
        assert (claims["client_id"], claims["request_id"]) == ("dmp", sent.headers["x-request-id"])
        assert answer.headers["X-Request-Id"] == claims["request_id"]

        seen = [answer.body, (await broker.get(token)).body, (await broker.get(token, "metrics")).body]
        endpoint.revoke_all()
        endpoint.mode = "refuses"
        failed = await broker.get(token, search("bre"))
        assert ("manager.credentials", "bre") in outcome_codes(failed.json)
        told = caplog.text + b"".join([*seen, failed.body]).decode()
        hidden = [SECRET, str(file), sent.headers["x-forwarded-identity"], *endpoint.issued, "s3cret"]
        assert [one for one in hidden if one in told] == []
        assert "auth.token_url: invalid_client (401)" in caplog.text, "operators are told"


async def test_a_manager_without_a_token_is_missing_alone(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRE_SECRET", SECRET)
    async with token_endpoint() as endpoint, scripted_manager() as guarded, scripted_manager() as well:
        guarded.replies["CareTeam/_search"] = endpoint.guards
        endpoint.mode = "down"
        bad = guarded.gestionnaire("bre", auth=endpoint.auth(client_secret_env="BRE_SECRET"))
        async with federation(valkey, bad, well.gestionnaire("nor")) as broker:
            bundle = await broker.bundle("CareTeam")
            assert outcome_codes(bundle) == [("manager.credentials", "bre")]
            denied = await broker.get("CareTeam", Prefer="partial=deny")
            assert denied.status == 503
            assert SECRET not in json.dumps(bundle) + denied.body.decode()


async def test_a_manager_inside_is_called_where_its_network_is_named_alone(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with issuer() as one, scripted_manager() as manager:
        toml = tmp_path / "g.toml"
        toml.write_text(
            f'[[gestionnaire]]\nid = "bre"\nname = "B"\nregion = "53"\nbase_url = "{manager.base_url}"\n'
        )
        given: dict[str, Any] = {"data_dir": tmp_path / "data"}
        with pytest.raises(ConfigurationError) as caught:
            async with secured(valkey, one, gestionnaires=toml, **given):
                pass
        assert "bre.base_url" in str(caught.value.params["problems_en"])
        assert "CDS_MANAGER_NETWORKS" in str(caught.value.params["problems_fr"])
        async with secured(valkey, one, **given) as broker:
            # Registered before there was such a rule, or by a name that led elsewhere then.
            await broker.running.store.put(manager.gestionnaire())
            await broker.running.managers.refresh()
            refused = await broker.get(one.token(), search("bre"))
            assert ("manager.address", "bre") in outcome_codes(refused.json)
        assert manager.connections_made == 0
        async with secured(valkey, one, gestionnaires=toml, manager_networks=LOCAL, **given) as broker:
            assert (await broker.get(one.token(), search("bre"))).status == 200
        assert manager.connections_made > 0


async def test_the_agent_waits_for_its_token_and_skips_nothing(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OCC_SECRET", SECRET)
    async with token_endpoint() as endpoint, region(valkey) as world:
        world.manager = msgspec.structs.replace(
            world.manager, auth=endpoint.auth(client_secret_env="OCC_SECRET")
        )
        endpoint.mode = "down"
        await world.publish(*(world.home.created(n) for n in range(4)))
        async with world.agent() as (agent, stop):
            running = asyncio.create_task(agent.run(stop))
            await until(lambda: "credentials: waiting for it, nothing is skipped" in caplog.text)
            assert world.versions() == 0
            endpoint.mode = "ok"
            await until(lambda: world.versions() == 4, seconds=15)
            stop.set()
            await running
        assert world.differences() == []
        assert await world.dead() == []
        assert endpoint.issued == ["token-1"]
        assert SECRET not in caplog.text
