"""When everything has come to rest: nothing is stuck, and the replicas equal their homes. Asked of the servers themselves.

    await at_rest(site)
    found = await verified(site, traffic.accepted)  # `sync_told`: told of at least once, applied once

Contents are compared but for ids and marks: a reference counts as what it leads to.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

from broker.errors import StoreError
from broker.sync.agent import backlog
from tests.support.sync_held import IN_ERROR, doubles, held_at
from tests.support.sync_servers import SUBSCRIBER, Servers
from tests.support.sync_told import untold
from tests.support.write_world import PUBLIC, Json


async def at_rest(site: Servers, *, seconds: float = 45.0) -> None:
    """Wait until nothing is left to be done; fail with what is, where it does not become so."""
    end = time.monotonic() + seconds
    while left := await outstanding(site):
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds:.0f} s: " + "; ".join(left[:20]))
        await asyncio.sleep(0.2)


async def outstanding(site: Servers) -> list[str]:
    """What is not done yet, each in a few words. Managers are asked only once nothing waits."""
    left = await asyncio.to_thread(_waiting, site)
    try:
        lag = await backlog(site.log, SUBSCRIBER, site.prefix)
    except StoreError as error:
        return [*left, f"Kafka does not tell how far the agent is: {error.__cause__}"]
    if lag is None or lag.events:
        left.append(f"before the agent: {lag}")
    return left or await differences(site) or await untold(site)


def _waiting(site: Servers) -> list[str]:
    keys = site.keys
    with site.redis() as redis:
        found = {
            "changes in the outbox": redis.xlen(keys.outbox),
            "unfinished writes": redis.hlen(keys.write_intents),
            "unfinished writes, as they are sealed": redis.hlen(keys.write_blobs),
            "unfinished writes that are due": redis.zcard(keys.write_due),
            "claims that no write gave back": sum(
                redis.hget(name, "i") is not None for name in redis.scan_iter(keys.write_name(b"") + "*")
            ),
        }
        return [f"{count} {what}" for what, count in found.items() if count]


async def differences(site: Servers) -> list[str]:
    """In what the subscriber's replicas are not as their homes have them."""
    there = await held_at(site, SUBSCRIBER)
    replicas: dict[str, list[Json]] = defaultdict(list)
    for one in there.live("CareTeam"):
        if one["status"] != IN_ERROR:
            replicas[one["meta"].get("source", "")].append(one)
    found = []
    for slug in site.homes:
        home = await held_at(site, slug)
        for circle in home.live("CareTeam"):
            source = f"{PUBLIC}/CareTeam/{slug}.{circle['id']}"
            copies = replicas.pop(source, [])
            if len(copies) != 1:
                found.append(f"{len(copies)} replicas of {source}")
            elif (ours := home.plain(circle)) != (theirs := there.plain(copies[0])):
                which = [name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)]
                shown = [f"{name} is {theirs.get(name)}, not {ours.get(name)}" for name in which]
                found.append(f"the replica of {source}: {'; '.join(shown)}"[:400])
    return found + [f"a replica of {source}, which is gone" for source in replicas] + doubles(there)
