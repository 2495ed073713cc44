"""What the publisher asks of the homes of circles. A port; `broker.sync.fetch` is it over the federation."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from broker.core.change_event import Change
from broker.sync.event_records import Content
from registry.outbox_model import Waiting


class Absence(Enum):
    """Why there is no content to be told."""

    REPLICA = auto()  # a copy: its home tells of it
    MISSING = auto()  # not found: it may not show yet
    GONE = auto()  # deleted
    LEFT = auto()  # its home is no manager of the federation any more


class StaleError(Exception):
    """The home shows an older version than the change's: not everything of it has arrived where it reads from."""

    def __init__(self, content: Content) -> None:
        super().__init__("stale")
        self.content = content


class Homes(Protocol):
    def stated(self, waiting: Waiting) -> Change:
        """The change as its event says it, in public terms."""
        ...

    async def remember(self) -> None:
        """Keep the aliases that `stated` made, before they leave. Raises `StoreError`."""
        ...

    async def fetch(self, change: Change) -> Content | Absence:
        """The circle as it is now, which may be newer than the change, with all its actors.

        Raises `BrokerError` where its home does not give it now, `StaleError`, `StoreError`.
        """
        ...

    def managers(self) -> Sequence[str]:
        """Slugs of every manager."""
        ...
