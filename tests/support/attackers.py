"""Those who mean a broker harm, as processes of their own: what they cost is not on the account of who measures.

python -m tests.support.attackers '{"kind": "slow", "port": 8080, "seconds": 3, "token": "…"}'

A client attacks for so many seconds and prints what became of it, as JSON. A manager (`"kind": "huge"`) prints its address
and answers until its standard input ends.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

ADDRESS = "127.0.0.2"
"""Where they come from: loopback too, and another address than everybody else's."""

SLOW = 200
FLOODING = 20
_FORM = "application/x-www-form-urlencoded"


async def _slow(port: int, seconds: float, token: str) -> dict[str, int]:
    """Connections that send a head, or the body of a search, a byte at a time. What became of each of them."""
    outcomes: Counter[str] = Counter()
    end = asyncio.get_running_loop().time() + seconds

    async def one(number: int) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ADDRESS, 0))
        except OSError:
            outcomes["not connected"] += 1
            return
        if number % 2:
            begun = "GET /fhir/CareTeam HTTP/1.1\r\nHost: x\r\nX-Slow: "
        else:
            begun = (
                f"POST /fhir/CareTeam/_search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: {_FORM}\r\nContent-Length: 100000\r\n\r\nstatus="
            )
        answer = asyncio.create_task(reader.readline())
        with suppress(OSError):
            writer.write(begun.encode())
            while not answer.done() and asyncio.get_running_loop().time() < end:
                writer.write(b"a")
                await asyncio.wait((answer,), timeout=0.2)
        outcomes[_told(answer)] += 1
        answer.cancel()
        writer.transport.abort()

    await asyncio.gather(*(one(number) for number in range(SLOW)))
    return dict(outcomes)


def _told(answer: asyncio.Task[bytes]) -> str:
    if not answer.done():
        return "open"
    if answer.exception() is not None:
        return "cut"
    parts = answer.result().split()
    return parts[1].decode() if len(parts) > 1 else "closed"


async def _flood(port: int, seconds: float, token: str) -> dict[str, int]:
    """Connections that ask again as soon as they are answered. How often they were told what."""
    outcomes: Counter[str] = Counter()
    asked = (
        f"GET /fhir/CareTeam?_count=5 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    end = asyncio.get_running_loop().time() + seconds

    async def one() -> None:
        while asyncio.get_running_loop().time() < end:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ADDRESS, 0))
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout_at(end):
                    while True:
                        writer.write(asked)
                        head = await reader.readuntil(b"\r\n\r\n")
                        outcomes[head.split()[1].decode()] += 1
                        await reader.readexactly(
                            int(head.lower().partition(b"content-length:")[2].split()[0])
                        )
            writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(FLOODING)))
    return dict(outcomes)


async def _huge(_: Any) -> None:
    """A manager whose answers are too large in turn: as they come, unfolded, and large but taken."""
    mib = 1 << 20
    padding = b'{"resourceType":"Bundle","type":"searchset","x":"%b"}'
    plain, bomb = padding % (b"x" * (64 * mib)), gzip.compress(padding % (b"0" * (256 * mib)), 9)
    whole = padding % (b"x" * mib)
    turns = [(plain, ""), (bomb, "Content-Encoding: gzip\r\n"), (whole, "")]
    told = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal told
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split()
                await reader.readexactly(int(length[0]) if length else 0)
                body, coding = turns[told % len(turns)]
                told += 1
                answer = f"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n{coding}"
                writer.write(f"{answer}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(json.dumps({"base_url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/fhir"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _main(argument: dict[str, Any]) -> None:
    if argument["kind"] == "huge":
        await _huge(argument)
        return
    attack = {"slow": _slow, "flood": _flood}[argument["kind"]]
    print(json.dumps(await attack(argument["port"], argument["seconds"], argument["token"])), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
