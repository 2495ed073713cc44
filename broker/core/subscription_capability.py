"""What the federation's statement says of subscriptions. Pure.

The topic and the two operations are named as Subscriptions R5 Backport 1.1 asks of a server with FHIR R4.
"""

from __future__ import annotations

from typing import Any, Final

from broker.core.subscription import TOPIC
from broker.core.subscription_channel import BACKPORT
from broker.core.subscription_search import PARAMETERS

_OPERATION: Final = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"


def subscription_capability() -> dict[str, Any]:
    """`CapabilityStatement.rest.resource` of Subscription."""
    return {
        "extension": [
            {"url": BACKPORT + "capabilitystatement-subscriptiontopic-canonical", "valueCanonical": TOPIC}
        ],
        "type": "Subscription",
        "supportedProfile": [BACKPORT + "backport-subscription"],
        "interaction": [{"code": code} for code in ("create", "read", "update", "delete", "search-type")],
        "versioning": "versioned-update",
        "readHistory": False,
        "updateCreate": False,
        "conditionalRead": "full-support",
        "searchParam": [
            {"name": one.name, "definition": one.definition, "type": one.type.value}
            for one in PARAMETERS.values()
        ],
        "operation": [{"name": name, "definition": _OPERATION + name} for name in ("status", "events")],
    }
