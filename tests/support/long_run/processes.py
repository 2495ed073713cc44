"""What a process holds, from outside (Linux, /proc): memory, descriptors by what they are, threads, processor time."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cli_process import below

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_INODE = re.compile(r"socket:\[(\d+)\]")
_STATES = {
    "01": "established",
    "02": "syn-sent",
    "03": "syn-recv",
    "04": "fin-wait-1",
    "05": "fin-wait-2",
    "06": "time-wait",
    "07": "closed",
    "08": "close-wait",
    "09": "last-ack",
    "0A": "listening",
    "0B": "closing",
}


@dataclass(frozen=True)
class Held:
    """At one instant. Bytes; seconds of processor time so far. `descriptors`: by kind, as `manager established`."""

    rss: int
    uss: int
    cpu: float
    threads: int
    descriptors: Mapping[str, int] = field(default_factory=dict)

    @property
    def open(self) -> int:
        return sum(self.descriptors.values())


def descendants(pid: int) -> list[int]:
    """A process and all that come from it, however many and whatever they are called; the first first."""
    return [pid, *below(pid)]


def held(pid: int, roles: Mapping[int, str]) -> Held | None:
    """None where it has ended. `roles`: what a port of this machine is: `manager`, `kafka`, `client` for the own one."""
    try:
        proc = Path(f"/proc/{pid}")
        rss = int((proc / "statm").read_text().split()[1]) * _PAGE
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        return Held(rss, _uss(proc), cpu, int(fields[17]), dict(_descriptors(proc, roles)))
    except OSError:
        return None


def _uss(proc: Path) -> int:
    """What would be free if it ended: memory of its own, clean and dirty."""
    text = (proc / "smaps_rollup").read_text()
    return (
        sum(int(one) for one in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE)) * 1024
    )


def _descriptors(proc: Path, roles: Mapping[int, str]) -> Counter[str]:
    sockets: dict[str, str] | None = None
    counted: Counter[str] = Counter()
    for entry in (proc / "fd").iterdir():
        with suppress(FileNotFoundError):
            target = str(entry.readlink())
            inode = _INODE.fullmatch(target)
            if inode is None:
                counted[_kind(target)] += 1
                continue
            if sockets is None:
                sockets = dict(_sockets(proc, roles))
            counted[sockets.get(inode[1], "other socket")] += 1
    return counted


def _kind(target: str) -> str:
    if target.startswith("pipe:"):
        return "pipe"
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    return "device" if target.startswith("/dev/") else "file"


def _sockets(proc: Path, roles: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """By inode: whom it is with, and its state."""
    for table in ("net/tcp", "net/tcp6"):
        for line in (proc / table).read_text().splitlines()[1:]:
            words = line.split()
            local, remote = (int(one.rpartition(":")[2], 16) for one in words[1:3])
            role = roles.get(local) or roles.get(remote) or "other"
            yield words[9], f"{role} {_STATES[words[3]]}"
    for line in (proc / "net/unix").read_text().splitlines()[1:]:
        yield line.split()[6], "unix socket"


@dataclass(frozen=True)
class Usage:
    """Of the machine's processors, so far; seconds. `ours`: of this process and all that come from it."""

    at: float
    busy: float
    ours: float

    @classmethod
    def now(cls) -> Usage:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        idle = int(words[3]) + int(words[4])
        whole = sum(map(int, words[:8]))
        return cls(whole / _TICKS, (whole - idle) / _TICKS, sum(map(_spent, descendants(os.getpid()))))

    def others(self) -> float:
        """The part that others have used since then."""
        now = Usage.now()
        return max(0.0, (now.busy - self.busy) - (now.ours - self.ours)) / max(1e-9, now.at - self.at)


def _spent(pid: int) -> float:
    """With those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS
