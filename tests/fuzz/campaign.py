"""What a fuzzing campaign is run with: a time, a seed, what is watched meanwhile, and what is kept of a failure.

`make test` gives each campaign a few seconds, `make fuzz` many (`FUZZ_SECONDS`). The seed is said; `FUZZ_SEED` repeats it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

QUICK = 5.0
"""Seconds of a campaign in `make test`."""

BATCH = 10
"""Examples between two looks at the time."""

KEPT = Path(os.environ.get("FUZZ_KEPT", "fuzz-failures"))
_MEMORY = 200 << 10  # KiB by which the process may grow


def seconds() -> float:
    return float(os.environ.get("FUZZ_SECONDS", QUICK))


class Watched(logging.Handler):
    """Log lines that no request and no answer may bring about: errors, and whatever has a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.bad: list[str] = []
        self._format = logging.Formatter().format

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.bad.append(self._format(record))


@contextmanager
def watched() -> Iterator[Watched]:
    handler = Watched()
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


def campaign(
    name: str,
    strategy: st.SearchStrategy[Any],
    throw: Callable[[Any], None],
    between: Callable[[], None],
) -> None:
    """Throw examples until the time is over. `throw` raises where one is a finding; `between`: after each batch."""
    started = int(os.environ.get("FUZZ_SEED", secrets.randbelow(1 << 32)))
    end = time.monotonic() + seconds()
    number, thrown, base = 0, 0, 0

    def one(example: Any) -> None:
        nonlocal thrown
        thrown += 1
        try:
            throw(example)
        except BaseException:
            _keep(name, started + number, example)
            raise

    while True:
        batch = settings(
            max_examples=BATCH,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )(seed(started + number)(given(strategy)(one)))
        try:
            batch()
        except BaseException:
            print(f"\nfuzz {name}: FUZZ_SEED={started + number}, kept under {KEPT}")
            raise
        between()
        number += 1
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        base = base or grown  # after the first batch: modules are loaded, pools filled
        assert grown - base < _MEMORY, f"{(grown - base) >> 10} MiB more after {thrown} examples"
        if time.monotonic() >= end:
            break
    print(f"\nfuzz {name}: FUZZ_SEED={started}, {thrown} examples in {seconds():g} s, no finding")


def _keep(name: str, which: int, example: Any) -> None:
    """The last one that is kept is the smallest: Hypothesis comes to it last."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}-{which}.txt").write_text(
        f"FUZZ_SEED={which}\n{example!r}\n", encoding="utf-8", errors="backslashreplace"
    )


def is_failed_transaction(status: int, body: bytes) -> bool:
    """The one 500 that is meant: the guide has failed transactions answered so."""
    return status == 500 and b'"transaction.failed"' in body


async def bounded(work: Any, what: str, limit: float = 15.0) -> Any:
    """Of `work`, or a finding: it hangs."""
    try:
        async with asyncio.timeout(limit):
            return await work
    except TimeoutError:
        raise AssertionError(f"no end within {limit} s: {what}") from None
