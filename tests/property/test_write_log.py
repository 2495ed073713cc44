"""Several writers and settlers on one write log, in any order, some of them too late, beside a small model.

A name never has two live holders, tokens grow, a late writer clears nothing of a newer one, what is due is handed to
one settler at a time, and nothing outlives its bound.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from registry.ports import WriteLog
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from registry.write_log import RedisWriteLog
from registry.write_model import Taken
from tests.support.aged_store import age
from tests.support.examples import examples
from tests.support.fake_stores import ManualClock
from tests.support.fake_write_log import FakeWriteLog

NAMES = [letter * 16 for letter in (b"a", b"b", b"\xff")]
names = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
pick = st.integers(0, 1000)

# Time passes by tens, and everything lasts for tens and a half: no bound is ever met exactly.
CLAIM, KEEP, LEASE, DUE = 25, 45, 15, 35
passing = st.sampled_from([10, 20, 30, 50])

T = TypeVar("T")


@dataclass(frozen=True)
class Held:
    token: int
    until: float | None
    intent: str | None


@dataclass(frozen=True)
class Kept:
    token: int
    until: float
    result: bytes


@dataclass(frozen=True)
class Attempt:
    """What one writer knows of its own: perhaps long out of date."""

    token: int
    names: tuple[bytes, ...]
    intent: str | None = None


@dataclass(frozen=True)
class Open:
    token: int
    names: tuple[bytes, ...]
    blob: bytes
    due: float
    attempts: int = 0


class Nodes(RuleBasedStateMachine):
    """`url` None: the fake."""

    def __init__(self, url: str | None) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.url = url
        self.keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
        self.clock = ManualClock()
        self.clients: list[Any] = []
        self.now = 0.0
        self.last = 0
        self.held: dict[bytes, Held] = {}
        self.kept: dict[bytes, Kept] = {}
        self.open: dict[str, Open] = {}
        self.attempts: list[Attempt] = []
        self.numbers = 0

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    @initialize()
    def connected(self) -> None:
        self.logs: list[WriteLog]
        if self.url is None:
            self.fake = FakeWriteLog(self.clock)
            self.logs = [self.fake] * 3
        else:
            self.clients = [connect(self.url) for _ in range(3)]
            self.logs = [RedisWriteLog(client, keys=self.keys) for client in self.clients]

    def log(self, number: int) -> WriteLog:
        return self.logs[number % 3]

    def fresh(self, what: str) -> str:
        self.numbers += 1
        return f"{what}{self.numbers}"

    def grown(self, token: int) -> None:
        assert token > self.last
        self.last = token

    # --- writers

    @rule(node=pick, names=names)
    def claim(self, node: int, names: list[bytes]) -> None:
        in_the_way = [self.held[name] for name in names if name in self.held]
        answer = self.run(self.log(node).claim(names, seconds=CLAIM))
        if in_the_way:
            assert isinstance(answer, Taken)
            assert (answer.token, answer.settled_by) in {(one.token, one.intent) for one in in_the_way}
            return
        assert isinstance(answer, int)
        self.grown(answer)
        self.take(names, Held(answer, self.now + CLAIM, None))
        self.attempts.append(Attempt(answer, tuple(names)))

    def take(self, names: list[bytes] | tuple[bytes, ...], held: Held) -> None:
        for name in names:
            self.held[name] = held
            self.kept.pop(name, None)

    @precondition(lambda self: self.attempts)
    @rule(node=pick, which=pick)
    def intend(self, node: int, which: int) -> None:
        place = which % len(self.attempts)
        mine = self.attempts[place]
        ours = all(
            name in self.held and self.held[name].token == mine.token and self.held[name].intent is None
            for name in mine.names
        )
        intent = self.fresh("w")
        blob = intent.encode()
        told = self.log(node).intend(intent, blob, names=mine.names, token=mine.token, due=DUE)
        assert self.run(told) == ours
        if ours:
            self.begun(intent, blob, mine.token, mine.names)
            self.attempts[place] = replace(mine, intent=intent)

    @rule(node=pick, names=names | st.just([]))
    def intend_at_once(self, node: int, names: list[bytes]) -> None:
        free = not any(name in self.held for name in names)
        intent = self.fresh("w")
        blob = intent.encode()
        assert self.run(self.log(node).intend(intent, blob, names=names, due=DUE)) == free
        if free and names:
            token, _ = self.run(self.log(node).look(names))
            assert token is not None
            self.grown(token)
            self.begun(intent, blob, token, tuple(names))
            self.attempts.append(Attempt(token, tuple(names), intent))
        elif free:
            self.begun(intent, blob, 0, ())

    def begun(self, intent: str, blob: bytes, token: int, names: tuple[bytes, ...]) -> None:
        self.take(names, Held(token, None, intent))
        self.open[intent] = Open(token, names, blob, self.now + DUE)

    @precondition(lambda self: self.attempts)
    @rule(node=pick, which=pick, told=st.booleans(), knows_names=st.booleans(), recalls=st.booleans())
    def finish(self, node: int, which: int, told: bool, knows_names: bool, recalls: bool) -> None:
        """Whoever it is, in time or not, once or again, even one that forgot its intent."""
        mine = self.attempts[which % len(self.attempts)]
        if not recalls:
            mine = replace(mine, intent=None)
        names = mine.names if knows_names or mine.intent not in self.open else ()
        result = self.fresh("r").encode() if told else None
        answer = self.run(
            self.log(node).finish(mine.intent, names=names, token=mine.token, result=result, keep=KEEP)
        )
        assert answer == self.finished(mine, result)

    def finished(self, mine: Attempt, result: bytes | None) -> bool:
        alone = True
        if mine.intent is not None:
            self.open.pop(mine.intent, None)
        for name in mine.names:
            held, kept = self.held.get(name), self.kept.get(name)
            if (held is not None and (held.token, held.intent) != (mine.token, mine.intent)) or (
                kept is not None and kept.token > mine.token
            ):
                alone = False
                continue
            self.held.pop(name, None)
            if result is not None:
                self.kept[name] = Kept(mine.token, self.now + KEEP, result)
        return alone

    # --- settlers

    @rule(node=pick, limit=st.integers(1, 3))
    def due(self, node: int, limit: int) -> None:
        ready = {intent for intent, one in self.open.items() if one.due < self.now}
        handed = self.run(self.log(node).due(limit=limit, lease=LEASE))
        intents = [one.intent for one in handed]
        assert len(set(intents)) == len(intents) == min(limit, len(ready))
        assert set(intents) <= ready
        assert all(
            self.open[one].due >= max((self.open[given].due for given in intents), default=0)
            for one in ready - set(intents)
        )
        for one in handed:
            known = self.open[one.intent]
            assert (one.names, one.blob, one.attempts) == (known.names, known.blob, known.attempts + 1)
            assert one.token == known.token or not known.names
            self.open[one.intent] = replace(known, due=self.now + LEASE, attempts=one.attempts)

    @precondition(lambda self: self.open)
    @rule(node=pick, which=pick, learnt=st.booleans())
    def postpone(self, node: int, which: int, learnt: bool) -> None:
        intent = sorted(self.open)[which % len(self.open)]
        blob = self.fresh("b").encode() if learnt else None
        self.run(self.log(node).postpone(intent, seconds=DUE, blob=blob))
        known = self.open[intent]
        self.open[intent] = replace(known, due=self.now + DUE, blob=blob or known.blob)

    # --- the world

    @rule(seconds=passing)
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.clock.advance(seconds)
        if self.clients:
            self.run(age(self.clients[0], self.keys, seconds))
        self.held = {
            name: one for name, one in self.held.items() if one.until is None or one.until > self.now
        }
        self.kept = {name: one for name, one in self.kept.items() if one.until > self.now}

    @precondition(lambda self: self.numbers > 8)
    @rule()
    def the_store_is_lost(self) -> None:
        if self.clients:
            self.run(self.emptied())
        else:
            self.fake.lose()
        self.held, self.kept, self.open = {}, {}, {}

    async def emptied(self) -> None:
        for key in await self.there():
            await self.clients[0].delete(key)

    async def there(self) -> set[str]:
        client = self.clients[0]
        return {key.decode() async for key in client.scan_iter(match=f"{self.keys.prefix}:*", count=1000)}

    # --- what always holds

    @invariant()
    def names_are_held_as_they_should(self) -> None:
        if not hasattr(self, "logs"):
            return
        for name in NAMES:
            held, kept = self.held.get(name), self.kept.get(name)
            seen = self.run(self.logs[0].look([name]))
            assert seen == (held.token if held else None, kept.result if kept else None)
        assert self.run(self.logs[0].pending())[0] == len(self.open)

    @invariant()
    def nothing_is_without_a_bound_but_what_has_to_be_settled(self) -> None:
        if not self.clients:
            return
        lasting = {self.keys.write_name(name) for name, one in self.held.items() if one.intent is not None}
        for name in NAMES:
            key = self.keys.write_name(name)
            left = self.run(self.clients[0].pttl(key))
            assert (left == -1) == (key in lasting)
            assert left <= max(CLAIM, KEEP) * 1000

    def teardown(self) -> None:
        if hasattr(self, "logs"):
            self.run(self.settled())
        for client in self.clients:
            self.run(client.aclose())
        self.runner.close()

    async def settled(self) -> None:
        """Every intent comes to a settler in the end, and then nothing is left but the last token."""
        self.clock.advance(1000)
        if self.clients:
            await age(self.clients[0], self.keys, 1000)
        handed = await self.logs[0].due(limit=10_000, lease=LEASE)
        assert {one.intent for one in handed} == set(self.open)
        for one in handed:
            assert await self.logs[1].finish(one.intent, names=one.names, token=one.token)
        for name in NAMES:
            assert await self.logs[2].look([name]) == (None, None)
        if self.clients:
            assert await self.there() <= {self.keys.write_token}


@pytest.mark.parametrize("kind", ["fake", "valkey"])
def test_writers_and_settlers_keep_the_names_apart(kind: str, request: pytest.FixtureRequest) -> None:
    url = None if kind == "fake" else request.getfixturevalue("valkey_server").url
    run_state_machine_as_test(
        lambda: Nodes(url),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=examples(25),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
