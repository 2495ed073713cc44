"""A writer of a trail in a process of its own, to be killed, hindered, or run as somebody else.

python -m tests.support.audit_writer DIRECTORY GROUPS [MAX_BYTES [USER]]      0 groups: until killed; USER: of root
alone

Says `ready STREAM`, then `written N` for each group that is there for good, or `failed KEY` and tries the next.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from adapters.audit.file_sink import FileSink, Lasting
from adapters.audit.segments import last_head
from adapters.audit.slot import take
from adapters.clock import SystemClock
from broker.audit.sink import Group
from broker.core.audit.chain import Chain
from broker.core.audit.event import EventWriter
from broker.errors import AuditError, BrokerError
from tests.support.audit_sinks import KEY, access


async def write(directory: Path, groups: int, max_bytes: int) -> None:
    slot = take(directory)
    chain = Chain(slot.stream, KEY, last_head(directory, slot.stream))
    sink = FileSink(directory, SystemClock(), max_bytes=max_bytes, lasting=Lasting.NEVER)
    writer = EventWriter("https://broker.example/fhir", slot.stream)
    print(f"ready {slot.stream}", flush=True)
    number = 0
    while not groups or number < groups:
        number += 1
        first = chain.head.seq + 1
        lines = chain.lines(*writer.events(access(f"r{number}", *(f"Patient/bre.{n}" for n in range(20)))))
        group = Group(slot.stream, first, lines, chain.head)
        while True:
            try:
                await sink.write(group)
                break
            except AuditError as error:
                print(f"failed {error.params['reason']}", flush=True)
                await asyncio.sleep(0.05)
        print(f"written {chain.head.seq}", flush=True)
    await sink.aclose()


if __name__ == "__main__":
    if len(sys.argv) > 4:
        os.setgroups([])
        os.setegid(int(sys.argv[4]))
        os.seteuid(int(sys.argv[4]))
    try:
        asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    except BrokerError as error:
        print(f"{type(error).__name__} {error.params.get('reason')}", flush=True)
        sys.exit(2)
