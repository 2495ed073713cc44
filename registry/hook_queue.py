"""`HookQueue` on Redis or Valkey, one server or a cluster. What it promises is said at the port; how, `hook_scripts`.

What waits is as sure as its store: the server must not evict keys, and should write each command to disk.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from broker.core.sealing import Sealer
from broker.ports import Clock
from registry import hook_scripts as scripts
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys
from registry.redis_listening import listen
from registry.redis_script import RedisScript
from registry.subscription_model import QueueBounds, QueuedEvent, QueueState, Turn

_PURPOSE = "subscription event"
_AT_ONCE = 50  # queues in one call: a script holds the server up

_OPEN = RedisScript(scripts.OPEN)
_OFFER = RedisScript(scripts.OFFER)
_DUE = RedisScript(scripts.DUE)
_TAKE = RedisScript(scripts.TAKE)
_RENEW = RedisScript(scripts.RENEW)
_END = RedisScript(scripts.END)
_RESUME = RedisScript(scripts.RESUME)
_STATES = RedisScript(scripts.STATES)
_DROP = RedisScript(scripts.DROP)
_TIDY = RedisScript(scripts.TIDY)
_RANGE = RedisScript(scripts.RANGE)

_State = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]


class RedisHookQueue:
    def __init__(
        self, client: RedisClient, sealer: Sealer, clock: Clock, *, keys: RedisKeys | None = None
    ) -> None:
        self._client = client
        self._sealer = sealer
        self._clock = clock
        self._keys = keys or RedisKeys()

    async def open(self, subscription: str) -> None:
        await _OPEN.run(self._client, self._two(subscription), (subscription, self._keys.hook_wakes))

    async def offer(
        self, event: str, contents: Mapping[str, bytes], bounds: QueueBounds
    ) -> Mapping[str, int]:
        numbers: dict[str, int] = {}
        names = list(contents)
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            keys, arguments = [self._keys.hook_due], list[str | bytes | int]()
            arguments += [event, bounds.events, bounds.bytes, _milliseconds(bounds.seconds)]
            arguments.append(self._keys.hook_wakes)
            for name in some:
                keys += self._three(name)
                arguments += [
                    name,
                    self._sealer.seal(_PURPOSE, contents[name], context=_context(name, event)),
                ]
            given: list[int] = await _OFFER.run(self._client, keys, arguments)
            numbers |= {name: number for name, number in zip(some, given, strict=True) if number}
        return numbers

    async def turns(self, *, limit: int, lease: float) -> Sequence[Turn]:
        if limit <= 0:
            return ()
        found: list[bytes] = await _DUE.run(self._client, [self._keys.hook_due], (limit,))
        if not found:
            return ()
        names = [name.decode() for name in found]
        keys = [self._keys.hook_due]
        for name in names:
            keys += [self._keys.hook_state(name), self._keys.hook_events(name)]
        taken: list[tuple[bytes, int, bytes, _State]] = await _TAKE.run(
            self._client, keys, (_milliseconds(lease), *names)
        )
        return [
            Turn(name.decode(), fence, int(now) / 1000, _state(state)) for name, fence, now, state in taken
        ]

    async def renew(self, turn: Turn, *, lease: float, delivered: int | None = None) -> bool:
        number = "" if delivered is None else delivered
        arguments = (turn.subscription, turn.fence, _milliseconds(lease), number)
        return bool(await _RENEW.run(self._client, self._two(turn.subscription), arguments))

    async def end(self, turn: Turn, *, again: float | None, failed: bool = False, park: bool = False) -> bool:
        how = "park" if park else "failed" if failed else "ok"
        pause = "" if again is None else _milliseconds(again)
        arguments = (turn.subscription, turn.fence, pause, how)
        return bool(await _END.run(self._client, self._two(turn.subscription), arguments))

    async def resume(self, subscription: str) -> None:
        await _RESUME.run(self._client, self._two(subscription), (subscription, self._keys.hook_wakes))

    async def states(self, subscriptions: Sequence[str]) -> Mapping[str, QueueState]:
        states: dict[str, QueueState] = {}
        for start in range(0, len(subscriptions), _AT_ONCE):
            some = subscriptions[start : start + _AT_ONCE]
            keys = [key for name in some for key in self._three(name)[:2]]
            found: list[_State | None] = await _STATES.run(self._client, keys, ())
            states |= {name: _state(one) for name, one in zip(some, found, strict=True) if one is not None}
        return states

    async def events(
        self, subscription: str, *, since: int, until: int | None = None, limit: int
    ) -> Sequence[QueuedEvent]:
        end = "+" if until is None else f"{max(0, until)}-0"
        found: list[tuple[bytes, tuple[bytes, ...]]] = await _RANGE.run(
            self._client, [self._keys.hook_events(subscription)], (f"{max(0, since)}-0", end, max(0, limit))
        )
        return [self._event(subscription, entry, fields) for entry, fields in found]

    async def drop(self, subscription: str) -> None:
        keys = [self._keys.hook_due, *self._three(subscription)]
        await _DROP.run(self._client, keys, (subscription,))

    async def tidy(self, subscriptions: Sequence[str], bounds: QueueBounds) -> None:
        arguments = (bounds.events, bounds.bytes, _milliseconds(bounds.seconds))
        for start in range(0, len(subscriptions), _AT_ONCE):
            some = subscriptions[start : start + _AT_ONCE]
            await _TIDY.run(self._client, [key for name in some for key in self._three(name)], arguments)

    async def wakes(self) -> AsyncGenerator[None]:
        async with aclosing(listen(self._client, self._keys.hook_wakes, self._clock)) as messages:
            async for _ in messages:
                yield

    def _event(self, subscription: str, entry: bytes, fields: Sequence[bytes]) -> QueuedEvent:
        event = fields[1].decode()
        content = self._sealer.open(_PURPOSE, fields[5], context=_context(subscription, event))
        return QueuedEvent(int(entry.partition(b"-")[0]), event, int(fields[3]) / 1000, content)

    def _two(self, subscription: str) -> list[str]:
        return [self._keys.hook_due, self._keys.hook_state(subscription)]

    def _three(self, subscription: str) -> list[str]:
        keys = self._keys
        return [keys.hook_state(subscription), keys.hook_events(subscription), keys.hook_known(subscription)]


def _context(subscription: str, event: str) -> bytes:
    return f"{subscription}\0{event}".encode()


def _state(own: _State) -> QueueState:
    last, delivered, lost, failures, since, parked, oldest = own
    return QueueState(
        int(last), int(delivered), int(lost), int(failures), _seconds(since), bool(parked), _seconds(oldest)
    )


def _seconds(milliseconds: bytes) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
