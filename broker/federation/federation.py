"""What every use case works with: the managers, the way to them, and the shared stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from broker.core.identity import is_alias
from broker.federation.manager_calls import ManagerCalls
from broker.federation.options import FederationOptions
from broker.federation.origins import Origins
from broker.federation.pages import PageKeeper
from broker.ports import AliasStore, ManagerClient, Managers
from registry.model import Registered, Skills


@dataclass(frozen=True, slots=True)
class Federation:
    managers: Managers
    client: ManagerClient
    aliases: AliasStore
    pages: PageKeeper
    origins: Origins
    options: FederationOptions
    skills_of: Callable[[Registered], Skills]

    def calls(self, registered: Registered) -> ManagerCalls:
        return ManagerCalls(registered.gestionnaire, self.skills_of(registered), self.client)

    async def resolved(self, public_ids: Iterable[str]) -> Mapping[str, str]:
        """The managers' own ids behind the aliases among public ids; unknown ones are left out."""
        resolved = {one: await self.aliases.resolve(one) for one in {*public_ids} if is_alias(one)}
        return {alias: local for alias, local in resolved.items() if local is not None}

    async def remember(self, aliases: Mapping[str, str]) -> None:
        """Keep the aliases that an answer holds, before it leaves."""
        if aliases:
            # As they are now: a manager that was given up may still be read, `aside`, and add some that nobody shows.
            await self.aliases.remember(dict(aliases))
