"""Sessions of the console by a clock that is moved by hand: how long they last, and how their tokens are renewed."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, field

import pytest

from broker.access.authenticator import Presented
from broker.access.identification import Identification
from broker.access.ports import Door, Granted
from broker.access.sessions import Lifetime, Sessions
from broker.core.access.challenge import refused
from broker.core.access.claims import Payload
from broker.core.access.clients import Clients
from broker.core.access.principal import Method, Principal, User
from broker.core.access.sign_in import Registration
from broker.core.sealing import Sealer
from broker.errors import AccessError
from tests.support.fake_stores import FakeSessions, ManualClock
from tests.support.waiting import until

CAMILLE = User("https://issuer.example", "u-1", None, "Camille EXEMPLE")


class Clock(ManualClock):
    """That sleepers share: a sleep is a turn of the loop."""

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


@dataclass
class Judge:
    """Takes the tokens that are good."""

    good: set[str] = field(default_factory=lambda: {"a1"})
    user: User | None = None

    async def principal(self, presented: Presented) -> Principal:
        token = (presented.authorization or "").removeprefix("Bearer ")
        if token not in self.good:
            raise refused("access.expired")
        return Principal("console", Method.TOKEN, user=self.user)

    def use(self, clients: Clients) -> None:
        del clients


@dataclass
class Issuer:
    """Gives a2, a3… for r1, r2…, each once. `error`: it does not. `gate`: it waits."""

    judge: Judge
    good: set[str] = field(default_factory=lambda: {"r1"})
    asked: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    error: AccessError | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seconds: float | None = 300.0

    async def door(self) -> Door:
        return Door("https://issuer.example/authorize")

    async def exchange(self, code: str, verifier: str) -> Granted:
        raise NotImplementedError

    async def renew(self, refresh: str) -> Granted:
        self.asked.append(refresh)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if refresh not in self.good:
            raise AccessError("console.session-over")
        self.good.discard(refresh)
        number = int(refresh[1:]) + 1
        self.good.add(f"r{number}")
        self.judge.good = {f"a{number}"}
        return Granted(f"a{number}", f"r{number}", None, self.seconds)

    async def revoke(self, refresh: str) -> None:
        self.revoked.append(refresh)


class NoIdentities:
    async def verified(self, token: str) -> tuple[str, Payload]:
        raise NotImplementedError


@dataclass
class Leases:
    """`taken`: by another node."""

    taken: bool = False
    held: set[str] = field(default_factory=set)

    async def take(self, name: str, *, seconds: int) -> bool:
        del seconds
        if self.taken or name in self.held:
            return False
        self.held.add(name)
        return True

    async def give_back(self, name: str) -> None:
        self.held.discard(name)


@dataclass
class World:
    clock: Clock = field(default_factory=Clock)
    judge: Judge = field(default_factory=Judge)
    leases: Leases = field(default_factory=Leases)
    idle: float = 1_800
    whole: float = 28_800

    def __post_init__(self) -> None:
        self.issuer = Issuer(self.judge)
        self.issuer.gate.set()
        self.store = FakeSessions(self.clock)
        registration = Registration("https://issuer.example", "console", "https://broker.example", "openid")
        self.sessions = Sessions(
            self.judge,
            self.issuer,
            Identification(NoIdentities(), registration, self.clock, 0.0),
            self.store,
            Sealer([b"a secret of the federation"]),
            self.leases,
            self.clock,
            Lifetime(self.idle, self.whole),
        )

    async def signed_in(self, refresh: str | None = "r1", seconds: float | None = 300.0) -> str:
        name, principal = await self.sessions.open(
            Granted("a1", refresh, None, seconds), CAMILLE, Presented()
        )
        assert principal.user == CAMILLE
        return name

    async def looks(self, name: str, *, used: bool = True) -> Principal:
        return await self.sessions.principal(name, Presented(), used=used)

    async def refusal(self, name: str) -> str:
        with pytest.raises(AccessError) as caught:
            await self.looks(name)
        return caught.value.key


async def test_a_session_lasts_while_it_is_used() -> None:
    world = World(idle=100, whole=450)
    name = await world.signed_in(refresh=None)
    for _ in range(4):
        world.clock.advance(90)
        assert (await world.looks(name)).user == CAMILLE
    world.clock.advance(80)
    assert (await world.looks(name)).user == CAMILLE
    world.clock.advance(11)
    assert await world.refusal(name) == "console.session-over", "but not for ever"


async def test_what_a_page_asks_by_itself_keeps_no_session_up() -> None:
    world = World(idle=100)
    name = await world.signed_in()
    world.clock.advance(90)
    await world.looks(name, used=False)
    world.clock.advance(11)
    assert await world.refusal(name) == "console.session-over"


async def test_tokens_are_renewed_before_they_end() -> None:
    world = World()
    name = await world.signed_in(seconds=300)
    world.clock.advance(239)
    await world.looks(name)
    assert world.issuer.asked == []
    world.clock.advance(1)
    await world.looks(name)
    await world.looks(name)
    assert world.issuer.asked == ["r1"]
    world.clock.advance(240)
    await world.looks(name)
    assert world.issuer.asked == ["r1", "r2"]


async def test_short_tokens_are_renewed_at_half_their_life() -> None:
    world = World()
    name = await world.signed_in(seconds=20)
    world.clock.advance(9)
    await world.looks(name)
    assert world.issuer.asked == []
    world.clock.advance(1)
    await world.looks(name)
    assert world.issuer.asked == ["r1"]


async def test_tokens_of_which_nobody_says_how_long_are_renewed_when_they_are_refused() -> None:
    world = World()
    world.issuer.seconds = None
    name = await world.signed_in(seconds=None)
    world.clock.advance(1_000)
    await world.looks(name)
    assert world.issuer.asked == []
    world.judge.good = set()
    assert (await world.looks(name)).user == CAMILLE
    assert world.issuer.asked == ["r1"]


async def test_a_refused_token_that_is_not_renewed_is_the_end() -> None:
    for refresh in (None, "r9"):
        world = World()
        name = await world.signed_in(refresh)
        world.judge.good = set()
        assert await world.refusal(name) == "console.session-over"
        assert world.store.blobs == {}


async def test_an_issuer_that_is_away_ends_nothing() -> None:
    world = World()
    world.issuer.error = AccessError("console.login-unavailable")
    name = await world.signed_in()
    world.clock.advance(250)
    assert (await world.looks(name)).user == CAMILLE, "the token serves on"
    world.judge.good = set()
    assert await world.refusal(name) == "console.login-unavailable", "and then nobody knows"
    world.issuer.error = None
    assert (await world.looks(name)).user == CAMILLE


async def test_an_issuer_that_takes_its_time_holds_nobody_up() -> None:
    world = World()
    world.issuer.gate.clear()
    name = await world.signed_in()
    world.clock.advance(250)
    looking = asyncio.create_task(world.looks(name))
    assert (await asyncio.wait_for(looking, 3)).user == CAMILLE
    world.issuer.gate.set()
    await world.sessions.aclose()
    await world.looks(name)
    assert world.issuer.asked == ["r1"]


async def test_a_browser_that_leaves_takes_no_tokens_along() -> None:
    world = World()
    world.issuer.gate.clear()
    name = await world.signed_in()
    world.judge.good = set()
    looking = asyncio.create_task(world.looks(name))
    await until(lambda: world.issuer.asked != [])
    looking.cancel()
    await asyncio.wait([looking])
    assert looking.cancelled()
    world.issuer.gate.set()
    await world.sessions.aclose()
    assert (await world.looks(name)).user == CAMILLE
    assert world.issuer.asked == ["r1"]


async def test_what_another_node_renews_is_waited_for() -> None:
    world = World()
    name = await world.signed_in()
    world.leases.taken = True
    world.judge.good = set()
    looking = asyncio.create_task(world.looks(name))
    await asyncio.sleep(0)
    other = World(world.clock, world.judge)
    other.sessions.store = world.store
    assert (await other.looks(name)).user == CAMILLE
    assert (await looking).user == CAMILLE
    assert world.issuer.asked == []


async def test_what_nobody_renews_is_not_waited_for_for_ever() -> None:
    world = World()
    name = await world.signed_in()
    world.leases.taken = True
    world.judge.good = set()
    assert await world.refusal(name) == "console.login-unavailable"


async def test_who_signs_out_while_tokens_are_renewed_is_signed_out() -> None:
    world = World()
    world.issuer.gate.clear()
    name = await world.signed_in()
    world.judge.good = set()
    looking = asyncio.create_task(world.looks(name))
    await until(lambda: world.issuer.asked != [])
    await world.sessions.close(name)
    world.issuer.gate.set()
    with pytest.raises(AccessError, match=r"console\.session-over"):
        await looking
    assert world.store.blobs == {}
    assert world.issuer.revoked == ["r1", "r2"], "nor is what came too late left lying about"


async def test_another_persons_token_is_no_session() -> None:
    world = World()
    world.judge.user = User(CAMILLE.issuer, "u-2")
    with pytest.raises(AccessError, match=r"console\.login-person"):
        await world.sessions.open(Granted("a1"), CAMILLE, Presented())
    assert world.store.blobs == {}


async def test_what_the_token_says_of_the_person_is_made_whole() -> None:
    world = World()
    world.judge.user = User(CAMILLE.issuer, "u-1", "899700000017")
    _, principal = await world.sessions.open(Granted("a1"), CAMILLE, Presented())
    assert principal.user == User(CAMILLE.issuer, "u-1", "899700000017", "Camille EXEMPLE")


async def test_a_session_in_the_place_of_another_is_none() -> None:
    """Whoever writes to the store without the secret gains nothing, nor by moving what is there."""
    world = World()
    one, other = await world.signed_in(), await world.signed_in()
    first, second = world.store.blobs
    world.store.blobs[first] = world.store.blobs[second]
    assert await world.refusal(one) == "console.session-over"
    world.store.blobs[second] = (world.store.blobs[second][0], b"x" * 200)
    assert await world.refusal(other) == "console.session-over"
    assert await world.sessions.known(other) is None
    assert await world.sessions.close(other) is None
