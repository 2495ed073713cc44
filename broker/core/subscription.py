"""A Subscription as the broker keeps it, and the states that it goes through (FHIR R4, subscription.html). Pure.

    requested ──► active ──► off        requested: registered, its channel not yet shaken hands with
        │  ▲        │ ▲                 active: changes are sent
        ▼  │        ▼ │                 error: tried for days in vain; suspended and shown, changes are kept meanwhile
       error ◄──────┘ └── error         off: by its owner's wish, or because its `end` has come

Reading and writing it as FHIR is `subscription_form`, what is sent on its channel `subscription_notification`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from broker.core.access.principal import Principal
from broker.core.fhir_dates import date_range, micros
from broker.core.subscription_criteria import SubscriptionCriteria

TOPIC: Final = "urn:cds-broker:topic:circle-changes"
"""The canonical of the one topic there is: circles that are created, updated or deleted."""


class SubscriptionStatus(StrEnum):
    REQUESTED = "requested"
    ACTIVE = "active"
    ERROR = "error"
    OFF = "off"


class ChannelKind(StrEnum):
    """Those of FHIR R4's that the broker serves."""

    MESSAGE = "message"
    REST_HOOK = "rest-hook"


class ContentLevel(StrEnum):
    """How much a notification says: codes of the backport's `backport-payload-content`."""

    EMPTY = "empty"
    ID_ONLY = "id-only"
    FULL = "full-resource"


_MOVES: Final[Mapping[SubscriptionStatus, frozenset[SubscriptionStatus]]] = {
    SubscriptionStatus.REQUESTED: frozenset(
        {SubscriptionStatus.ACTIVE, SubscriptionStatus.ERROR, SubscriptionStatus.OFF}
    ),
    SubscriptionStatus.ACTIVE: frozenset(
        {SubscriptionStatus.REQUESTED, SubscriptionStatus.ERROR, SubscriptionStatus.OFF}
    ),
    SubscriptionStatus.ERROR: frozenset(
        {SubscriptionStatus.REQUESTED, SubscriptionStatus.ACTIVE, SubscriptionStatus.OFF}
    ),
    SubscriptionStatus.OFF: frozenset({SubscriptionStatus.REQUESTED}),
}


@dataclass(frozen=True, slots=True)
class Channel:
    """Where notifications go.

    `slug`: of a `message` channel, the manager whose topic it is. `header`: (name, value) of a `rest-hook`'s own request
    headers, which may be credentials. `heartbeat`, `timeout`: seconds; `max_count`: events in one notification.
    """

    kind: ChannelKind
    endpoint: str
    content: ContentLevel
    slug: str | None = None
    header: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    heartbeat: int | None = None
    timeout: int | None = None
    max_count: int | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Who registered a subscription: `client`, and the managers and regions that it reached then; None for all.

    It is sent nothing of the others. The reach is taken anew at each of its updates.
    """

    client: str
    managers: frozenset[str] | None = None
    regions: frozenset[str] | None = None

    @classmethod
    def of(cls, principal: Principal) -> Owner:
        return cls(principal.client, principal.managers, principal.regions)

    def reaches(self, slug: str, region: str) -> bool:
        if self.managers is None and self.regions is None:
            return True
        return slug in (self.managers or ()) or region in (self.regions or ())


@dataclass(frozen=True, slots=True)
class Subscription:
    """A client's wish to be told of changes. `id` and `last_updated` are empty, `version` 0, until it is registered.

    `stated`: the resource as its owner wrote it, but for what is kept beside. `secret`: with which notifications are signed;
    it, `stated` and the channel's headers must never be stored in clear, nor be logged. `error`: why it is in error.
    `owner`: None for one that no client of a broker with access control registered: it is nobody's.
    """

    status: SubscriptionStatus
    criteria: SubscriptionCriteria = field(repr=False)
    channel: Channel
    stated: Mapping[str, Any] = field(repr=False)
    end: str | None = None
    error: str | None = None
    secret: str | None = field(default=None, repr=False)
    id: str = ""
    version: int = 0
    last_updated: str = ""
    owner: Owner | None = None

    def covers(self, slug: str, region: str) -> bool:
        """Whether it may be told of a manager's circles."""
        return self.owner is None or self.owner.reaches(slug, region)

    @property
    def sends(self) -> bool:
        """Whether changes are to be kept for it and sent, or tried to."""
        return self.status in (SubscriptionStatus.ACTIVE, SubscriptionStatus.ERROR)

    def registered(self, identity: str, version: int, last_updated: str) -> Subscription:
        """With its id, and as its next version. `last_updated`: an instant."""
        return replace(self, id=identity, version=version, last_updated=last_updated)

    def moved(self, status: SubscriptionStatus, *, error: str | None = None) -> Subscription:
        """In another state; `error` says why, where that is `error`. Raises `ValueError` for a move that there is not."""
        if status is self.status and error == self.error:
            return self
        if status is not self.status and status not in _MOVES[self.status]:
            raise ValueError(f"from {self.status} to {status}")
        if (error is not None) is not (status is SubscriptionStatus.ERROR):
            raise ValueError("a subscription in error says why, and no other does")
        return replace(self, status=status, error=error)

    def has_ended(self, now: dt.datetime) -> bool:
        """Whether its `end` has come."""
        end = None if self.end is None else date_range(self.end)
        return end is not None and end.low <= micros(now)

    def revised(self, stated: Subscription) -> Subscription:
        """What an update makes of it, in the same registration: what its owner left out of secrets stays.

        `stated`: as `subscription_form.read_subscription` reads the update. Off is off. Where nothing that matters to the
        delivery changed, its state stays; else, or where its owner asks for it, it is requested anew.
        """
        same = (stated.criteria.text, stated.channel, stated.end) == (
            self.criteria.text,
            self.channel,
            self.end,
        )
        secret = stated.secret or self.secret
        status, error = stated.status, None
        if status is not SubscriptionStatus.OFF:
            stays = same and secret == self.secret and status is self.status
            status = self.status if stays else SubscriptionStatus.REQUESTED
            error = self.error if stays else None
        return replace(
            stated,
            status=status,
            error=error,
            secret=secret,
            id=self.id,
            version=self.version,
            last_updated=self.last_updated,
            owner=self.owner,
        )
