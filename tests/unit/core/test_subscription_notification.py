"""Notifications on the wire: the Bundle of the backport, and how it is signed."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from broker.core.change_event import Operation
from broker.core.signature import is_signed, signed
from broker.core.structure import structure_faults
from broker.core.subscription import ContentLevel, Subscription, SubscriptionStatus
from broker.core.subscription_form import SubscriptionRules, read_subscription
from broker.core.subscription_notification import (
    BUNDLE_PROFILE,
    STATUS_PROFILE,
    NotificationType,
    NotifiedEvent,
    notification,
    status_searchset,
)
from tests.support.change_events import PUBLIC, actors, change, entry, team

AT = "2026-01-02T03:04:05Z"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
EVENT = NotifiedEvent(4, change(), entry(team()), tuple(entry(one) for one in actors()))
GONE = NotifiedEvent(5, change("13", operation=Operation.DELETED, last_updated=None, version=None))


def subscription(content: ContentLevel = ContentLevel.FULL) -> Subscription:
    resource = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "r",
        "criteria": "CareTeam",
        "channel": {"type": "rest-hook", "endpoint": "https://region.example/hook"},
    }
    found = read_subscription(resource, SubscriptionRules(PUBLIC, NOW)).registered("s1", 1, AT)
    found = found.moved(SubscriptionStatus.ACTIVE)
    return replace(found, channel=replace(found.channel, content=content))


def sent(
    kind: NotificationType, content: ContentLevel = ContentLevel.FULL, *events: NotifiedEvent
) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        notification(subscription(content), kind, PUBLIC, at=AT, events_since_start=5, events=events)
    )
    assert structure_faults(made, "Bundle") == []
    return made


def parameters(bundle: dict[str, Any]) -> dict[str, Any]:
    return {
        one["name"]: next(value for name, value in one.items() if name.startswith(("value", "part")))
        for one in bundle["entry"][0]["resource"]["parameter"]
    }


@pytest.mark.parametrize("kind", [NotificationType.HANDSHAKE, NotificationType.HEARTBEAT])
def test_a_sign_of_life(kind: NotificationType) -> None:
    bundle = sent(kind)
    assert (bundle["type"], bundle["timestamp"]) == ("history", AT)
    assert bundle["meta"]["profile"] == [BUNDLE_PROFILE]
    [only] = bundle["entry"]
    assert only["fullUrl"].startswith("urn:uuid:")
    assert only["request"] == {"method": "GET", "url": f"{PUBLIC}/Subscription/s1/$status"}
    assert only["response"] == {"status": "200"}
    assert only["resource"]["meta"]["profile"] == [STATUS_PROFILE]
    assert parameters(bundle) == {
        "subscription": {"reference": f"{PUBLIC}/Subscription/s1"},
        "topic": "urn:cds-broker:topic:circle-changes",
        "status": "active",
        "type": kind.value,
        "events-since-subscription-start": "5",
    }


def test_events_in_full() -> None:
    bundle = sent(NotificationType.EVENT, ContentLevel.FULL, EVENT, GONE)
    events = [
        one for one in bundle["entry"][0]["resource"]["parameter"] if one["name"] == "notification-event"
    ]
    assert events[0]["part"] == [
        {"name": "event-number", "valueString": "4"},
        {"name": "timestamp", "valueInstant": "2026-01-01T00:00:00Z"},
        {"name": "focus", "valueReference": {"reference": f"{PUBLIC}/CareTeam/bre.12"}},
    ]
    assert events[1]["part"][1] == {"name": "timestamp", "valueInstant": AT}
    resources = [one.get("resource", {}).get("resourceType") for one in bundle["entry"]]
    assert resources == [
        "Parameters",
        "CareTeam",
        "Patient",
        "PractitionerRole",
        "RelatedPerson",
        "Organization",
        "Practitioner",
        None,
    ]
    assert bundle["entry"][-1]["request"] == {"method": "DELETE", "url": "CareTeam/bre.13"}


def test_events_by_id() -> None:
    bundle = sent(NotificationType.EVENT, ContentLevel.ID_ONLY, EVENT, GONE)
    assert [one["fullUrl"] for one in bundle["entry"][1:]] == [
        f"{PUBLIC}/CareTeam/bre.12",
        f"{PUBLIC}/CareTeam/bre.13",
    ]
    assert all("resource" not in one for one in bundle["entry"][1:])


def test_events_that_say_nothing() -> None:
    bundle = sent(NotificationType.EVENT, ContentLevel.EMPTY, EVENT)
    [only] = bundle["entry"]
    assert "bre.12" not in json.dumps(bundle)
    assert only["resource"]["parameter"][-1]["part"][0]["valueString"] == "4"


def test_an_event_whose_content_is_not_at_hand_goes_by_its_id() -> None:
    bundle = sent(NotificationType.PAST, ContentLevel.FULL, replace(EVENT, circle=None, actors=()))
    assert parameters(bundle)["type"] == "query-event"
    assert "resource" not in bundle["entry"][1]


def test_the_same_makes_the_same() -> None:
    assert sent(NotificationType.EVENT, ContentLevel.FULL, EVENT) == sent(
        NotificationType.EVENT, ContentLevel.FULL, EVENT
    )


def test_status() -> None:
    failed = subscription().moved(SubscriptionStatus.ERROR, error="no answer")
    bundle = json.loads(status_searchset([(failed, 9)], PUBLIC, at=AT))
    assert structure_faults(bundle, "Bundle") == []
    assert (bundle["type"], bundle["total"], bundle["entry"][0]["search"]) == (
        "searchset",
        1,
        {"mode": "match"},
    )
    told = parameters(bundle)
    assert (told["type"], told["status"]) == ("query-status", "error")
    assert (told["error"], told["events-since-subscription-start"]) == ({"text": "no answer"}, "9")
    assert "entry" not in json.loads(status_searchset([], PUBLIC, at=AT))


# --- the signature


SECRET = "s" * 32
BODY = '{"é":1}'.encode()


def test_as_anybody_would_compute_it() -> None:
    expected = hmac.new(SECRET.encode(), b"1767225600." + BODY, hashlib.sha256).hexdigest()
    assert signed(BODY, 1_767_225_600, SECRET) == f"t=1767225600,v1={expected}"


def test_checked() -> None:
    header = signed(BODY, 1000, SECRET)
    assert is_signed(header, BODY, SECRET, 1299)
    assert not is_signed(header, BODY, SECRET, 1301)
    assert not is_signed(header, BODY, SECRET, 699)
    assert not is_signed(header, BODY + b" ", SECRET, 1000)
    assert not is_signed(header, BODY, "t" * 32, 1000)
    assert not is_signed(header.replace("t=1000", "t=1001"), BODY, SECRET, 1000)
    for wrong in ("", "t=1000", header.partition(",")[2], f"t=1000,{header}", "t=é,v1=00", "v1=é"):
        assert not is_signed(wrong, BODY, SECRET, 1000)


def test_while_a_secret_is_changed() -> None:
    header = signed(BODY, 1000, "new" * 11, SECRET)
    assert is_signed(header, BODY, SECRET, 1000)
    assert is_signed(header + ",v2=00", BODY, "new" * 11, 1000)
    with pytest.raises(ValueError, match="secret"):
        signed(BODY, 1000)
