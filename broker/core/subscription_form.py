"""A Subscription from its owner's JSON, and back (FHIR R4, subscription.html; Subscriptions R5 Backport 1.1). Pure.

`criteria` is a search for circles (`CareTeam?status=active`), or the canonical of the broker's topic with the search in the
backport's extension `backport-filter-criteria`: both mean the same.

What is written back is what its owner wrote, with the broker's id, version, state and error. What is secret is not shown:
header values as `***`, the signing secret not at all, but for the one answer to its creation where the broker drew it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from broker.core.profile_check import check_resource
from broker.core.subscription import TOPIC, Channel, Subscription, SubscriptionStatus
from broker.core.subscription_channel import (
    BACKPORT,
    HIDDEN,
    SECRET,
    ChannelReading,
    extension_value,
)
from broker.core.subscription_criteria import SubscriptionCriteria, parse_criteria
from broker.core.topics import DEFAULT_PREFIX
from broker.core.write_body import refusal
from broker.errors import Issue, RefusedError

FILTER: Final = BACKPORT + "backport-filter-criteria"

_TYPE: Final = "Subscription"
_REQUIRED: Final = ("status", "reason", "criteria", "channel")
_KEPT: Final = frozenset({"id", "status", "error"})
"""Elements that the record has beside `stated`; and of `meta` what the broker sets."""
_VERSIONED: Final = frozenset({"versionId", "lastUpdated"})


@dataclass(frozen=True, slots=True)
class SubscriptionRules:
    """What reading depends on: the broker's public address, the topics' prefix, and the present instant."""

    public_base: str
    now: dt.datetime
    topic_prefix: str = DEFAULT_PREFIX


def read_subscription(
    resource: dict[str, Any], rules: SubscriptionRules, *, previous: Subscription | None = None
) -> Subscription:
    """What a client wrote, judged; not registered yet. `resource`: as `write_body.read_resource_body` reads it.

    `previous`: what an update replaces; then `previous.revised(…)` is what comes of it. All that is wrong is told at once,
    by FHIRPath and without repeating what was there: `RefusedError` `write.structure` (400) where it is no R4 Subscription,
    `subscription.refused` (422) where it cannot be served.
    """
    refused = refusal(check_resource(resource, path=_TYPE) + _missing(resource))
    if refused is not None:
        raise refused
    issues: list[Issue] = []
    status = SubscriptionStatus(resource["status"])
    if previous is None and status not in (SubscriptionStatus.REQUESTED, SubscriptionStatus.OFF):
        issues.append(Issue("subscription.status", expression=("Subscription.status",)))
    hidden = {} if previous is None else {name.lower(): value for name, value in previous.channel.header}
    reading = ChannelReading(rules.topic_prefix, hidden)
    channel = reading.read(resource["channel"])
    issues += reading.issues
    criteria = _criteria(resource, rules, issues)
    if issues or channel is None or criteria is None:
        raise RefusedError("subscription.refused", [Issue("subscription.refused"), *issues])
    found = Subscription(
        status, criteria, channel, _stated(resource, channel), resource.get("end"), secret=reading.secret
    )
    if found.status is not SubscriptionStatus.OFF and found.has_ended(rules.now):
        ended = Issue("subscription.ended", expression=("Subscription.end",))
        raise RefusedError("subscription.refused", [Issue("subscription.refused"), ended])
    return found


def restored(resource: dict[str, Any], rules: SubscriptionRules) -> Subscription:
    """A registered Subscription from what `to_fhir(…, secrets=True)` made of it.

    Raises `RefusedError` where it was registered under rules that have since become narrower.
    """
    reading = ChannelReading(rules.topic_prefix)
    channel = reading.read(resource["channel"])
    issues = reading.issues
    criteria = _criteria(resource, rules, issues)
    if issues or channel is None or criteria is None:
        raise RefusedError("subscription.refused", [Issue("subscription.refused"), *issues])
    meta = resource["meta"]
    return Subscription(
        SubscriptionStatus(resource["status"]),
        criteria,
        channel,
        _stated(resource, channel),
        resource.get("end"),
        resource.get("error"),
        reading.secret,
        resource["id"],
        int(meta["versionId"]),
        meta["lastUpdated"],
    )


def to_fhir(subscription: Subscription, *, secrets: bool = False) -> dict[str, Any]:
    """The resource. `secrets`: header values and the signing secret are in it: for the store, which seals it, alone."""
    stated = dict(subscription.stated)
    stated.pop("resourceType", None)
    meta = stated.pop("meta", {})
    made: dict[str, Any] = {"resourceType": _TYPE}
    if subscription.id:
        made["id"] = subscription.id
        meta = meta | {"versionId": str(subscription.version), "lastUpdated": subscription.last_updated}
    if meta:
        made["meta"] = meta
    made |= stated
    made["status"] = subscription.status.value
    if subscription.error is not None:
        made["error"] = subscription.error
    channel = made["channel"] = dict(made["channel"])
    if subscription.channel.header:
        channel["header"] = [
            f"{name}: {value if secrets else HIDDEN}" for name, value in subscription.channel.header
        ]
    if secrets and subscription.secret is not None:
        with_secret(made, subscription.secret)
    return made


def with_secret(resource: dict[str, Any], secret: str) -> None:
    """Put a signing secret into a resource of `to_fhir`: for the one answer that tells a secret which the broker drew."""
    channel = resource["channel"]
    shown = {"url": SECRET, "valueString": secret}
    channel["extension"] = [*channel.get("extension", ()), shown]


def _missing(resource: Mapping[str, Any]) -> list[Issue]:
    """Required elements (R4's own; the models of R4B ask for fewer)."""
    places = [f"{_TYPE}.{name}" for name in _REQUIRED if name not in resource]
    channel = resource.get("channel")
    if isinstance(channel, Mapping) and "type" not in channel:
        places.append(f"{_TYPE}.channel.type")
    return [Issue("write.structure.missing", {"element": place}, expression=(place,)) for place in places]


def _criteria(
    resource: Mapping[str, Any], rules: SubscriptionRules, issues: list[Issue]
) -> SubscriptionCriteria | None:
    text = resource["criteria"]
    if text == TOPIC:
        text = extension_value(resource.get("_criteria"), FILTER) or "CareTeam"
    try:
        return parse_criteria(str(text), rules.public_base, now=rules.now)
    except RefusedError as error:
        issues += error.issues
        return None


def _stated(resource: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    """What the owner wrote, without what is kept beside it: no secret is left."""
    kept = {name: value for name, value in resource.items() if name not in _KEPT}
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in _VERSIONED}
    kept.pop("meta", None)
    if meta:
        kept["meta"] = meta
    written = dict(resource["channel"])
    if channel.header:
        written["header"] = [f"{name}: {HIDDEN}" for name, _ in channel.header]
    extensions = [one for one in written.pop("extension", ()) if one.get("url") != SECRET]
    if extensions:
        written["extension"] = extensions
    return kept | {"channel": written}


def drawn(subscription: Subscription, secret: str) -> Subscription:
    """With a signing secret that the broker drew, where its owner stated none. `secret`: 32 characters or more."""
    return subscription if subscription.secret is not None else replace(subscription, secret=secret)
