"""A change as the scripts take it: where its circle is kept, and what tells whether it is new. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from broker.core.change_event import Operation
from broker.core.fhir_dates import date_range
from registry.outbox_model import CircleChange, Waiting, version_number
from registry.redis_keys import RedisKeys

BUCKETS = 4096
"""Hashes of one manager. Each stays packed up to some hundred circles (`hash-max-listpack-entries`)."""

_MOST_MILLISECONDS = 1 << 47


def change_arguments(
    changes: Iterable[CircleChange], keys: RedisKeys
) -> tuple[list[str], list[str | bytes | int]]:
    """The buckets of some changes, each once, and the arguments of the changes."""
    buckets: dict[str, int] = {}
    made: list[str | bytes | int] = []
    for change in changes:
        key, field = _place_of(change.manager, change.circle_id, keys)
        made += (
            buckets.setdefault(key, len(buckets) + 1),
            field,
            change.manager,
            change.circle_id,
            change.version or "",
            change.at or "",
            change.operation.value,
            milliseconds(change.at),
            version_number(change.version),
            change.trace or "",
        )
    return list(buckets), made


def circle_arguments(
    manager: str, circle_ids: Iterable[str], keys: RedisKeys
) -> tuple[list[str], list[str | bytes | int]]:
    """The buckets of some circles, each once, and where each circle is."""
    buckets: dict[str, int] = {}
    made: list[str | bytes | int] = []
    for circle_id in circle_ids:
        key, field = _place_of(manager, circle_id, keys)
        made += (buckets.setdefault(key, len(buckets) + 1), field)
    return list(buckets), made


def _place_of(manager: str, circle_id: str, keys: RedisKeys) -> tuple[str, bytes]:
    digest = hashlib.blake2b(circle_id.encode(), digest_size=12).digest()
    return keys.outbox_circles(manager, int.from_bytes(digest[10:]) % BUCKETS), digest[:10]


def milliseconds(at: str | None) -> int:
    """Since the epoch; 0 for what is no instant, or none that a circle could have been changed at."""
    found = None if at is None else date_range(at)
    instant = 0 if found is None else int(found.low // 1000)
    return instant if 0 < instant < _MOST_MILLISECONDS else 0


def waiting(now: int, entries: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Waiting]:
    """Entries of the stream. `now`: the instant, in milliseconds, at which they were read."""
    return [_waiting(now, place.decode(), fields) for place, fields in entries]


def _waiting(now: int, place: str, fields: Sequence[bytes]) -> Waiting:
    said = {name.decode(): value.decode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
    change = CircleChange(
        said["m"],
        said["i"],
        said["v"] or None,
        said["t"] or None,
        Operation(said["o"]),
        said.get("c"),  # not of those that were put there before traces were
    )
    age = max(0, now - int(place.partition("-")[0])) / 1000
    return Waiting(change, int(said["s"]), place, age)
