"""What each client has in progress and how fast it asks, in this worker and, told afterwards, in all of them.

A request never waits for the store. Each worker keeps to the whole rate by itself, counts what it lets through, and tells
the store in batches; the store knows what all workers together have let through, and its answer says for how long nothing
more of that client is due. So in the long run a client gets its rate and no more over all workers, and for as long as a
batch is on its way a little more. Without the store each worker goes on by itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from broker.core.rate import Rate, a_second_at_once
from broker.errors import LimitError, StoreError
from broker.ports import Clock

KEPT: Final = 10_000
"""Clients remembered; of more, those go first that asked for nothing for the longest time."""

TOLD_EVERY: Final = 0.5
"""Seconds after which the store is told whatever there is."""

HELD: Final = 1.0
"""Seconds for which a refusal is held back at most: whoever asks in a loop is slowed down by its own loop."""

_SPREAD: Final = 16
_BATCHES: Final = 20  # to the second: what is let through in a twentieth is told at once

_log = logging.getLogger("broker.access")


class SharedRates(Protocol):
    """What all workers let through, by client."""

    async def spend(self, client: str, rate: Rate, count: int) -> float:
        """`count` more were let through. Seconds until the next one is due. Raises `StoreError`."""
        ...


@dataclass(slots=True)
class Account:
    """One client in one worker. Instants are monotonic seconds. `untold`: let through, and the store does not know.
    `held`: refusals that are being held back."""

    rate: Rate
    paid_until: float = 0.0
    blocked_until: float = 0.0
    running: int = 0
    held: int = 0
    untold: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """`concurrent`: in this worker. `rate`: everybody's, where a client has none of its own."""

    rate: Rate
    concurrent: int


@dataclass
class Rates:
    """`shared`: None where nobody else counts."""

    bounds: Bounds
    clock: Clock
    shared: SharedRates | None = None
    refused: int = 0
    _accounts: OrderedDict[str, Account] = field(default_factory=OrderedDict, init=False, repr=False)
    _untold: dict[str, Account] = field(default_factory=dict, init=False, repr=False)
    _due: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)
    _away: bool = field(default=False, init=False)

    def account(self, client: str, per_second: float | None = None) -> Account:
        """`per_second`: of this client, where it is another than everybody's."""
        account = self._accounts.get(client)
        if account is None:
            account = self._accounts[client] = Account(self.bounds.rate)
            self._forget()
        else:
            self._accounts.move_to_end(client)
        own = self.bounds.rate.per_second if per_second is None else per_second
        if own != account.rate.per_second:
            account.rate = a_second_at_once(own)
        return account

    def admit(self, client: str, account: Account) -> None:
        """Let one more request through, or raise `LimitError`. Whoever is let through gives it back by `done`."""
        now = self.clock.monotonic()
        if account.running >= self.bounds.concurrent:
            self.refused += 1
            raise LimitError("limit.concurrent", retry_after=1, limit=self.bounds.concurrent)
        wait = max(account.rate.wait(account.paid_until, now), account.blocked_until - now)
        if wait > 0:
            self.refused += 1
            limit = f"{account.rate.per_second:g}"
            raise LimitError("limit.rate", retry_after=max(1, math.ceil(wait)), limit=limit)
        account.paid_until = account.rate.spent(account.paid_until, now)
        account.running += 1
        if self.shared is not None:
            account.untold += 1
            self._untold[client] = account
            if account.untold * _BATCHES >= account.rate.per_second:
                self._due.set()

    def done(self, account: Account) -> None:
        account.running -= 1

    async def hold(self, account: Account) -> None:
        """Before a refusal is answered. No more are held than may be in progress: more would be a burden themselves."""
        if account.held < self.bounds.concurrent:
            account.held += 1
            try:
                # Not all for as long: who is refused together would come back together.
                await self.clock.sleep(HELD * (1.0 - account.held % _SPREAD / (2 * _SPREAD)))
            finally:
                account.held -= 1

    async def run(self) -> None:
        """Tell the store, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TOLD_EVERY):
                    await self._due.wait()
            self._due.clear()
            await self.tell()

    async def tell(self) -> None:
        """Tell the store what it does not know yet, and take over what it says."""
        if self.shared is None:
            return
        untold, self._untold = self._untold, {}
        for client, account in untold.items():
            count, account.untold = account.untold, 0
            try:
                wait = await self.shared.spend(client, account.rate, count)
            except StoreError:
                if not self._away:
                    _log.warning(
                        "the store does not answer: each worker keeps to the rate of clients by itself"
                    )
                self._away = True
                return  # what was not told is forgotten: it was let through, and this worker has counted it
            self._away = False
            account.blocked_until = self.clock.monotonic() + wait

    def _forget(self) -> None:
        """The oldest without anything in progress; a look at a few of them keeps this short."""
        if len(self._accounts) <= KEPT:
            return
        for client in [client for client, _ in zip(self._accounts, range(16), strict=False)]:
            account = self._accounts[client]
            if not (account.running or account.held):
                del self._accounts[client]
                return
            self._accounts.move_to_end(client)
