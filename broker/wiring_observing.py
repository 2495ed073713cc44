"""What is told of requests, and how a worker leaves, put together. A part of the composition root."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from aiohttp.typedefs import Middleware

from broker.current_request import Served
from broker.gateway.draining import Draining
from broker.gateway.served import reasoned, told_of
from broker.gateway.traced import traced
from broker.observability.log_events import tell_requests
from broker.observability.metrics import Room
from broker.observability.metrics_process import LoopFigures
from broker.observability.metrics_requests import RequestFigures
from broker.wiring_ground import Ground, Part


@dataclass(frozen=True, slots=True)
class Observing(Part):
    ground: Ground
    draining: Draining = field(default_factory=Draining)
    requests: RequestFigures = field(default_factory=RequestFigures)

    def outside(self) -> Sequence[Middleware]:
        """Of everything."""
        tellers: list[Callable[[Served], None]] = [self.requests.tell]
        if self.ground.settings.log_requests:
            tellers.append(tell_requests())
        tracing = self.ground.tracing
        traces = () if tracing is None else (traced(tracing.tracer, continues=tracing.continues),)
        return (*traces, told_of(tellers, self.ground.clock), self.draining.middleware())

    def within(self) -> Sequence[Middleware]:
        """Of what renders errors, outside of all that raises them."""
        return (reasoned,)

    def figures(self) -> Iterable[Room]:
        yield self.requests
        yield LoopFigures()
        yield self.ground.manager_figures
        yield self.ground.search_figures
        if self.ground.tracing is not None:
            yield self.ground.tracing.figures
