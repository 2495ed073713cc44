"""What a manager's feed shows becomes events, once it is followed (federation, section 6).

The feed shows much again, to be sure: the outbox knows what was told, and that nothing from before following began is a
change. Replicas are left out: their home tells of them. Of several versions between two looks only the last becomes an
event. A deletion that the feed does not show becomes an event once the circle is read for another reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.core.change_event import CIRCLE, Operation
from broker.core.dedup import is_replica
from broker.core.entry import Entry
from registry.outbox_model import CircleChange
from registry.ports import Outbox

_FIRST = "1"  # as most servers number versions


@dataclass(frozen=True, slots=True)
class FeedEvents:
    outbox: Outbox

    async def seen(self, slug: str, entries: Sequence[Entry], since: str) -> None:
        """Circles of a manager as its feed shows them, read from `since` on, or a little before. Raises `StoreError`."""
        changes = [change_of(slug, one) for one in entries if one.type == CIRCLE and not is_replica(one)]
        if changes:
            await self.outbox.enqueue_many(changes, since=since)


def change_of(slug: str, entry: Entry) -> CircleChange:
    """The change that a resource at a manager, or an entry of its history, bears witness to."""
    return CircleChange(slug, entry.local_id, entry.version_id, entry.last_updated, _operation(entry))


def _operation(entry: Entry) -> Operation:
    if entry.change is not None and (entry.change.method == "DELETE" or not entry.raw):
        return Operation.DELETED
    created = entry.version_id == _FIRST or (entry.change is not None and entry.change.method == "POST")
    return Operation.CREATED if created else Operation.UPDATED
