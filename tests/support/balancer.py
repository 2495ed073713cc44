"""A real HAProxy over brokers on this machine, with `deploy/haproxy.cfg` as it is but for its addresses and TLS."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.ports import lasting_port

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"


def haproxy_or_skip() -> str:
    """Where the program is: Debian keeps it out of an ordinary user's path."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("haproxy is not installed")
    return found


def configured(port: int, brokers: Sequence[int], tls: tuple[Path, Path] | None = None) -> str:
    """The configuration for these ports of this machine. `tls`: the server's certificate, and who vouches for clients."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    bound = f"bind 127.0.0.1:{port}"
    if tls is not None:
        bound += rf" ssl crt {tls[0]} ca-file {tls[1]}\1"
    text, count = re.subn(r"bind :443 ssl crt \S+ ca-file \S+(.*)", bound, text)
    assert count == 1
    for number, address in enumerate(brokers, start=1):
        text, count = re.subn(rf"(server broker-{number}) \S+", rf"\1 127.0.0.1:{address}", text)
        assert count == 1
    return text


@asynccontextmanager
async def balancing(
    directory: Path, brokers: Sequence[int], *, tls: tuple[Path, Path] | None = None
) -> AsyncIterator[str]:
    """Base address, as `http://127.0.0.1:PORT/fhir`, of a proxy over the brokers at these ports, which listens."""
    port = lasting_port()
    file = directory / "haproxy.cfg"
    file.write_text(configured(port, brokers, tls), encoding="utf-8")
    with (directory / "haproxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            haproxy_or_skip(), "-db", "-f", str(file), stdout=log, stderr=log
        )
        try:
            await _listens(port, process)
            yield f"http{'' if tls is None else 's'}://127.0.0.1:{port}/fhir"
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, "haproxy ended"
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)
