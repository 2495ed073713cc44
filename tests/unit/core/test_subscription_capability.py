"""What the federation's statement says of subscriptions: only where they are offered, and valid."""

from __future__ import annotations

from fhir.resources.R4B.capabilitystatement import CapabilityStatement

from broker.core.capability import federation_statement
from broker.core.subscription import TOPIC


def stated(subscriptions: bool) -> list[dict[str, object]]:
    found = federation_statement(
        [],
        public_base="https://cds.example/fhir",
        version="0.1.0",
        now="2026-11-22T18:00:00Z",
        federation_id="fed-1",
        subscriptions=subscriptions,
    )
    CapabilityStatement.model_validate(found)
    return [one for one in found["rest"][0]["resource"] if one["type"] == "Subscription"]


def test_subscriptions_are_stated_where_they_are_offered() -> None:
    assert stated(False) == []
    (found,) = stated(True)
    codes = [one["code"] for one in found["interaction"]]  # type: ignore[attr-defined]
    assert codes == ["create", "read", "update", "delete", "search-type"]
    assert found["extension"][0]["valueCanonical"] == TOPIC  # type: ignore[index]
    names = {one["name"] for one in found["searchParam"]}  # type: ignore[attr-defined]
    assert {"status", "url", "criteria", "type", "payload"} <= names
