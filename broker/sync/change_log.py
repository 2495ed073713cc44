"""The change log: topics of records in partitions, on which changes travel between regions. A port; nothing is done here.

What everybody can build on, whichever engine runs it:

- Records of one key are in one partition, and a partition keeps the order in which they were published.
- `publish` has returned: the record is in the log for good, as the engine understands it (Kafka: on every in-sync
  replica; Redis: as its append-only file and replicas are set up). It raised: the record may be in the log or not, or
  still get there. Publish it again, and nothing is lost.
- A consumer group gets every record at least once. What was not committed comes again: after a restart, or at another
  member. Whoever reads must therefore bear duplicates, which carry an identity of their own in what they say.
- One member at a time reads a partition. It changes hands when members come and go, as far as possible between two
  batches; a member that lost a partition learns it from `commit`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from broker.errors import StoreError

MAX_RECORD_BYTES = 4 * 1024 * 1024
"""Key, value and headers of one record. A circle with its actors is some 10 kB; this is the bound for the odd one."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic is to be. Raises `ValueError` for what no engine takes.

    `retention_seconds`: after which a record is removed; of a compacted topic, which keeps the last record of each key
    for good, after which a tombstone is. None: never. Engines remove late rather than early: Kafka whole segments.
    """

    name: str
    partitions: int = 6
    compacted: bool = False
    retention_seconds: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.partitions < 1:
            raise ValueError("at least one partition")
        if self.retention_seconds is not None and self.retention_seconds < 1:
            raise ValueError("at least one second")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be published. `value=None` is a tombstone: the key is gone. Keys and headers never hold an INS."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Position:
    """A record's place in its topic. `offset` is the engine's own and opaque; it may be stored and given back."""

    partition: int
    offset: str


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read. `at`: when the log took it, seconds since 1970 by the log's clock."""

    key: bytes
    value: bytes | None
    headers: Headers
    position: Position
    at: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one topic, at least one: of several partitions, in order within each."""

    topic: str
    records: tuple[Record, ...]

    @property
    def ends(self) -> tuple[Position, ...]:
        """The last position of each partition: commit these when all is done."""
        return tuple({record.position.partition: record.position for record in self.records}.values())


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """What a group has not committed. `events` may count compacted records; `seconds` is the age of the oldest."""

    partition: int
    events: int
    seconds: float


class LogConsumer(Protocol):
    """One member of a group. Iterate over it for batches; it goes on by itself when the log was away.

    Iterating raises `StoreError("federation.log-topic")` where the topic does not exist, and nothing else. It may be
    cancelled at any time and gone on with. Asking for the next batch says that the one before is done with, committed
    or not; uncommitted records come again after a restart or a change of hands, not before.
    """

    def __aiter__(self) -> AsyncIterator[Batch]: ...

    async def __anext__(self) -> Batch: ...

    async def commit(self, positions: Sequence[Position]) -> bool:
        """All up to and including these is done. False: some belongs to another member by now, which gets it again.

        Raises `StoreError("federation.log")` where the log does not answer: commit again, or let it come again.
        """
        ...


class ChangeLog(Protocol):
    """Every method may raise `StoreError("federation.log")` where the log does not answer in time."""

    async def ensure_topic(self, topic: Topic) -> None:
        """Create it, or make sure that it is as stated.

        Raises `ConfigurationError`: `config.log-topic` where it is otherwise, `config.log-topic-refused` where it may
        not be created.
        """
        ...

    async def topics(self) -> Sequence[str]:
        """Names, sorted, without the engine's own."""
        ...

    async def drop_topic(self, name: str) -> None:
        """With all that is in it; one that does not exist is left alone."""
        ...

    async def publish(self, record: Outgoing) -> Position:
        """Raises also `federation.log-topic` (no such topic) and `federation.log-too-large`, which no repetition mends."""
        ...

    async def publish_many(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        """In this order within each partition. Where it raises, some may be in the log: publish all again."""
        ...

    def consumer(
        self, topic: str, group: str, *, earliest: bool = True
    ) -> AbstractAsyncContextManager[LogConsumer]:
        """A new member. Where the group has committed nothing it begins at the oldest record, or else at what comes."""
        ...

    def read(self, topic: str, *, after: Sequence[Position] = ()) -> AsyncIterator[Batch]:
        """Without a group, from behind these positions (other partitions: from the oldest) to the end as it is now."""
        ...

    async def lag(self, topic: str, group: str) -> Sequence[PartitionLag]:
        """By partition; of a group that never committed, all there is."""
        ...

    async def tidy(self) -> None:
        """Remove what is past its retention, where the engine does not by itself. To be called every minute or so."""
        ...

    async def close(self) -> None:
        """Give up what is not sent, within a few seconds."""
        ...


def check_name(name: str) -> None:
    """Of a topic or a group. Raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError("letters, digits, '.', '_' and '-' only, 200 at most")


def check_size(record: Outgoing) -> None:
    """Raises `StoreError("federation.log-too-large")`."""
    headers = sum(len(name.encode()) + len(value) for name, value in record.headers)
    if len(record.key) + len(record.value or b"") + headers > MAX_RECORD_BYTES:
        raise StoreError("federation.log-too-large", topic=record.topic, limit=MAX_RECORD_BYTES)
