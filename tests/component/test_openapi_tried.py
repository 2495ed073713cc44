"""What `/registry/openapi.json` says, tried by schemathesis against a running broker: every operation, good and bad input.

Each case is judged by all of its checks: no fault of the server, no status, media type, header or body that is not
described, good input taken, bad input refused, credentials not ignored.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.described import described, tried
from tests.support.issuer import AUDIENCE, issuer
from tests.support.valkey import Valkey

ONE = "/registry/gestionnaires/{id}"
OPERATIONS = 28  # all but the one that answers the description itself
ROLES = ("registry.read", "registry.write", "sync.read", "sync.write", "audit.read")


@pytest.mark.timeout(240)
async def test_what_is_described_is_what_is_answered(valkey: Valkey, tmp_path: Path) -> None:
    async with described(valkey, tmp_path) as world:
        await world.subscribe()
        # Credentials are asked of nobody here: see the other test.
        report = await tried(
            world.url,
            tmp_path,
            "--exclude-checks=ignored_auth",
            "--phases=examples,coverage,fuzzing,stateful",
            "--max-examples=2",
        )
        assert report.failures == [], report.said
        assert report.code == 0, report.said
        assert [one.gestionnaire.id for one in world.broker.running.managers.all()][:2] == ["bre", "nor"]
    assert len([label for label in report.statuses if " /registry" in label]) == OPERATIONS
    assert report.cases > 1000
    # It got beyond refusals: these were answered well at least once.
    for label, status in (
        ("POST /registry/gestionnaires", 201),
        (f"GET {ONE}", 200),
        (f"PUT {ONE}", 200),
        (f"DELETE {ONE}", 204),
        (f"POST {ONE}/suspend", 200),
        (f"POST {ONE}/check", 200),
        ("POST /registry/plan", 200),
        ("POST /registry/locator/{id}/crawl", 202),
        ("POST /registry/synchronisation/{id}/bootstrap", 202),
        ("GET /registry/audit", 200),
        ("GET /registry/fhir/Endpoint/{id}/_history/{vid}", 200),
    ):
        assert report.statuses[label][status] > 0, (label, report.statuses[label])
    assert {400, 404, 409, 412, 422} <= {status for of in report.statuses.values() for status in of}


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_credentials_are_not_ignored(valkey: Valkey, tmp_path: Path) -> None:
    async with (
        issuer() as one,
        described(
            valkey,
            tmp_path,
            auth="oidc",
            oidc_issuer=one.url,
            oidc_audience=AUDIENCE,
            oidc_networks="127.0.0.0/8",
            manager_networks="127.0.0.0/8",
        ) as world,
    ):
        scope = " ".join(["system/*.cruds", *(f"cds/{role}" for role in ROLES)])
        good = {"Authorization": f"Bearer {one.token(scope=scope)}"}
        every = ("--phases=examples,fuzzing", "--max-examples=1")
        entitled = await tried(world.url, tmp_path, *every, headers=good)
        assert entitled.failures == [], entitled.said
        assert entitled.code == 0, entitled.said
        one.publish("another", alg="RS256")
        one.withdraw("another")  # signs, and the issuer does not know it
        forged = {"Authorization": f"Bearer {one.token(kid='another', scope=scope)}"}
        refused = await tried(
            world.url,
            tmp_path,
            *every,
            "--exclude-checks=positive_data_acceptance",
            headers=forged,
        )
        assert refused.failures == [], refused.said
    guarded = {label: of for label, of in refused.statuses.items() if label != "GET /registry/problems"}
    assert len(guarded) == OPERATIONS - 1
    assert {status for of in guarded.values() for status in of} == {401}
    assert {status for of in entitled.statuses.values() for status in of} >= {200, 201, 202, 401}
