"""How far the sending of the present state to a newcomer is. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class BootstrapState(StrEnum):
    WAITING = "waiting"  # its manager is not followed yet, cannot be asked, or others come first
    RUNNING = "running"
    DONE = "done"


class BootstrapProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """One subscription and one manager, whose circles are sent to it.

    `mark`: of what it is the progress; with another one it begins anew. `place`: the instant, as the manager wrote it, up to
    which its circles were read; None where they are not read in that order. `read`, `sent`: circles. `failed`: those that
    the manager would not give, each for itself. `total`: how many there were, where the manager says. `problem`: a key of
    `MESSAGES`, why nothing moves on. `started`, `finished`: seconds since 1970.
    """

    mark: str
    state: BootstrapState = BootstrapState.WAITING
    place: str | None = None
    read: int = 0
    sent: int = 0
    failed: int = 0
    total: int | None = None
    problem: str | None = None
    started: float | None = None
    finished: float | None = None
