"""What is sent on a Subscription's channel: the notification Bundle of Subscriptions R5 Backport 1.1 for R4. Pure.

A Bundle of type history whose first entry is a Parameters resource (`backport-subscription-status-r4`) that says which
Subscription, its state, what kind of notification it is and which events it tells of, numbered from 1 on without gaps. What
changed follows in entries of its own, as in a change event: nothing for `empty`, entries without resource for `id-only`,
the circles with their actors for `full-resource`. The same events at the same instant make the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from broker.core.change_event import Change, is_instant
from broker.core.entry import Entry
from broker.core.event_content import full_content, id_only_content
from broker.core.json_text import members
from broker.core.named_urn import urn_of
from broker.core.resource_head import value_of
from broker.core.subscription import TOPIC, ContentLevel, Subscription
from broker.core.subscription_channel import BACKPORT

BUNDLE_PROFILE: Final = BACKPORT + "backport-subscription-notification-r4"
STATUS_PROFILE: Final = BACKPORT + "backport-subscription-status-r4"


class NotificationType(StrEnum):
    """Codes of FHIR's `subscription-notification-type`."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENT = "event-notification"
    STATUS = "query-status"
    PAST = "query-event"  # the answer to `$events`


@dataclass(frozen=True, slots=True)
class NotifiedEvent:
    """One event of a Subscription. `number`: of its events, from 1 on. `circle`: None where its content is not at hand."""

    number: int
    change: Change
    circle: Entry | None = None
    actors: tuple[Entry, ...] = ()


def notification(
    subscription: Subscription,
    kind: NotificationType,
    public_base: str,
    *,
    at: str,
    events_since_start: int,
    events: Sequence[NotifiedEvent] = (),
) -> bytes:
    """The Bundle in UTF-8 JSON. `at`: the instant that it bears. `events_since_start`: the number of the last event so far.

    `events`: of an event notification, or the answer to `$events`, in the order of their numbers.
    """
    base = public_base.rstrip("/")
    content = subscription.channel.content
    entries = [_status_entry(subscription, kind, base, at, events_since_start, events)]
    if content is not ContentLevel.EMPTY:
        for event in events:
            entries += _entries(event, content, base)
    head = {
        "resourceType": "Bundle",
        "meta": {"profile": [BUNDLE_PROFILE]},
        "type": "history",
        "timestamp": at,
    }
    return b'%b,"entry":[%b]}' % (orjson.dumps(head)[:-1], b",".join(entries))


def status_searchset(stated: Iterable[tuple[Subscription, int]], public_base: str, *, at: str) -> bytes:
    """The answer to `$status`: of each Subscription its state and the number of its last event."""
    base = public_base.rstrip("/")
    entries = []
    for subscription, last in stated:
        status = _status(subscription, NotificationType.STATUS, base, at, last, ())
        entry = {"fullUrl": urn_of(orjson.dumps(status)), "resource": status, "search": {"mode": "match"}}
        entries.append(entry)
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "timestamp": at}
    bundle["total"] = len(entries)
    if entries:
        bundle["entry"] = entries
    return orjson.dumps(bundle)


def _entries(event: NotifiedEvent, content: ContentLevel, base: str) -> list[bytes]:
    if content is ContentLevel.FULL and event.circle is not None:
        bundle = full_content(event.change, event.circle, event.actors, base)
    else:
        bundle = id_only_content(event.change, base)
    array = value_of(bundle, members(bundle), "entry") or b"[]"
    return [array[1:-1]]


def _status_entry(
    subscription: Subscription,
    kind: NotificationType,
    base: str,
    at: str,
    last: int,
    events: Sequence[NotifiedEvent],
) -> bytes:
    status = _status(subscription, kind, base, at, last, events)
    text = orjson.dumps(status)
    entry = {
        "fullUrl": urn_of(text),
        "resource": status,
        "request": {"method": "GET", "url": f"{base}/Subscription/{subscription.id}/$status"},
        "response": {"status": "200"},
    }
    return orjson.dumps(entry)


def _status(
    subscription: Subscription,
    kind: NotificationType,
    base: str,
    at: str,
    last: int,
    events: Sequence[NotifiedEvent],
) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": "subscription", "valueReference": {"reference": f"{base}/Subscription/{subscription.id}"}},
        {"name": "topic", "valueCanonical": TOPIC},
        {"name": "status", "valueCode": subscription.status.value},
        {"name": "type", "valueCode": kind.value},
        {"name": "events-since-subscription-start", "valueString": str(last)},
    ]
    parameters += [_event(event, subscription.channel.content, base, at) for event in events]
    if subscription.error is not None:
        parameters.append({"name": "error", "valueCodeableConcept": {"text": subscription.error}})
    return {"resourceType": "Parameters", "meta": {"profile": [STATUS_PROFILE]}, "parameter": parameters}


def _event(event: NotifiedEvent, content: ContentLevel, base: str, at: str) -> dict[str, Any]:
    stated = event.change.last_updated
    instant = stated if stated is not None and is_instant(stated) else at
    parts: list[dict[str, Any]] = [
        {"name": "event-number", "valueString": str(event.number)},
        {"name": "timestamp", "valueInstant": instant},
    ]
    if content is not ContentLevel.EMPTY:
        focus = {"reference": f"{base}/{event.change.subject}"}
        parts.append({"name": "focus", "valueReference": focus})
    return {"name": "notification-event", "part": parts}
