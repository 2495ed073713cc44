"""What an agent could not apply, kept whole and with its reason until somebody replays or discards it.

One topic for each manager, `{prefix}.dead-letters.{slug}`, compacted: the key of a dead letter is its id, so that what is
written twice (the agent was killed between writing it and committing) is one, and a tombstone settles it. Its content is
then gone from the log too, which matters, since it is the data of a person.

The record's value is the value of the event and its headers are those of the event, followed by what happened to it:

    dl_reason      conflict | unreadable | unfit | refused | failing
    dl_detail      what exactly, for operators: never a word of the content
    dl_attempts    how often it was tried
    dl_topic, dl_partition, dl_offset, dl_key   where it was, and its key
    dl_value       `none` where the event had no value, `left-out` where it was too large to be kept here

The id is made of the place and of a digest of the record, so that a topic that was made anew does not bring old ids back.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from broker.core import topics
from broker.core.identity import split_public_id
from broker.errors import StoreError
from broker.sync.change_log import ChangeLog, Headers, Outgoing, Position, Record, Topic

TOMBSTONE_SECONDS = 7 * 86_400
"""For how long it shows that a dead letter was settled."""

_OURS = "dl_"
_LONGEST_KEY = 200
_NO_VALUE, _LEFT_OUT = b"none", b"left-out"


class Reason(StrEnum):
    """Why an event was not applied; `sync.dead-…` in `MESSAGES`."""

    CONFLICT = "conflict"  # what stands there is no replica of this circle, and is not overwritten
    UNREADABLE = "unreadable"  # it can never be read
    UNFIT = "unfit"  # it can be read, and lacks what a replica is made from
    REFUSED = "refused"  # the manager does not take it (4xx)
    FAILING = "failing"  # the manager, well otherwise, fails at it every time (5xx)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is shown of one. `circle`: its public id, None where the event's key is none. `at`: when it was put away.

    `replayable`: its value was kept.
    """

    id: str
    reason: str
    detail: str
    attempts: int
    circle: str | None
    topic: str
    partition: int
    offset: str
    at: dt.datetime
    replayable: bool
    position: Position  # in the topic of dead letters


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letters of one manager. Every method raises `StoreError` where the log does not answer."""

    log: ChangeLog
    slug: str
    prefix: str = topics.DEFAULT_PREFIX

    @property
    def topic(self) -> str:
        return topics.dead_letters(self.slug, self.prefix)

    async def ensure(self) -> None:
        """Make sure of the topic. Raises `ConfigurationError` too."""
        await self.log.ensure_topic(
            Topic(self.topic, partitions=1, compacted=True, retention_seconds=TOMBSTONE_SECONDS)
        )

    async def add(self, record: Record, topic: str, reason: Reason, detail: str, attempts: int) -> str:
        """Put a record of `topic` away; its id. Putting it away again changes nothing but when."""
        identity = letter_id(record)
        told = {
            "dl_reason": reason.value,
            "dl_detail": detail,
            "dl_attempts": str(attempts),
            "dl_topic": topic,
            "dl_partition": str(record.position.partition),
            "dl_offset": record.position.offset,
        }
        headers: Headers = (
            *_without_ours(record.headers),
            *((name, value.encode()) for name, value in told.items()),
            ("dl_key", record.key),
        )
        kept = Outgoing(self.topic, identity.encode(), record.value, headers)
        if record.value is None:
            kept = Outgoing(self.topic, kept.key, b"", (*headers, ("dl_value", _NO_VALUE)))
        try:
            await self.log.publish(kept)
        except StoreError as error:
            if error.key != "federation.log-too-large":
                raise
            short = (
                *((name, text.encode()) for name, text in told.items()),
                ("dl_key", record.key[:_LONGEST_KEY]),
                ("dl_value", _LEFT_OUT),
            )
            await self.log.publish(Outgoing(self.topic, kept.key, b"", short))
        return identity

    async def all(self) -> list[DeadLetter]:
        """Those that are not settled, oldest first. Their values are not held."""
        found: dict[str, DeadLetter] = {}
        async for record in self._records():
            identity = record.key.decode(errors="replace")
            found.pop(identity, None)
            if record.value is not None:
                found[identity] = _letter(identity, record)
        return list(found.values())

    async def replay(
        self, chosen: Collection[DeadLetter], on_done: Callable[[DeadLetter], None] = lambda _: None
    ) -> int:
        """Publish them on the manager's replication topic again, in their order, and settle them; how many.

        Ended in the middle, the rest stays; one may be published twice, which changes nothing at the agent. One whose
        value was left out stays as it is.
        """
        wanted = {letter.position: letter for letter in chosen if letter.replayable}
        done = 0
        topic = topics.replication(self.slug, self.prefix)
        async for record in self._records():
            letter = wanted.get(record.position)
            if letter is None:
                continue
            told = dict(record.headers)
            value = None if told.get("dl_value") == _NO_VALUE else record.value
            key = told.get("dl_key", b"")
            await self.log.publish(Outgoing(topic, key, value, _without_ours(record.headers)))
            await self._settle(letter, "replayed")
            done += 1
            on_done(letter)
        return done

    async def discard(self, letter: DeadLetter) -> None:
        """Settle one for good: its content is given up."""
        await self._settle(letter, "discarded")

    async def _settle(self, letter: DeadLetter, how: str) -> None:
        await self.log.publish(Outgoing(self.topic, letter.id.encode(), None, (("dl_state", how.encode()),)))

    async def _records(self) -> AsyncIterator[Record]:
        """All there is; nothing where the topic does not exist (yet)."""
        try:
            async for batch in self.log.read(self.topic):
                for record in batch.records:
                    yield record
        except StoreError as error:
            if error.key != "federation.log-topic":
                raise


def letter_id(record: Record) -> str:
    """`3-1742-0-9f3a1c52`: partition, offset, and a digest of what the record says."""
    digest = hashlib.blake2b(digest_size=4)
    for part in (record.key, record.value or b"", *(value for _, value in record.headers)):
        digest.update(len(part).to_bytes(8, "big") + part)
    return f"{record.position.partition}-{record.position.offset}-{digest.hexdigest()}"


def _without_ours(headers: Headers) -> Headers:
    return tuple((name, value) for name, value in headers if not name.startswith(_OURS))


def _letter(identity: str, record: Record) -> DeadLetter:
    told = {name: value.decode(errors="replace") for name, value in record.headers}
    key = told.get("dl_key", "")
    return DeadLetter(
        id=identity,
        reason=told.get("dl_reason", ""),
        detail=told.get("dl_detail", ""),
        attempts=_number(told.get("dl_attempts")),
        circle=key if split_public_id(key) is not None else None,
        topic=told.get("dl_topic", ""),
        partition=_number(told.get("dl_partition")),
        offset=told.get("dl_offset", ""),
        at=dt.datetime.fromtimestamp(record.at, dt.UTC),
        replayable=told.get("dl_value") != _LEFT_OUT.decode(),
        position=record.position,
    )


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
