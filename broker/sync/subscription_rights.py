"""Whose a subscription is, and what it may be sent (federation, section 7). Pure.

It is its client's: others do not see it, but for those who look after synchronisation (`sync.read`) and those who change it
(`sync.write`). What it asks for its owner must be entitled to: the search that its criteria are, and, where whole resources
are sent, to read all that comes with a circle. The topic of a manager is for that manager's own subscriptions.
"""

from __future__ import annotations

from broker.core.access.policy import lacking, lacking_role, may_see
from broker.core.access.principal import Permission, Principal, Role
from broker.core.access.touched import Touched
from broker.core.search_parameters import TYPES
from broker.core.subscription import ContentLevel, Subscription
from broker.core.subscription_notification import NotifiedEvent
from broker.errors import AccessError


def owns(subscription: Subscription, principal: Principal) -> bool:
    return subscription.owner is not None and subscription.owner.client == principal.client


def sees_all(principal: Principal) -> bool:
    return bool({Role.SYNC_READ, Role.SYNC_WRITE} & principal.scopes.roles)


def sees(subscription: Subscription, principal: Principal) -> bool:
    return owns(subscription, principal) or sees_all(principal)


def check_changeable(subscription: Subscription | None, principal: Principal) -> None:
    """None: one that cannot be read. For whoever sees it; `access.role` where that is not enough."""
    owned = subscription is not None and owns(subscription, principal)
    if not owned and Role.SYNC_WRITE not in principal.scopes.roles:
        raise lacking_role(principal, Role.SYNC_WRITE)


def check_entitled(stated: Subscription, principal: Principal) -> None:
    """What is asked for. Raises `AccessError`: access.topic, access.scope."""
    slug = stated.channel.slug
    if slug is not None and slug != principal.manager and Role.SYNC_WRITE not in principal.scopes.roles:
        raise AccessError("access.topic", slug=slug)
    check_content(stated, principal)


def check_content(subscription: Subscription, principal: Principal) -> None:
    """Its criteria are a search, and whole resources are read."""
    if not principal.scopes.allows(Permission.SEARCH, "CareTeam"):
        raise lacking(principal, Permission.SEARCH, "CareTeam")
    if subscription.channel.content is ContentLevel.FULL:
        for kind in TYPES:
            if not may_see(principal.scopes, kind):
                raise lacking(principal, Permission.READ, kind)


def tell(touched: Touched, event: NotifiedEvent) -> None:
    """Whose data an event holds."""
    touched.name("CareTeam", event.change.public_id, b"" if event.circle is None else event.circle.raw)
    for actor in event.actors:
        touched.show(actor.type, actor.public_id, actor.raw)
