"""Names of the keys. A topic's share one hash tag, as scripts and blocking reads on a Redis Cluster ask for."""

from __future__ import annotations

import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogKeys:
    """Every key starts with `prefix`, so that several federations can share a server."""

    prefix: str = "cds"

    @property
    def topics(self) -> str:
        """Set: names of the topics."""
        return f"{self.prefix}:log:topics"

    def settings(self, topic: str) -> str:
        """String: `broker.sync.change_log.Topic`, JSON. There is no topic without."""
        return f"{self._of(topic)}:settings"

    def ends(self, topic: str) -> str:
        """Hash: partition → the last entry that was ever added."""
        return f"{self._of(topic)}:ends"

    def stream(self, topic: str, partition: int) -> str:
        """Stream: fields k (key), v (value; a tombstone has none), h:NAME (headers)."""
        return f"{self._of(topic)}:{partition}"

    def latest(self, topic: str, partition: int) -> str:
        """Hash, of a compacted topic: key → its last entry."""
        return f"{self._of(topic)}:latest:{partition}"

    def tombstones(self, topic: str, partition: int) -> str:
        """Sorted set, of a compacted topic: deleted keys by the instant, in milliseconds."""
        return f"{self._of(topic)}:tombstones:{partition}"

    def groups(self, topic: str) -> str:
        """Set: names of the groups that ever read the topic."""
        return f"{self._of(topic)}:groups"

    def members(self, topic: str, group: str) -> str:
        """Sorted set: members by the instant, in milliseconds, up to which they count as alive."""
        return f"{self._of(topic)}:members:{group}"

    def owners(self, topic: str, group: str) -> str:
        """Hash: partition → `{number}|{member}`; the number grows with each new owner."""
        return f"{self._of(topic)}:owners:{group}"

    def _of(self, topic: str) -> str:
        return f"{self.prefix}:{{log:{topic}}}"


def partition_of(key: bytes, partitions: int) -> int:
    """The same for a key on every node, for good."""
    return zlib.crc32(key) % partitions
