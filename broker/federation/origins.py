"""The identity of each registered manager, computed once and kept while its declaration stays (federation, section 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker.core.identity import Origin
from broker.ports import Managers
from registry.model import Gestionnaire, Registered


@dataclass(slots=True)
class Origins:
    """`Origin` records by manager. Plain memory: every worker has its own."""

    public_base: str
    managers: Managers
    _made: dict[str, tuple[Gestionnaire, Origin]] = field(default_factory=dict)
    _seen: Sequence[Registered] = ()
    _all: tuple[Origin, ...] = ()
    _bases: Mapping[str, str] = field(default_factory=dict)

    def of(self, manager: Gestionnaire) -> Origin:
        known = self._made.get(manager.id)
        if known is not None and known[0] is manager:
            return known[1]
        origin = Origin(
            slug=manager.id,
            base_url=manager.base_url,
            public_base=self.public_base,
            region=manager.region,
            name=manager.name,
        )
        self._made[manager.id] = (manager, origin)
        return origin

    def all(self) -> Sequence[Origin]:
        """Every registered manager, suspended ones included."""
        self._follow()
        return self._all

    def bases(self) -> Mapping[str, str]:
        """Every registered base address, suspended ones included, to its manager's slug."""
        self._follow()
        return self._bases

    def _follow(self) -> None:
        managers = self.managers.all()
        if managers is not self._seen:
            self._seen = managers
            self._all = tuple(self.of(one.gestionnaire) for one in managers)
            self._bases = {origin.base_url: origin.slug for origin in self._all}
