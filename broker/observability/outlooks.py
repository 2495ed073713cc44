"""What is known of managers by now: by this process alone, or by all the processes of a broker together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from broker.federation.manager_guard import ManagerHealth
from broker.federation.traffic import Traffic
from broker.observability.told import Outlook
from broker.ports import Clock

_FRESH: Final = 0.25
"""Seconds for which what was asked last is good enough."""


class Outlooks(Protocol):
    """`refresh` brings up to date what the others show from memory."""

    async def refresh(self) -> None: ...

    def health(self) -> Mapping[str, ManagerHealth]: ...

    def traffic(self) -> Traffic: ...

    def waiting_for(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class OwnOutlook:
    """Of a process that is the whole broker. `waiting`: circles, by the manager that is to give them."""

    states: Callable[[], Mapping[str, ManagerHealth]]
    known: Traffic
    waiting: Callable[[], Mapping[str, int]]

    async def refresh(self) -> None:
        """It is up to date."""

    def health(self) -> Mapping[str, ManagerHealth]:
        return self.states()

    def traffic(self) -> Traffic:
        return self.known

    def waiting_for(self) -> Mapping[str, int]:
        return self.waiting()


@dataclass(slots=True)
class SharedOutlook:
    """`ask`: whoever knows what all of them tell; None where it does not answer: the last is kept, at first one's own."""

    ask: Callable[[], Awaitable[bytes | None]]
    clock: Clock
    own: OwnOutlook
    asked: float | None = None
    known: Outlook | None = None
    exchanged: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self.exchanged = self.own.known

    async def refresh(self) -> None:
        now = self.clock.monotonic()
        if self.asked is not None and now - self.asked < _FRESH:
            return
        self.asked = now
        told = await self.ask()
        if told is None:
            return
        self.known = msgspec.msgpack.decode(told, type=Outlook)
        self.exchanged = Traffic(
            self.clock, {slug: one.traffic() for slug, one in self.known.traffic.items()}
        )

    def health(self) -> Mapping[str, ManagerHealth]:
        return self.own.health() if self.known is None else self.known.health

    def traffic(self) -> Traffic:
        return self.exchanged

    def waiting_for(self) -> Mapping[str, int]:
        return self.own.waiting_for() if self.known is None else self.known.waiting_for
