"""The trail of accesses: told of each before it is answered, written in groups.

What is told while a group is being written makes the next one: under load many accesses cost one write. Every sink must
have a group before its accesses are answered, so an answer that somebody has got has its trace. A group that a sink
does not take is kept, and offered again until it does; meanwhile nothing new is let in (`admits`), for what could not
be traced is not to be done. What was under way when the sink failed is kept too: a read is then refused, a write that
is done is answered truly. Where the operator chose `allow`, requests go on, and what finds no room in `max_waiting` is
counted as lost and told in the trail itself once it can be written again.

A sink that is slow is one that fails: whoever waits longer than `timeout` is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.audit.sink import AuditSink, AuditState, Group
from broker.core.audit.access import Access, Interruption
from broker.core.audit.chain import Chain
from broker.core.audit.event import EventWriter
from broker.errors import AuditError, StoreError
from broker.ports import Clock

_log = logging.getLogger("broker.audit")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_GROUP = 256  # accesses in one write


@dataclass(frozen=True, slots=True)
class TrailOptions:
    """`timeout`: seconds for an access to be written. `deny`: whether a failing sink stops access. `max_waiting`:
    accesses that are kept for a sink that fails."""

    timeout: float = 2.0
    deny: bool = True
    max_waiting: int = 10_000


@dataclass(slots=True)
class _Waiting:
    told: Access | Interruption
    since: float  # monotonic
    written: asyncio.Future[bool]


class Trail:
    """One worker's stream. Nothing is written before `start`.

    `full`: whether a sink that delivers later has too much to deliver; `observe` is given the seconds of each write.
    """

    def __init__(
        self,
        writer: EventWriter,
        chain: Chain,
        sinks: Sequence[AuditSink],
        clock: Clock,
        options: TrailOptions,
        *,
        full: Callable[[], bool] = lambda: False,
        observe: Callable[[float], None] = lambda seconds: None,
        state: AuditState | None = None,
    ) -> None:
        self._writer = writer
        self._chain = chain
        self._sinks = tuple(sinks)
        self._clock = clock
        self._options = options
        self._full = full
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._in_hand: list[_Waiting] = []
        self._woken = asyncio.Event()
        self._broken_since: datetime | None = None
        self._turned_away = 0
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self.state = state or AuditState()
        self._writing: asyncio.Task[None] | None = None
        self.written = chain.head
        """The last line that every sink has."""

    @property
    def takes(self) -> bool:
        """Whether what is told now may be expected to be written."""
        return self._broken_since is None and not self._full()

    def admit(self) -> None:
        """To be asked before a request does anything. Raises `AuditError` where its trace could not be written."""
        if not self._options.deny or self.takes:
            return
        self._turned_away += 1
        self.state.refused += 1
        raise AuditError("audit.unavailable")

    def tell(self, access: Access) -> asyncio.Future[bool]:
        """Take it, at once; the future tells whether it was written in time. It is written in any case, sooner or
        later, except where `allow` was chosen and there is no room left."""
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self._options.deny and len(self._waiting) >= self._options.max_waiting:
            self._lost += 1
            self.state.lost += 1
            written.set_result(False)
            return written
        self._put(access, written)
        return written

    async def record(self, access: Access) -> bool:
        """Whether it was written in time. Cancelled while waiting: it is written all the same."""
        return await self.tell(access)

    def start(self) -> None:
        """Write from now on, until `aclose`: the one writer of the stream."""
        self._writing = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            await self._write_group()

    async def aclose(self, patience: float = 5.0) -> None:
        """Write what is left, for so many seconds. To be called when nothing more is told."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        try:
            async with asyncio.timeout(patience):
                while self._waiting or self._in_hand:
                    await self._write_group()
        except TimeoutError:
            _log.error("%d accesses were not written when the worker ended", self._depth())
        if self._timer is not None:
            self._timer.cancel()
        for sink in self._sinks:
            await sink.aclose()

    async def sync(self) -> bool:
        """Let sinks make lasting what they have; whether all could. A failure counts as one of a write."""
        for sink in self._sinks:
            try:
                await sink.sync()
            except (AuditError, StoreError) as error:
                self._failed(sink, error)
                return False
        if self._broken_since is not None and not self._depth():
            self._mended(self._broken_since)
        return True

    def _put(self, told: Access | Interruption, written: asyncio.Future[bool]) -> None:
        self._waiting.append(_Waiting(told, self._clock.monotonic(), written))
        self._woken.set()
        if self._broken_since is not None:
            written.set_result(False)  # nobody waits for a sink that is known to fail
        if self._timer is None:
            self._watch(self._options.timeout)

    async def _write_group(self) -> None:
        """Take what waits, and have it written, however long that takes. Cancelled in between, the next call goes
        on."""
        if not self._in_hand:
            self._in_hand = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
            self._group = self._grouped(self._in_hand)
            self._missing = list(self._sinks)
        await self._deliver(self._group)
        self.written = self._group.head
        self.state.records += len(self._group.lines)
        self.state.accesses += len(self._in_hand)
        for one in self._in_hand:
            if not one.written.done():
                one.written.set_result(True)
        self._in_hand = []
        if not self._waiting:
            self._woken.clear()
        self.state.waiting = self._depth()
        if self._broken_since is not None:
            self._mended(self._broken_since)

    def _grouped(self, waiting: Sequence[_Waiting]) -> Group:
        first = self._chain.head.seq + 1
        lines: list[bytes] = []
        for one in waiting:
            told = one.told
            events = (
                self._writer.events(told) if isinstance(told, Access) else self._writer.interruption(told)
            )
            lines += self._chain.lines(*events)
        return Group(self._chain.stream, first, lines, self._chain.head)

    async def _deliver(self, group: Group) -> None:
        pause = _FIRST_PAUSE
        while self._missing:
            sink = self._missing[0]
            begun = self._clock.monotonic()
            try:
                await sink.write(group)
            except (AuditError, StoreError) as error:
                self._failed(sink, error)
                await self._clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._observe(self._clock.monotonic() - begun)
                self._missing.pop(0)

    def _failed(self, sink: AuditSink, error: AuditError | StoreError) -> None:
        self.state.failures[sink.name] = self.state.failures.get(sink.name, 0) + 1
        self._break(f"{sink.name}: {error.key}")

    def _break(self, why: str) -> None:
        """Whoever waits is told no: what they asked for is refused, or was done and is answered truly."""
        if self._broken_since is None:
            self._broken_since = self._clock.now()
            self.state.broken = True
            consequence = "requests are refused" if self._options.deny else "requests go on without a trace"
            _log.error("the audit trail cannot be written (%s): %s", why, consequence)
        self.state.waiting = self._depth()
        for one in (*self._in_hand, *self._waiting):
            if not one.written.done():
                one.written.set_result(False)

    def _mended(self, since: datetime) -> None:
        """Written again; the hole is told in the trail itself."""
        refused, self._turned_away = self._turned_away, 0
        lost, self._lost = self._lost, 0
        self._broken_since = None
        self.state.broken = False
        _log.warning("the audit trail is written again: %d requests refused, %d accesses lost", refused, lost)
        self._put(
            Interruption(since, self._clock.now(), refused, lost), asyncio.get_running_loop().create_future()
        )

    def _watch(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Whoever has waited too long waits no longer. One timer for all: it looks at the oldest."""
        oldest = self._in_hand[0] if self._in_hand else self._waiting[0] if self._waiting else None
        self._timer = None
        if oldest is None:
            return
        left = oldest.since + self._options.timeout - self._clock.monotonic()
        if left <= 0:
            self._break("too slow")
            left = self._options.timeout
        self._watch(left)

    def _depth(self) -> int:
        return len(self._in_hand) + len(self._waiting)
