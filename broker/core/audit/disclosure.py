"""Persons' data handed to a subscriber, as the trail is told of it beforehand (federation, sections 6 and 7). Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from broker.core.access.touched import Touched
from broker.core.audit.access import Access
from broker.core.audit.audited import Audited, Kind
from broker.core.change_event import CIRCLE, Change
from broker.core.entry import Entry
from broker.core.subscription import Channel, ChannelKind, Subscription

DISCLOSURE: Final = Audited(Kind.DISCLOSURE, "disclosure", "R")


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A circle with its actors, as they are sent on account of a subscription."""

    change: Change
    circle: Entry
    actors: tuple[Entry, ...]
    subscription: Subscription


def access_of(disclosure: Disclosure, at: dt.datetime) -> Access:
    """One event for each person; its client is the subscription's owner, its request the change's id."""
    touched, subscription = Touched(), disclosure.subscription
    touched.name(CIRCLE, disclosure.change.public_id, disclosure.circle.raw)
    for actor in disclosure.actors:
        touched.show(actor.type, actor.public_id, actor.raw)
    return Access(
        at,
        DISCLOSURE,
        disclosure.change.event_id,
        200,
        None if subscription.owner is None else subscription.owner.client,
        persons=tuple(touched.persons),
        resources=tuple(touched.resources),
        managers=(disclosure.change.manager,),
        details=(("subscription", subscription.id), ("recipient", recipient(subscription.channel))),
    )


def recipient(channel: Channel) -> str:
    """Who is sent it: the topic, or the server of an endpoint, whose path may be a secret."""
    if channel.kind is not ChannelKind.REST_HOOK:
        return channel.endpoint
    parts = urlsplit(channel.endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
