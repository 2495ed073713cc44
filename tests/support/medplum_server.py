"""A FHIR server that is not ours: Medplum's in-memory repository and router, on Node.js.

    async with medplum_or_skip() as server:
        await server.load([patient, circle])     # resources with ids: `PUT {type}/{id}` creates them there
        ... f"{server.base_url}/CareTeam?status=active"

What it can and cannot do is written down as tests in `tests/integration/test_medplum_server.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

_HOME = Path(__file__).parent / "medplum"
_STAMP = _HOME / "node_modules" / ".installed"
_INSTALL_SECONDS = 240.0
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


class MedplumUnavailable(RuntimeError):  # noqa: N818 - a state of the machine, not an error of the tests
    """Node.js or the packages are not to be had here; the message says which and why."""


@dataclass(frozen=True, slots=True)
class MedplumServer:
    base_url: str  # http://127.0.0.1:PORT/fhir, without a slash at the end
    pid: int

    async def load(self, resources: Iterable[Mapping[str, Any]]) -> None:
        """Put every resource (with `resourceType` and `id`) at its id, in order. Raises AssertionError."""
        async with aiohttp.ClientSession() as session:
            for resource in resources:
                url = f"{self.base_url}/{resource['resourceType']}/{resource['id']}"
                async with session.put(url, json=resource) as response:
                    assert response.status == 200, (response.status, await response.text())


@contextlib.asynccontextmanager
async def running_medplum() -> AsyncIterator[MedplumServer]:
    """An empty server on a free port of 127.0.0.1; the first use installs its packages (2 to 60 s).

    Raises `MedplumUnavailable` where it cannot be installed, RuntimeError where installed it does not start.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise MedplumUnavailable("Node.js and npm are not installed")
    await _install(npm)
    process = await asyncio.create_subprocess_exec(
        node,
        "server.mjs",
        "0",
        cwd=_HOME,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield MedplumServer(base_url=await _base_url(process), pid=process.pid)
    finally:
        await _stop(process)


@contextlib.asynccontextmanager
async def medplum_or_skip() -> AsyncIterator[MedplumServer]:
    """`running_medplum`, or a skip that says why; under `CI=true`, where nothing is skipped, a failure."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(running_medplum())
        except MedplumUnavailable as error:
            reason = f"Medplum (Node.js): {error}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        yield server


async def _install(npm: str) -> None:
    """`npm install`, once for all processes: a stamp names the package.json that was installed to its end."""
    wanted = hashlib.sha256((_HOME / "package.json").read_bytes()).hexdigest()
    _STAMP.parent.mkdir(exist_ok=True)
    with (_STAMP.parent / ".installing").open("w") as lock:
        await _locked(lock.fileno())
        if _STAMP.exists() and _STAMP.read_text() == wanted:
            return
        process = await asyncio.create_subprocess_exec(
            npm,
            "install",
            "--no-audit",
            "--no-fund",
            cwd=_HOME,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_INSTALL_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError as error:
            await _stop(process)
            raise MedplumUnavailable(f"npm install took over {_INSTALL_SECONDS:.0f} s") from error
        if process.returncode != 0:
            raise MedplumUnavailable(f"npm install failed: {output.decode(errors='replace')[-400:].strip()}")
        _STAMP.write_text(wanted)


async def _locked(descriptor: int) -> None:
    """Hold the file lock, waiting for another process's installation no longer than our own would take."""
    try:
        async with asyncio.timeout(_INSTALL_SECONDS):
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(0.2)
                else:
                    return
    except TimeoutError as error:
        raise MedplumUnavailable("another process is still installing the packages") from error


async def _base_url(process: asyncio.subprocess.Process) -> str:
    """The address that the server prints once it listens. Not starting is a defect, no reason to skip."""
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise RuntimeError(f"Medplum did not start within {_START_SECONDS:.0f} s") from error
    if not line:
        complaint = (await process.stderr.read()).decode(errors="replace")
        raise RuntimeError(f"Medplum stopped at once: {complaint[-400:].strip()}")
    address = json.loads(line)["base_url"]
    assert isinstance(address, str)
    return address


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
