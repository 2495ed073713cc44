"""What a process of a broker is given at its beginning."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from broker.settings import Settings


@dataclass(frozen=True, slots=True, repr=False)
class Start:
    """`redis_url` is that of the given or of the embedded server."""

    settings: Settings
    redis_url: str = field(repr=False)
    secret: bytes = field(repr=False)


HEARD: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM})
"""Signals that a process of several is started with blocked: they wait until it hears them."""


class Duty(StrEnum):
    SERVE = "worker"
    CHORES = "background"
