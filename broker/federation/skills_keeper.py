"""Learning by itself what managers can do: whoever is new or long unchecked is checked, by one node at a time."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Sequence

from broker.errors import ManagerError, StoreError
from broker.federation.registry_service import Checker
from broker.ports import Clock, Leases, Managers
from registry.model import Gestionnaire, Registered, Status
from registry.ports import GestionnaireStore

_log = logging.getLogger("broker.skills")

_LEASE_SECONDS = 120


class SkillsKeeper:
    """Until a manager is checked, the broker trusts none of its skills and bridges; so checking early saves work.

    `max_age` (seconds) is how long what was learnt is good for; `pause` how often unchecked managers are looked for,
    and so how soon one that was out of reach is tried again.
    """

    def __init__(
        self,
        managers: Managers,
        store: GestionnaireStore,
        leases: Leases,
        check: Checker,
        clock: Clock,
        *,
        max_age: float = 86_400.0,
        pause: float = 5.0,
    ) -> None:
        self._managers = managers
        self._store = store
        self._leases = leases
        self._check = check
        self._clock = clock
        self._max_age = max_age
        self._pause = pause

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.once()
            await self._clock.sleep(self._pause)

    async def once(self) -> None:
        """Check whoever is due, several at a time."""
        due = self._due()
        if due:
            await asyncio.gather(*(self._learn(one.gestionnaire) for one in due))

    def _due(self) -> Sequence[Registered]:
        return [
            one
            for one in self._managers.all()
            if one.gestionnaire.status is Status.ACTIVE and self._is_due(one)
        ]

    def _is_due(self, registered: Registered) -> bool:
        checked_at = registered.skills.checked_at if registered.skills is not None else None
        if checked_at is None:
            return True
        age = self._clock.now() - dt.datetime.fromisoformat(checked_at)
        return age.total_seconds() > self._max_age

    async def _learn(self, manager: Gestionnaire) -> None:
        try:
            if not await self._leases.take(f"check:{manager.id}", seconds=_LEASE_SECONDS):
                return
            skills = await self._check(manager)
            await self._store.save_skills(manager.id, skills)
            _log.info("checked manager %s: %d lacks", manager.id, len(skills.lacks))
        except ManagerError as error:
            _log.warning("manager %s could not be checked: %s", manager.id, error.kind.value)
            await self._give_back(manager)
        except StoreError:
            _log.warning("manager %s: the registry's store did not answer", manager.id)

    async def _give_back(self, manager: Gestionnaire) -> None:
        try:
            await self._leases.give_back(f"check:{manager.id}")
        except StoreError:
            _log.warning("manager %s: the registry's store did not answer", manager.id)
