"""The figures that feeding the index is run with; the settings fill them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Seconds, but for `page`: the circles asked for at a time.

    `poll`: between two looks at a manager's feed. `overlap`: how far back each look goes behind the last change seen.
    `recrawl`: after which a manager that does not show all its changes is crawled anew. `lease`: how long a leader that
    fell silent stays one. `look`: between two looks at the registry. `timeout`: for one exchange with a manager, which
    its own limit shortens.
    """

    poll: float = 2.0
    overlap: float = 10.0
    recrawl: float = 21_600.0
    page: int = 200
    lease: float = 10.0
    look: float = 1.0
    timeout: float = 30.0
