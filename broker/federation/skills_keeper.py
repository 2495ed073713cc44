"""Learning by itself what managers can do: whoever is new or long unchecked is checked, by one node at a time.

A manager that held nothing to try things with (it was just set up) is looked at again soon, then ever more seldom.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.errors import ManagerError, StoreError
from broker.federation.check_session import MAX_SECONDS
from broker.federation.registry_service import Checker
from broker.ports import Clock, Leases, Managers
from registry.model import Gestionnaire, Registered, Skills, Status
from registry.ports import GestionnaireStore

_log = logging.getLogger("broker.skills")

LEASE_SECONDS: Final = int(MAX_SECONDS) + 60
"""Longer than a check takes at worst: no second node begins one meanwhile."""

_SOON: Final = (
    60.0  # seconds to the second look at a manager that left questions open; doubled for each further one
)
_MAX_PAUSE: Final = 300.0  # seconds between attempts at a manager that cannot be checked


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The failed attempts in a row at a manager, and when (monotonic seconds) the next one is due."""

    failures: int
    due: float


def is_unsettled(skills: Skills) -> bool:
    """Whether a check left a question open that more data might answer."""
    tried = (skills.chaining, skills.include, skills.sort, skills.post_search, skills.modifiers)
    return None in tried or bool(skills.unproven)


class SkillsKeeper:
    """Until a manager is checked, the broker trusts none of its skills and bridges; so checking early saves work.

    `max_age` (seconds) is how long what was learnt is good for; `pause` how often unchecked managers are looked for.
    One that cannot be checked is tried again after `pause`, then after twice that, up to five minutes.
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
        self._attempts: dict[str, _Attempt] = {}
        self._busy: set[str] = set()

    async def run(self) -> None:
        """Until cancelled. A slow check keeps no other manager waiting."""
        async with asyncio.TaskGroup() as group:
            while True:
                for one in self._due():
                    self._busy.add(one.gestionnaire.id)
                    group.create_task(self._learn(one.gestionnaire))
                await self._clock.sleep(self._pause)

    def _due(self) -> Sequence[Registered]:
        now = self._clock.monotonic()
        return [
            one
            for one in self._managers.all()
            if self._is_due(one)
            and one.gestionnaire.id not in self._busy
            and ((tried := self._attempts.get(one.gestionnaire.id)) is None or tried.due <= now)
        ]

    def _is_due(self, registered: Registered) -> bool:
        if registered.gestionnaire.status is not Status.ACTIVE:
            return False
        skills = registered.skills
        if skills is None or skills.checked_at is None:
            return True
        good_for = self._max_age
        if is_unsettled(skills):
            good_for = min(good_for, _SOON * 2.0 ** min(skills.unsettled, 30))
        age = self._clock.now() - dt.datetime.fromisoformat(skills.checked_at)
        return age.total_seconds() > good_for

    async def _learn(self, manager: Gestionnaire) -> None:
        lease = f"check:{manager.id}"
        try:
            if not await self._leases.take(lease, seconds=LEASE_SECONDS):
                return
            try:
                await self._learn_alone(manager)
            finally:
                await self._leases.give_back(lease)
        except StoreError:
            _log.warning("manager %s: the registry's store did not answer", manager.id)
        except Exception as error:  # noqa: BLE001
            # A defect of ours that one manager's answers bring out must not end the checks of all: reported, put off.
            self._put_off(manager)
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"check of manager {manager.id} failed", "exception": error}
            )
        finally:
            self._busy.discard(manager.id)

    async def _learn_alone(self, manager: Gestionnaire) -> None:
        before = await self._store.get(manager.id)
        if before is None or before.gestionnaire != manager or not self._is_due(before):
            return  # another node was faster, or it has changed
        try:
            skills = await self._check(manager)
        except ManagerError as error:
            self._put_off(manager)
            _log.warning("manager %s could not be checked: %s", manager.id, error.kind.value)
            return
        self._attempts.pop(manager.id, None)
        if before.skills is not None and is_unsettled(skills):
            skills = msgspec.structs.replace(skills, unsettled=before.skills.unsettled + 1)
        after = await self._store.get(manager.id)
        if after is not None and after.gestionnaire.base_url == manager.base_url:
            await self._store.save_skills(manager.id, skills)
            _log.info("checked manager %s: %d lacks", manager.id, len(skills.lacks))

    def _put_off(self, manager: Gestionnaire) -> None:
        known = self._attempts.get(manager.id)
        failures = known.failures + 1 if known else 1
        wait = min(self._pause * 2.0 ** min(failures - 1, 30), _MAX_PAUSE)
        self._attempts[manager.id] = _Attempt(failures, self._clock.monotonic() + wait)
