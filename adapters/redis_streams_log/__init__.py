"""The change log on Redis Streams, for deployments without Kafka: Redis 7 or Valkey, one server or a cluster.

A partition is a stream. Entries are named `{milliseconds}-{number}`: when the server took it, and its number in the
partition, without gaps, from which lag is counted.

Consumer groups of Redis hand the entries of one stream to all members at once, so the changes of one circle would be
applied by several in any order. Here each partition therefore has one owner at a time: members announce themselves every
few seconds, and whoever is alive takes its share of the partitions. Everything an owner does is checked against its
ownership in the same script, so that a member that was thought dead can neither take nor acknowledge anything. A new
owner first claims what is pending at others (XAUTOCLAIM), in order, then goes on. What an owner had fetched but never saw,
since the answer was lost, is still pending with it and is fetched again.

Compaction is done on writing: a topic's partition has a hash from key to its last entry, and the entry before is deleted
(XDEL). A tombstone stays for the retention of the topic, then goes with its place in the hash. A reader who is behind
sees the last record of each key, in order. Redis frees the memory of deleted entries by blocks of 4 kB, once all of a
block are deleted: a compacted topic takes up to that much for each of its keys.

How durable a record is once published is the server's own setting: `appendonly yes` with `appendfsync everysec`, as the
embedded store has it, survives the death of the process at any instant and may lose the last second when the machine dies.
"""

from adapters.redis_streams_log.keys import LogKeys
from adapters.redis_streams_log.log import RedisStreamsLog

__all__ = ["LogKeys", "RedisStreamsLog"]
