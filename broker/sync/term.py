"""A publisher's time as the one that publishes: taken from the outbox, renewed while it lasts, over when it is not."""

from __future__ import annotations

from dataclasses import dataclass

from broker.ports import Clock
from registry.ports import Outbox

_RENEWALS = 3  # in one lease


class LostLeadError(Exception):
    """Another node publishes now, or may soon."""


@dataclass(slots=True)
class Term:
    """`token`: the outbox checks it. `until`: our instant (monotonic) at which the lease ends. `lease`, `margin`: seconds;
    nothing is begun in the last `margin` of a lease."""

    node: str
    token: int
    until: float
    outbox: Outbox
    clock: Clock
    lease: float
    margin: float

    def check(self) -> None:
        """Raises `LostLeadError` where the lease is all but over: its renewal did not come."""
        if self.clock.monotonic() > self.until - self.margin:
            raise LostLeadError

    async def keep(self) -> None:
        """Renew the lease until cancelled. Raises `LostLeadError`, `StoreError`."""
        while True:
            await self.clock.sleep(self.lease / _RENEWALS)
            before = self.clock.monotonic()
            if await self.outbox.lead(self.node, seconds=self.lease) != self.token:
                raise LostLeadError
            self.until = before + self.lease


async def begun(node: str, outbox: Outbox, clock: Clock, *, lease: float, margin: float) -> Term | None:
    """A term, unless another node publishes. Raises `StoreError`."""
    before = clock.monotonic()
    token = await outbox.lead(node, seconds=lease)
    if token is None:
        return None
    return Term(node, token, before + lease, outbox, clock, lease, margin)
