"""Transactions on their way to a sandbox's store and back, without any HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from adapters.sandbox import bundles, transaction
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.search import Searcher
from adapters.sandbox.store import Store
from adapters.sandbox.writes import Writer
from broker.core.business_identifier import strongest_identifier, token_criterion
from broker.core.identity import Origin
from broker.core.preferences import Return
from broker.core.transaction import read_transaction
from broker.core.transaction_model import Transaction
from tests.support.fake_clock import FakeClock

Json = dict[str, Any]

PUBLIC = "https://b.exemple/fhir"
BASE = "https://m.bre.exemple/fhir"
BRE = Origin("bre", BASE, PUBLIC, "53", "Bretagne")
SYSTEM = "https://made.up.exemple/id"
STORED = {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational"}]}


def entry(method: str, url: str, resource: Json | None, full_url: str | None = None, **request: str) -> Json:
    made: Json = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        made["resource"] = resource
    return made if full_url is None else {"fullUrl": full_url, **made}


def bundle(*entries: Json, **more: Any) -> Json:
    return {"resourceType": "Bundle", "type": "transaction", **more, "entry": list(entries)}


def read(*entries: Json, **more: Any) -> Transaction:
    made = bundle(*entries, **more)
    return read_transaction(made, json.dumps(made).encode(), public_base=PUBLIC)


def condition_of(resource: Mapping[str, Any]) -> str | None:
    found = strongest_identifier(resource)
    return None if found is None else token_criterion(*found)


def patient(name: str, **more: Any) -> Json:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": name}], **more}


def organization(name: str, **more: Any) -> Json:
    return {"resourceType": "Organization", "identifier": [{"system": SYSTEM, "value": name}], **more}


def circle(subject: str, *members: str, **more: Any) -> Json:
    return {
        "resourceType": "CareTeam",
        "status": "active",
        "subject": {"reference": subject},
        "participant": [{"member": {"reference": member}} for member in members],
        **more,
    }


class Sandbox:
    """A manager that answers transactions, at `BASE`."""

    def __init__(self) -> None:
        self.store = Store(FakeClock(), SandboxOptions(check_profiles=False))

    def put(self, resource: Json) -> None:
        kind, identity = resource["resourceType"], resource["id"]
        self.store.put(kind, identity, orjson.dumps(resource), method="PUT")

    def transact(self, body: bytes, *, return_: Return = Return.REPRESENTATION) -> bytes:
        """The transaction-response. Raises what `adapters.sandbox.transaction.run` does."""
        done = transaction.run(body, Writer(self.store, Searcher(self.store, BASE)), BASE)
        entries = [bundles.transaction_entry(one, BASE, return_, STORED) for one in done]
        return bundles.bundle("transaction-response", "2026-01-01T00:00:00Z", entries)

    def held(self, reference: str) -> Json:
        kind, _, identity = reference.partition("/")
        version = self.store.current(kind, identity)
        assert version is not None
        return dict(version.content)
