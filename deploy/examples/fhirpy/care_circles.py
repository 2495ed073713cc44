"""Care circles through the broker with fhirpy: pages, search, read, create once, update, transaction, subscription.

    pip install -r requirements.txt
    python care_circles.py [http://127.0.0.1:8080/fhir]

Written against `make demo`, with its made-up people; each run of it writes a person of its own. Elsewhere set TOKEN to an
access token with the scopes system/*.cruds. To a client this is one FHIR server: that there are several regions behind
it shows in the ids (bre.… is of the manager bre), and where one of them does not answer.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from typing import Any

import aiohttp
from fhirpy import AsyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome

INS = "urn:oid:1.2.250.1.213.1.4.10"  # of the test system; the real one is urn:oid:1.2.250.1.213.1.4.8
OWN = "https://example.org/cercles"
PROFILE = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam"
REGIONS = "https://mos.esante.gouv.fr/NOS/TRE_R30-RegionOM/FHIR/TRE-R30-RegionOM"
FHIR_JSON = "application/fhir+json"

Json = dict[str, Any]


class Broker:
    """Where it is, and who asks."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def client(self, **conditions: str) -> AsyncFHIRClient:
        """fhirpy gives headers to a client, not to a request: a condition makes another client. Names with `_` for `-`."""
        headers = {name.replace("_", "-"): value for name, value in conditions.items()}
        return AsyncFHIRClient(self.url, extra_headers={**self.headers, "Content-Type": FHIR_JSON, **headers})

    async def search_by_post(self, resource_type: str, **criteria: str) -> Json:
        """fhirpy searches by GET alone. What names a person belongs in the body, not in an address that logs keep."""
        async with (
            aiohttp.ClientSession(headers={**self.headers, "Accept": FHIR_JSON}) as http,
            http.post(f"{self.url}/{resource_type}/_search", data=criteria) as answer,
        ):
            answer.raise_for_status()
            bundle: Json = await answer.json(content_type=FHIR_JSON)
            return bundle


async def pages(broker: Broker) -> Json:
    """Every active circle, by pages of five. fhirpy follows `next`, which is the broker's, not a manager's."""
    search = broker.client().resources("CareTeam").search(status="active").sort("-_lastUpdated").limit(5)
    # fhirpy hands out resources of the type that was asked for: what a page says beside (who is missing) it leaves out.
    circles = [circle async for circle in search]
    managers = sorted({circle["id"].partition(".")[0] for circle in circles})
    print(
        f"pages: {len(circles)} circles of {', '.join(managers)}, each once: {len({c['id'] for c in circles})}"
    )
    return next(circle for circle in circles if circle["id"].startswith("bre."))


async def whole(broker: Broker) -> None:
    """All regions or nothing: without it a search answers what it has, and names who is missing."""
    bundle = await broker.client(Prefer="partial=deny").resources("CareTeam").limit(1).fetch_raw()
    print(f"whole: a {bundle['type']} of every region")


async def by_identifier(broker: Broker, circle: Json) -> None:
    """Flux 2a: the circle of a person, by the INS, with the person."""
    person = await broker.client().get(circle["subject"]["reference"])
    [ins] = [one["value"] for one in person["identifier"] if one["system"] == INS]
    bundle = await broker.search_by_post(
        "CareTeam", **{"patient.identifier": f"{INS}|{ins}", "_include": "CareTeam:subject"}
    )
    by_mode = [(one["search"]["mode"], one["resource"]["resourceType"]) for one in bundle["entry"]]
    print(
        f"by identifier: {by_mode.count(('match', 'CareTeam'))} circle, {by_mode.count(('include', 'Patient'))} person"
    )


async def read(broker: Broker, circle: Json) -> None:
    """Flux 2b: by id, and a version that it had."""
    client = broker.client()
    now = await client.get("CareTeam", circle["id"])
    version = await client.execute(f"CareTeam/{now['id']}/_history/{now['meta']['versionId']}", "get")
    print(
        f"read: {now['resourceType']}, version as read: {version['meta']['versionId'] == now['meta']['versionId']}"
    )


