"""Where the life of one of several processes begins. It loads what it needs only there: whoever starts it need not."""

from __future__ import annotations

import socket
import sys

from broker.commands.log_lines import log_to_stderr
from broker.commands.start import Duty, Start
from broker.commands.terminal import complain, exit_code, explained, run
from broker.errors import BrokerError


def begin(duty: Duty, start: Start, beside: socket.socket) -> None:
    """The whole life of one of several processes. Exits 0, 1 or 2 as the command line does."""
    from broker.commands.worker import work, work_in_background

    log_to_stderr(start.settings.log_level, start.settings.log_format)
    try:
        run(work(start, beside) if duty is Duty.SERVE else work_in_background(start, beside))
    except BrokerError as error:
        complain(explained(error))
        sys.exit(exit_code(error))
