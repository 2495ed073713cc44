"""What of an event hands over persons' data, and to whom: told to the trail before it is sent.

Ids alone are no disclosure: whoever has them reads the circle by a request of its own, which is traced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from broker.core.audit.disclosure import Disclosure
from broker.core.change_event import Change
from broker.core.entry import Entry
from broker.core.subscription import ContentLevel, Subscription
from broker.core.subscription_notification import NotifiedEvent
from broker.ports import Disclosures


class _Untraced:
    async def told(self, disclosures: Sequence[Disclosure]) -> bool:
        del disclosures
        return True


UNTRACED: Final[Disclosures] = _Untraced()
"""Where no trail is kept."""


def of_circle(
    change: Change, circle: Entry | None, actors: Iterable[Entry], subscriptions: Iterable[Subscription]
) -> list[Disclosure]:
    """`subscriptions`: those on whose account it is sent whole."""
    if circle is None:
        return []
    return [Disclosure(change, circle, tuple(actors), one) for one in subscriptions]


def of_events(subscription: Subscription, events: Iterable[NotifiedEvent]) -> list[Disclosure]:
    """In one notification."""
    if subscription.channel.content is not ContentLevel.FULL:
        return []
    return [
        Disclosure(one.change, one.circle, one.actors, subscription)
        for one in events
        if one.circle is not None
    ]
