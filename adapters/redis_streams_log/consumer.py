"""A member of a group: what it owns, what it has seen, and how it waits."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from adapters.redis_streams_log.boundary import log_errors, piped
from adapters.redis_streams_log.entries import as_record
from adapters.redis_streams_log.keys import LogKeys
from adapters.redis_streams_log.scripts import ANNOUNCE, COMMIT, FETCH, RELEASE
from adapters.redis_streams_log.topics import RedisTopics
from broker.errors import StoreError
from broker.ports import Clock
from broker.sync.change_log import Batch, Position, Record

BATCH_RECORDS = 500
FETCH_BYTES = 8 * 1024 * 1024

_BLOCK_SECONDS = 0.5
"""Of one wait; below the time-out of the connection."""

_PAUSE_SECONDS = 0.5
_AFTER_NOTHING_SECONDS = 0.05
"""What woke us was nothing for us: compacted at once, or another's by now."""

_LEAVE_SECONDS = 2.0

_log = logging.getLogger("broker.log")


@dataclass(slots=True)
class _Owned:
    """A partition. `claim`: what others have pending is still to be taken over."""

    ownership: bytes
    seen: str = "0-0"
    end: str = "0-0"
    claim: bool = True


class RedisLogConsumer:
    """`LogConsumer` on Redis Streams. `session`: seconds after which a member that fell silent owns nothing."""

    def __init__(
        self,
        client: Any,
        keys: LogKeys,
        topics: RedisTopics,
        clock: Clock,
        *,
        topic: str,
        group: str,
        earliest: bool,
        session: float,
        bound: float,
    ) -> None:
        self._client = client
        self._keys = keys
        self._topics = topics
        self._clock = clock
        self._topic = topic
        self._group = group
        self._earliest = earliest
        self._session = session
        self._bound = bound
        self._me = uuid.uuid4().hex
        self._share = 0
        self._owned: dict[int, _Owned] = {}
        self._announced = asyncio.Event()
        self._gone = False
        self._woken = False
        self._beat: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._beat = asyncio.create_task(self._announce_regularly())

    async def close(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.wait([self._beat])
        with suppress(StoreError):
            await self._announce(leave=True)

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        told = False
        while True:
            if self._gone:
                raise StoreError("federation.log-topic", topic=self._topic)
            try:
                await self._release_surplus()
                records = await self._fetched()
                if records:
                    self._woken = False
                    return Batch(self._topic, tuple(records))
                await self._wait()
            except StoreError:
                if not told:
                    _log.warning("topic %s: reading was interrupted, it begins anew", self._topic)
                    told = True
                await self._clock.sleep(_PAUSE_SECONDS)

    async def commit(self, positions: Sequence[Position]) -> bool:
        done = {one.partition: one.offset for one in sorted(positions, key=_number)}
        held = {one: self._owned[one].ownership for one in done if one in self._owned}
        commands = [
            (
                "EVAL",
                COMMIT,
                2,
                *self._stream_and_owners(one),
                one,
                held[one],
                self._group,
                self._me,
                done[one],
            )
            for one in held
        ]
        with log_errors():
            async with asyncio.timeout(self._bound):
                answers = await piped(self._client, commands)
        return len(held) == len(done) and all(answers)

    async def _announce_regularly(self) -> None:
        while not self._gone:
            with suppress(StoreError):
                await self._announce()
            self._announced.set()
            await self._clock.sleep(self._session / 4)

    async def _announce(self, *, leave: bool = False) -> None:
        keys = self._keys
        with log_errors():
            async with asyncio.timeout(_LEAVE_SECONDS if leave else self._bound):
                try:
                    _, topic = await self._topics.of(self._topic)
                except StoreError:
                    self._gone = True
                    return
                key_list = [
                    keys.settings(self._topic),
                    keys.groups(self._topic),
                    keys.members(self._topic, self._group),
                    keys.owners(self._topic, self._group),
                    *(keys.stream(self._topic, one) for one in range(topic.partitions)),
                ]
                lives = 0 if leave else int(self._session * 1000)
                told = (self._group, self._me, lives, int(self._earliest))
                share, *owned = await self._client.eval(ANNOUNCE, len(key_list), *key_list, *told)
        if share < 0:
            self._topics.forget(self._topic)
            self._gone = True
            return
        self._share = share
        mine = dict(zip(owned[::2], owned[1::2], strict=True))
        self._owned = {
            one: self._owned[one]
            if one in self._owned and self._owned[one].ownership == ownership
            else _Owned(ownership)
            for one, ownership in mine.items()
        }

    async def _release_surplus(self) -> None:
        """Between two batches, so that nobody works on what is given away."""
        surplus = sorted(self._owned)[self._share :]
        if surplus:
            given = [told for one in surplus for told in (one, self._owned[one].ownership)]
            with log_errors():
                async with asyncio.timeout(self._bound):
                    await self._client.eval(RELEASE, 1, self._keys.owners(self._topic, self._group), *given)
            for one in surplus:
                self._owned.pop(one, None)

    async def _fetched(self) -> list[Record]:
        owned = dict(self._owned)
        if not owned:
            return []
        entries, size = max(1, BATCH_RECORDS // len(owned)), max(1, FETCH_BYTES // len(owned))
        commands = []
        for one, at in owned.items():
            names = (*self._stream_and_owners(one), self._keys.ends(self._topic))
            told = (one, at.ownership, self._group, self._me, int(at.claim), at.seen, entries, size)
            commands.append(("EVAL", FETCH, len(names), *names, *told))
        with log_errors():
            async with asyncio.timeout(self._bound):
                answers = await piped(self._client, commands)
        records: list[Record] = []
        for (one, at), answer in zip(owned.items(), answers, strict=True):
            if answer is None:
                if self._owned.get(one) is at:
                    del self._owned[one]
                continue
            end, found = answer
            at.claim = False
            at.end = end.decode()
            records += (as_record(one, entry) for entry in found)
            if found:
                at.seen = found[-1][0].decode()
        return records

    async def _wait(self) -> None:
        """For something new in what is owned. The blocking read itself takes nothing."""
        if self._woken:
            await self._clock.sleep(_AFTER_NOTHING_SECONDS)
        self._woken = False
        if not self._owned:
            self._announced.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_BLOCK_SECONDS):
                    await self._announced.wait()
            return
        streams = {self._keys.stream(self._topic, one): at.end for one, at in self._owned.items()}
        with log_errors():
            async with asyncio.timeout(self._bound):
                found = await self._client.xread(streams, count=1, block=int(_BLOCK_SECONDS * 1000))
        self._woken = bool(found)

    def _stream_and_owners(self, partition: int) -> tuple[str, str]:
        return (
            self._keys.stream(self._topic, partition),
            self._keys.owners(self._topic, self._group),
        )


def _number(position: Position) -> int:
    return int(position.offset.partition("-")[2])
