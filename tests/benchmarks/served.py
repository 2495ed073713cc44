"""`cds-broker serve` as an operator starts it, over managers that are registered and known to be able."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.broker_worker import SECRET, register
from tests.benchmarks.processes import placed
from tests.support.cli_process import below, cli


@dataclass(frozen=True, slots=True)
class Served:
    """`pid`: of the process that was started; `workers`: of those that listen, which may be itself; `others`: what stands
    beside them."""

    pid: int
    port: int
    workers: Sequence[int]
    others: Sequence[int]


@asynccontextmanager
async def served(
    redis: str,
    directory: Path,
    prefix: str,
    bases: Sequence[str],
    *,
    workers: int,
    cores: Iterable[int] | None = None,
    **settings: str,
) -> AsyncIterator[Served]:
    """Until the context ends. `cores`: where it runs; None: anywhere. `settings`: more of them, without `CDS_` and in lower
    case.

    Requests are not logged: whoever drives it would have to read the lines, on the same machine.
    """
    await register(redis, prefix, list(bases))
    environment = {
        "CDS_AUTH": "none",
        "CDS_REDIS_URL": redis,
        "CDS_REDIS_PREFIX": prefix,
        "CDS_DATA_DIR": str(directory),
        "CDS_LOCATOR_SECRET": SECRET.decode(),
        "CDS_LOG_REQUESTS": "false",
        "CDS_LIMIT_RATE": "1000000",
        "CDS_LIMIT_ADDRESS_RATE": "1000000",
    } | {f"CDS_{name.upper()}": value for name, value in settings.items()}
    with placed(cores):
        starting = cli("serve", "--port", "0", "--workers", str(workers), environment=environment)
        running = await starting.__aenter__()
    try:
        line = await running.line("serving http", count=workers)
        address = line[line.index("http://") :].split()[0]
        port = int(urlsplit(address).port or 80)
        pids = [running.process.pid, *below(running.process.pid)]
        listening = _listening(port)
        serving = [pid for pid in pids if _sockets(pid) & listening]
        assert len(serving) == workers, (serving, pids)
        yield Served(running.process.pid, port, serving, [pid for pid in pids if pid not in serving])
    finally:
        await starting.__aexit__(None, None, None)


def _listening(port: int) -> set[str]:
    """The sockets that listen on this port, by their inodes (`/proc/net/tcp`; state 0A)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def _sockets(pid: int) -> set[str]:
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            kind, _, inode = str(one.readlink()).partition(":")
            if kind == "socket":
                found.add(inode.strip("[]"))
    return found
