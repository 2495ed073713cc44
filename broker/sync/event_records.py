"""The records that a change becomes in the log (federation, section 6). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from broker.core import topics
from broker.core.change_event import NOT_SELECTED, Change, Operation, encode_headers
from broker.core.entry import Entry
from broker.core.event_content import full_content, id_only_content
from broker.core.subscription import ContentLevel
from broker.sync.change_log import MAX_RECORD_BYTES, Outgoing
from broker.sync.routing import Destinations

_HEADERS = 2048  # more than any event's headers and key


@dataclass(frozen=True, slots=True)
class Content:
    """A circle and its actors, as read at its home, in public terms."""

    circle: Entry
    actors: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class EventRecords:
    """`public_base`: the broker's own public address. `prefix`: of the topics' names."""

    public_base: str
    prefix: str = topics.DEFAULT_PREFIX

    def notification(self, change: Change) -> Outgoing:
        """For everybody entitled: by its id only. A deletion is a tombstone, so that compaction clears the circle."""
        deleted = change.operation is Operation.DELETED
        value = None if deleted else id_only_content(change, self.public_base)
        headers = encode_headers(change, self.public_base, tombstone=deleted)
        return Outgoing(topics.notifications(self.prefix), change.key, value, headers)

    def replication(
        self, change: Change, content: Content | None, destinations: Destinations
    ) -> list[Outgoing]:
        """One for each manager that is told. Raises `ValueError` where the content is of another circle."""
        if not destinations.topics:
            return []
        full = bare = id_only_content(change, self.public_base)
        if content is not None and ContentLevel.FULL in destinations.topics.values():
            full = full_content(change, content.circle, content.actors, self.public_base)
        headers = encode_headers(change, self.public_base)
        left, left_headers = bare, headers
        if destinations.left:
            # To whoever holds it by its subscription alone it is gone: a replica that nobody tells of would stand still.
            parting = replace(change, operation=Operation.DELETED)
            left = id_only_content(parting, self.public_base)
            left_headers = (*encode_headers(parting, self.public_base), NOT_SELECTED)
        return [
            Outgoing(
                topics.replication(slug, self.prefix),
                change.key,
                *(
                    (left, left_headers)
                    if slug in destinations.left
                    else (full if level is ContentLevel.FULL else bare, headers)
                ),
            )
            for slug, level in sorted(destinations.topics.items())
        ]

    def bounded(self, change: Change, records: Iterable[Outgoing]) -> tuple[list[Outgoing], int]:
        """With what no log takes reduced to ids; and how many were."""
        kept, reduced = [], 0
        for record in records:
            if record.value is not None and len(record.value) + _HEADERS > MAX_RECORD_BYTES:
                record = Outgoing(
                    record.topic, record.key, id_only_content(change, self.public_base), record.headers
                )
                reduced += 1
            kept.append(record)
        return kept, reduced
