"""`WriteLog` and `IdempotencyStore` in memory, with the faults that tests ask for.

One suite holds them to the real ones' ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from broker.errors import StoreError
from broker.ports import Clock
from registry.outbox_model import CircleChange
from registry.write_model import Begun, Different, Done, Due, Fresh, Name, Running, Taken
from tests.support.fake_outbox import FakeOutbox
from tests.support.fake_stores import ManualClock


@dataclass
class _Faulty:
    """`down`: every call fails. `answer_lost`: methods that do their work, and fail then."""

    clock: Clock = field(default_factory=ManualClock)
    down: bool = False
    answer_lost: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    @property
    def _now(self) -> float:
        return self.clock.now().timestamp()

    def _called(self, method: str) -> None:
        self.calls.append(method)
        if self.down:
            raise StoreError("federation.store")

    def _answered(self, method: str) -> None:
        if method in self.answer_lost:
            raise StoreError("federation.store")


@dataclass(frozen=True)
class _Claim:
    """`until` None: as long as the intent."""

    token: int
    until: float | None
    intent: str | None = None


@dataclass(frozen=True)
class _Result:
    token: int
    until: float
    blob: bytes


@dataclass(frozen=True)
class _Intent:
    told: Due
    due: float
    begun: float


@dataclass
class FakeWriteLog(_Faulty):
    """`lose()`: the store is emptied. Tokens go on, as they do by a clock that does not stand still."""

    outbox: FakeOutbox = field(default_factory=FakeOutbox)
    _claims: dict[Name, _Claim] = field(default_factory=dict)
    _results: dict[Name, _Result] = field(default_factory=dict)
    _intents: dict[str, _Intent] = field(default_factory=dict)
    _token: int = 0

    def lose(self) -> None:
        self._claims.clear()
        self._results.clear()
        self._intents.clear()

    async def claim(self, names: Sequence[Name], *, seconds: float) -> int | Taken:
        self._called("claim")
        for name in names:
            held = self._held(name)
            if held is not None:
                return Taken(held.token, held.intent)
        token = self._next_token()
        self._take(names, _Claim(token, self._now + seconds))
        self._answered("claim")
        return token

    async def intend(
        self, intent: str, blob: bytes, *, names: Sequence[Name] = (), token: int | None = None, due: float
    ) -> bool:
        self._called("intend")
        held = [self._held(name) for name in names]
        if intent not in self._intents:
            if token is None:
                if any(held):
                    return False
                token = self._next_token()
            elif any(one is None or one.token != token or one.intent is not None for one in held):
                return False
            self._take(names, _Claim(token, None, intent))
            told = Due(intent, token, tuple(dict.fromkeys(names)), blob, 0)
            self._intents[intent] = _Intent(told, self._now + due, self._now)
        self._answered("intend")
        return True

    async def finish(
        self,
        intent: str | None,
        *,
        names: Sequence[Name] = (),
        token: int | None = None,
        result: bytes | None = None,
        keep: float = 0,
        changes: Sequence[CircleChange] = (),
    ) -> bool:
        self._called("finish")
        self.outbox.put(changes)
        done = None if intent is None else self._intents.pop(intent, None)
        if done is not None:
            names, token = (*names, *done.told.names), done.told.token
        alone = True
        for name in dict.fromkeys(names):
            held, kept = self._held(name), self._kept(name)
            if held is not None:
                ours = held.intent == intent if held.intent is not None else held.token == token
            else:
                ours = kept is None or kept.blob == result or kept.token <= (token or 0)
            if not ours:
                alone = False
                continue
            self._claims.pop(name, None)
            if result is not None and keep > 0:
                last = token or (held or kept or _Claim(0, None)).token
                self._results[name] = _Result(last, self._now + keep, result)
        self._answered("finish")
        return alone

    async def look(self, names: Sequence[Name]) -> tuple[int | None, bytes | None]:
        self._called("look")
        tokens = (held.token for name in names if (held := self._held(name)) is not None)
        results = (kept.blob for name in names if (kept := self._kept(name)) is not None)
        return next(tokens, None), next(results, None)

    async def due(self, *, limit: int, lease: float) -> Sequence[Due]:
        self._called("due")
        ready = sorted(
            (one for one in self._intents.values() if one.due <= self._now), key=lambda one: one.due
        )
        handed = [replace(one.told, attempts=one.told.attempts + 1) for one in ready[: max(0, limit)]]
        for told in handed:
            self._intents[told.intent] = replace(self._intents[told.intent], told=told, due=self._now + lease)
        self._answered("due")
        return handed

    async def postpone(self, intent: str, *, seconds: float, blob: bytes | None = None) -> None:
        self._called("postpone")
        known = self._intents.get(intent)
        if known is not None:
            told = known.told if blob is None else replace(known.told, blob=blob)
            self._intents[intent] = replace(known, told=told, due=self._now + seconds)
        self._answered("postpone")

    async def pending(self) -> tuple[int, float | None]:
        self._called("pending")
        oldest = min((one.begun for one in self._intents.values()), default=None)
        return len(self._intents), None if oldest is None else self._now - oldest

    def _held(self, name: Name) -> _Claim | None:
        claim = self._claims.get(name)
        return claim if claim is None or claim.until is None or claim.until > self._now else None

    def _kept(self, name: Name) -> _Result | None:
        result = self._results.get(name)
        return result if result is not None and result.until > self._now else None

    def _take(self, names: Sequence[Name], claim: _Claim) -> None:
        for name in names:
            self._claims[name] = claim
            self._results.pop(name, None)

    def _next_token(self) -> int:
        self._token = max(self._token + 1, int(self._now * 1_000_000))
        return self._token


@dataclass(frozen=True)
class _Key:
    fingerprint: bytes
    owner: str
    until: float
    blob: bytes | None = None


@dataclass
class FakeIdempotencyStore(_Faulty):
    _keys: dict[bytes, _Key] = field(default_factory=dict)

    async def begin(self, key: bytes, fingerprint: bytes, *, owner: str, seconds: int) -> Begun:
        self._called("begin")
        known = self._known(key)
        begun: Begun = Fresh()
        if known is None:
            self._keys[key] = _Key(fingerprint, owner, self._now + seconds)
        elif known.fingerprint != fingerprint:
            begun = Different()
        elif known.blob is not None:
            begun = Done(known.blob)
        elif known.owner != owner:
            begun = Running()
        self._answered("begin")
        return begun

    async def finish(self, key: bytes, owner: str, blob: bytes, *, seconds: int) -> bool:
        self._called("finish")
        known = self._known(key)
        if known is None or known.owner != owner:
            return False
        if known.blob is None:
            self._keys[key] = replace(known, blob=blob, until=self._now + seconds)
        self._answered("finish")
        return True

    async def hold(self, key: bytes, owner: str, *, seconds: int) -> bool:
        self._called("hold")
        known = self._known(key)
        if known is None or known.owner != owner:
            return False
        if known.blob is None:
            self._keys[key] = replace(known, until=self._now + seconds)
        self._answered("hold")
        return True

    async def abandon(self, key: bytes, owner: str) -> None:
        self._called("abandon")
        known = self._known(key)
        if known is not None and known.owner == owner and known.blob is None:
            del self._keys[key]
        self._answered("abandon")

    def _known(self, key: bytes) -> _Key | None:
        known = self._keys.get(key)
        return known if known is not None and known.until > self._now else None
