"""How large things were and what they cost the store: what a sizing model asks for. Read at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.sync.change_log import Record
from tests.support.long_run.site import Site

_SHOWN = 12


async def sizes(site: Site) -> Mapping[str, Any]:
    """Bytes of an event, of a notification, of a trace; of the store: its memory, and what its commands took."""
    traces = _files(Path(site.environment["CDS_DATA_DIR"]) / "audit")
    return {
        "event_bytes": _mean(await site.records(site.topic)),
        "notice_bytes": _mean(await site.records(site.notifications)),
        "trace_bytes": sum(map(len, traces)) / len(traces) if traces else 0.0,
        "traces": len(traces),
        **_store(site),
    }


def _mean(records: Sequence[Record]) -> float:
    """Key, value and headers."""
    whole = [
        len(one.key or b"")
        + len(one.value or b"")
        + sum(len(name) + len(value) for name, value in one.headers)
        for one in records
    ]
    return sum(whole) / len(whole) if whole else 0.0


def _files(directory: Path) -> Sequence[bytes]:
    """The lines of all of them."""
    return [
        line for file in directory.rglob("*") if file.is_file() for line in file.read_bytes().splitlines()
    ]


def _store(site: Site) -> Mapping[str, Any]:
    with site.redis() as redis:
        commands, memory, cpu = redis.info("commandstats"), redis.info("memory"), redis.info("cpu")
    taken = sorted(commands.items(), key=lambda one: -one[1]["usec"])[:_SHOWN]
    return {
        "store_mb": round(memory["used_memory"] / 1e6, 1),
        "store_processor_s": round(cpu["used_cpu_user"] + cpu["used_cpu_sys"], 2),
        "store_commands": {
            name.removeprefix("cmdstat_"): {"calls": one["calls"], "us": one["usec_per_call"]}
            for name, one in taken
        },
    }
