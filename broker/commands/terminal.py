"""What the commands share: running a coroutine, the language of the terminal, and errors without tracebacks."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import typer

from broker.commands.api_error import ApiError, language
from broker.core.messages import MESSAGES, text
from broker.errors import BrokerError, ConfigurationError

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

FAILED = 1
WRONG_USE = 2


def said(fr: str, en: str) -> str:
    """The text in the language of the terminal."""
    return fr if language() == "fr" else en


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where there is one for this platform, else on asyncio's own loop."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def progress() -> Progress:
    """Bars for long work, on standard error, and only where that is a terminal: elsewhere nothing is written."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def as_json_line(document: object) -> None:
    """One line on standard output, at once: whoever started this waits for it."""
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    sys.stdout.flush()


def explained(error: BrokerError | ApiError) -> str:
    """One sentence for the person at the terminal."""
    if isinstance(error, ApiError):
        return error.told()
    key = error.key if error.key in MESSAGES else "internal"
    return text(key, language(), **error.params)


def exit_code(error: BrokerError | ApiError) -> int:
    """2 where the operator has to change something, 1 where something did not work."""
    return WRONG_USE if isinstance(error, ConfigurationError) else FAILED


def complain(sentence: str) -> None:
    typer.echo(f"cds-broker: {sentence}", err=True)


def cannot_listen(host: str, port: int, error: OSError) -> ConfigurationError:
    """What to say of an address that cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError("config.port-taken", host=host, port=port)
    return ConfigurationError(
        "config.listen", host=host, port=port, reason=error.strerror or str(error.errno)
    )
