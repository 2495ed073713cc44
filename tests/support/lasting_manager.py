"""A manager in a box whose data outlive it: a process to be killed and started again. It deletes nothing.

Every version is in a file before the manager answers, one line each; the kernel keeps what a killed process has written.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import sys
from pathlib import Path

import orjson

from adapters.clock import SystemClock
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store, Version
from broker.ports import Clock
from tests.support.broker_process import Program
from tests.support.ports import lasting_port


class LastingStore(Store):
    """The file is read at the start, and added to from then on."""

    def __init__(self, clock: Clock, file: Path, options: SandboxOptions | None = None) -> None:
        super().__init__(clock, options)
        self._file = file.open("a+b", buffering=0)
        self._file.seek(0)
        for line in self._file.read().splitlines():
            super()._add(_read(line))

    def _add(self, version: Version) -> Version:
        self._file.write(_written(version) + b"\n")
        return super()._add(version)


def lasting_manager(file: Path) -> Program:
    """On a port that stays the same."""
    port = lasting_port()
    return Program(
        (str(file), str(port)),
        {},
        "Sandbox Gestionnaire",
        f"http://127.0.0.1:{port}/fhir",
        module="tests.support.lasting_manager",
    )


def _written(version: Version) -> bytes:
    told = {
        name: getattr(version, name) for name in ("type", "id", "number", "version_id", "instant", "method")
    }
    return orjson.dumps(told | {"raw": base64.b64encode(version.raw).decode()})


def _read(line: bytes) -> Version:
    told = orjson.loads(line)
    raw = base64.b64decode(told["raw"])
    instant = dt.datetime.fromisoformat(told["instant"])
    content = orjson.loads(raw) if raw else {}
    return Version(**told | {"raw": raw, "instant": instant, "content": content})


async def _serve(file: str, port: str) -> None:
    store = LastingStore(SystemClock(), Path(file))
    async with running_sandbox(store=store, port=int(port)) as box:
        print(f"Sandbox Gestionnaire {box.base_url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
