"""What a process of a broker is given, and where its life begins. It loads what it needs only there: whoever starts it need
not."""

from __future__ import annotations

import signal
import socket
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from broker.commands.log_lines import log_to_stderr
from broker.commands.terminal import complain, exit_code, explained, run
from broker.errors import BrokerError
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


def begin(duty: Duty, start: Start, beside: socket.socket) -> None:
    """The whole life of one of several processes. Exits 0, 1 or 2 as the command line does."""
    from broker.commands.worker import work, work_in_background

    log_to_stderr(start.settings.log_level, start.settings.log_format)
    try:
        run(work(start, beside) if duty is Duty.SERVE else work_in_background(start, beside))
    except BrokerError as error:
        complain(explained(error))
        sys.exit(exit_code(error))
