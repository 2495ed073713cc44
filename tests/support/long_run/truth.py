"""Whether everybody was told of what the broker acknowledged, where the store was away now and then.

A version is not told any more where a later one was told first: nobody has missed anything then. It may come to that where
two change a circle at the same time, and where a write ends while the store cannot be reached, so that it is settled
afterwards (the log says so). No other may be missing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.support.long_run.people import People
from tests.support.long_run.site import Site
from tests.support.sync_held import held_at
from tests.support.sync_told import Told

SETTLED = "an unfinished write was settled: written"


async def untold(site: Site, people: People) -> tuple[list[str], int]:
    """What was acknowledged and never told, nor a later version; and how many were overtaken that were changed alone."""
    topics = {topic: Told.of(await site.records(topic)) for topic in (site.topic, site.notifications)}
    gone = {circle for slug in site.homes async for circle in _gone(site, slug)}
    missing, overtaken = [], set()
    for circle, version in sorted(people.accepted):
        for topic, told in topics.items():
            if told.has(circle, version):
                continue
            if told.overtook(circle, version):
                overtaken.add((circle, version))
            elif circle not in gone:
                missing.append(f"{circle} version {version} is not in {topic}, nor a later one")
    settled = sum(SETTLED in line for line in site.broker.stderr)
    late = {one for one in overtaken - people.contended if one[0] not in gone}
    if len(late) > settled:
        missing.append(
            f"{len(late)} versions changed alone were overtaken, and {settled} writes settled: {sorted(late)[:3]}"
        )
    return missing, len(late)


async def _gone(site: Site, slug: str) -> AsyncIterator[str]:
    """Circles that are deleted at their home by now."""
    for name, versions in (await held_at(site, slug)).versions.items():
        if name.startswith("CareTeam/") and versions[-1] is None:
            yield f"{slug}.{name.partition('/')[2]}"
