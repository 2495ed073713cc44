"""From the outbox to the change log: one node at a time, whoever gets the lead (federation, section 6).

Every worker of every node runs one publisher. The outbox checks the leader's token whenever it is read or emptied, so that
a leader that was replaced while it stood still does neither, and it publishes nothing towards the end of a lease. Should one
stand still in the very middle of publishing, what it still sends is what its successor sends too: events bear an id and a
number, and readers go by them.

Where the store is out nothing is read, and writes are refused. Where the log is out, changes wait in the outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from broker.errors import StoreError
from broker.ports import Clock, Disclosures
from broker.sync.change_log import ChangeLog
from broker.sync.disclosures import UNTRACED
from broker.sync.drain import Drain
from broker.sync.event_records import EventRecords
from broker.sync.homes import Homes
from broker.sync.homes_queue import pause
from broker.sync.publisher_options import PublisherFigures, PublisherOptions
from broker.sync.routing import ChangeRouting
from broker.sync.term import LostLeadError, begun
from broker.tracing import Tracer
from registry.ports import Outbox

_RENEWALS = 3  # in one lease
_LONGEST_PAUSE = 5.0  # seconds between attempts at a store that does not answer


def _unobserved(_seconds: float) -> None:
    """Nobody keeps a figure of it."""


@dataclass(slots=True)
class Publisher:
    """`node`: a name of this process that no other has. `observe`: see `Drain`. `leading`: it is this one."""

    node: str
    outbox: Outbox
    log: ChangeLog
    homes: Homes
    routing: ChangeRouting
    records: EventRecords
    clock: Clock
    options: PublisherOptions = field(default_factory=PublisherOptions)
    observe: Callable[[float], None] = _unobserved
    figures: PublisherFigures = field(default_factory=PublisherFigures)
    disclosures: Disclosures = UNTRACED
    tracer: Tracer | None = None
    leading: bool = False

    async def run(self) -> None:
        """Until cancelled; then whoever comes next need not wait for the end of the lease."""
        failures = 0
        try:
            while True:
                try:
                    await self._term()
                    failures = 0
                except LostLeadError:
                    failures = 0
                except StoreError:
                    failures += 1
                except Exception as error:  # noqa: BLE001
                    # A defect of ours must not end publishing for good: reported, and begun anew.
                    failures += 1
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": "publishing changes failed", "exception": error}
                    )
                finally:
                    self.leading = False
                    self.figures.waiting_for, self.figures.stalled = {}, False
                await self.clock.sleep(self._pause(failures))
        finally:
            with suppress(StoreError):
                await self.outbox.lead(self.node, seconds=0)

    async def _term(self) -> None:
        """Lead, if nobody else does, for as long as it lasts."""
        options = self.options
        term = await begun(self.node, self.outbox, self.clock, lease=options.lease, margin=options.margin)
        if term is None:
            return
        self.leading = True
        drain = Drain(
            term=term,
            outbox=self.outbox,
            log=self.log,
            homes=self.homes,
            routing=self.routing,
            records=self.records,
            clock=self.clock,
            options=options,
            figures=self.figures,
            observe=self.observe,
            disclosures=self.disclosures,
            tracer=self.tracer,
        )
        await drain.run()

    def _pause(self, failures: int) -> float:
        if not failures:
            return self.options.lease / _RENEWALS
        return min(pause(failures - 1), _LONGEST_PAUSE)
