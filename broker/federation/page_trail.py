"""Following a manager's `next` links, and noticing when they lead nowhere.

A `next` that leads in a circle, under the same address or a fresh one each time, or through empty pages without end,
would be followed until the deadline and again on every later page.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.core.bundle import ManagerBundle
from broker.core.manager_failure import failed
from broker.errors import FailureKind, ManagerError
from registry.model import Gestionnaire

MAX_EMPTY = 10
"""Empty pages in a row that are followed: some servers withhold what a caller may not see after they cut the pages."""


@dataclass(slots=True)
class PageTrail:
    """The pages of one manager that one answer is made from, in the order they are read."""

    manager: Gestionnaire
    _urls: set[str] = field(default_factory=set)
    _seen: set[tuple[str, str, str | None]] = field(default_factory=set)
    _empty: int = 0

    def follow(self, url: str) -> None:
        """Before a link is followed. Raises `ManagerError` of kind invalid where it was followed already."""
        if url in self._urls:
            raise self._circle()
        self._urls.add(url)

    def take(self, bundle: ManagerBundle) -> None:
        """After a page was read. Raises `ManagerError` of kind invalid where it leads on and brought nothing new."""
        if bundle.next_url is None:
            return
        keys = {(entry.type, entry.public_id, entry.version_id) for entry in bundle.entries}
        self._empty = 0 if keys else self._empty + 1
        if self._empty > MAX_EMPTY or (keys and keys <= self._seen):
            raise self._circle()
        self._seen |= keys

    def _circle(self) -> ManagerError:
        return failed(self.manager, FailureKind.INVALID, detail="next link leads nowhere")
