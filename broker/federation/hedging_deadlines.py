"""Giving a manager up before its own time is over, as far as its own past allows; only where an operator wants it so.

Whoever is given up is missing from the answer, and named in it, although it might have answered within the client's time. So
this is off by default, never done to a client that takes nothing partial, and never longer than the client waits. See
`latency_rule` for why a manager that has become slower is not shut out, and decision 11 for why this is not the rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from broker.core.preferences import Partial
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.federation import Federation
from broker.federation.hedging_paces import PacedManagers
from broker.ports import ManagerAnswer, ManagerClient, ManagerRequest, Managers
from registry.model import Gestionnaire

_WITHOUT_BLAME = 0.5
"""Share of a manager's own time below which a timeout does not count for its breaker (`ManagerGuard`)."""


@dataclass(frozen=True, slots=True)
class HurriedManagers:
    """A `ManagerClient` for searches."""

    client: ManagerClient
    paced: PacedManagers
    managers: Managers

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        """See `ManagerClient.send`."""
        pace, own = self.paced.paces(manager).searches, self.paced.own_time(manager)
        allowed = pace.deadline(own, self.paced.now())
        if allowed >= timeout or allowed >= own * _WITHOUT_BLAME:
            return await self.client.send(manager, request, timeout=timeout)
        try:
            return await self.client.send(manager, request, timeout=allowed)
        except ManagerError as error:
            if error.kind is FailureKind.TIMEOUT:
                pace.missed()
                registered = self.managers.get(manager.id)
                if registered is not None:
                    self.paced.doubt(registered)
            raise


@dataclass(frozen=True, slots=True)
class Hurry:
    """Which requests may be hurried. `everybody`: also those that did not say how long they wait."""

    federation: Federation
    paced: PacedManagers
    everybody: bool

    def __call__(self, context: RequestContext) -> Federation:
        preferences = context.preferences
        wanted = self.everybody or preferences.wait is not None
        if not wanted or preferences.partial is Partial.DENY:
            return self.federation
        federation = self.federation
        return replace(federation, client=HurriedManagers(federation.client, self.paced, federation.managers))