def someone() -> Json:
    """Made up: an INS of the test system with its key (INSEE: 97 minus the number modulo 97)."""
    number = 2_510_999_000_000 + secrets.randbelow(10**6)
    return {
        "resourceType": "Patient",
        "identifier": [{"system": INS, "value": f"{number}{97 - number % 97:02}"}],
        "name": [{"family": "EXEMPLE", "given": ["Camille"]}],
        "address": [{"postalCode": "35000"}],  # by which the broker finds the home
    }


def circle_of(person: str) -> Json:
    return {
        "resourceType": "CareTeam",
        "meta": {"profile": [PROFILE]},
        "identifier": [{"system": OWN, "value": secrets.token_hex(8)}],
        "status": "active",
        "name": "Cercle de soins",
        "subject": {"reference": person},
        "period": {"start": "2026-01-10"},
    }


def resource(client: AsyncFHIRClient, content: Json) -> Any:
    """Content as a resource of fhirpy's, which is saved by itself."""
    return client.resource(
        content["resourceType"], **{n: v for n, v in content.items() if n != "resourceType"}
    )


async def create_once(broker: Broker) -> Json:
    """Flux 1a and 1b. If-None-Exist makes a repetition safe: fhirpy's own get_or_create puts the condition elsewhere."""
    client = broker.client()
    person = await resource(client, someone()).create()
    wanted = circle_of(f"Patient/{person['id']}")
    condition = f"identifier={OWN}|{wanted['identifier'][0]['value']}"
    once = broker.client(If_None_Exist=condition)
    made = await resource(once, wanted).create()
    again = await resource(once, wanted).create()
    print(f"create: made once: {made['id'] == again['id']}, at {made['id'].partition('.')[0]}")
    try:
        await resource(client, circle_of(f"Patient/{person['id']}")).create()
    except OperationOutcome as refused:
        print(f"create: a second circle of that person: {code_of(refused.resource)}")
    return made


def code_of(outcome: Json) -> str:
    """What an OperationOutcome says, as one word; its text is beside, in the language of Accept-Language."""
    codes = {one["system"]: one["code"] for one in outcome["issue"][0]["details"]["coding"]}
    return codes["urn:cds-broker:outcome"]


async def update(broker: Broker, circle: Json) -> None:
    """Flux 4b: only if nobody else changed it meanwhile."""
    read_as = f'W/"{circle["meta"]["versionId"]}"'
    careful = broker.client(If_Match=read_as)
    changed = await resource(careful, {**circle, "status": "suspended"}).update()
    print(
        f"update: {changed['status']}, a new version: {changed['meta']['versionId'] != circle['meta']['versionId']}"
    )
    try:
        await resource(careful, {**circle, "status": "inactive"}).update()
    except MultipleResourcesFound:  # so fhirpy calls every 412
        print("update: from the old version: refused")


async def transaction(broker: Broker) -> None:
    """Flux 1c: a person and their circle, both or none."""
    full_url = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": full_url, "resource": someone(), "request": {"method": "POST", "url": "Patient"}},
            {"resource": circle_of(full_url), "request": {"method": "POST", "url": "CareTeam"}},
        ],
    }
    answer = await broker.client().execute("", "post", data=bundle)
    print(f"transaction: {', '.join(one['response']['status'][:3] for one in answer['entry'])}")


async def subscribe(broker: Broker) -> None:
    """To be told of changes by HTTP, by ids alone. The answer to its creation holds the secret of the signature, once."""
    client = broker.client()
    wanted = client.resource(
        "Subscription",
        status="requested",
        reason="Suivi",
        criteria=f"CareTeam?_tag={REGIONS}|53",
        channel={"type": "rest-hook", "endpoint": "http://127.0.0.1:9/cds"},
    )
    made = await wanted.create()
    status = await client.execute(f"Subscription/{made['id']}/$status", "get")
    print(f"subscription: {made['status']}, its status as a {status['type']} of {status['resourceType']}")
    await client.delete("Subscription", made["id"])
    print("subscription: ended")


async def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/fhir"
    broker = Broker(url.rstrip("/"), os.environ.get("TOKEN"))
    circle = await pages(broker)
    await whole(broker)
    await by_identifier(broker, circle)
    await read(broker, circle)
    await update(broker, await create_once(broker))
    await transaction(broker)
    await subscribe(broker)


if __name__ == "__main__":
    asyncio.run(main())
