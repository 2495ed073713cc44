"""The connection to Redis or Valkey, and the one place where its errors become `StoreError`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from broker.errors import ConfigurationError, StoreError

RedisClient = Redis | RedisCluster

_CONNECTIONS = 64
_CLUSTER = "redis+cluster://"
_CLUSTER_TLS = "rediss+cluster://"


def connect(url: str, *, timeout: float = 2.0) -> RedisClient:
    """A client, not connected yet. `url`: `redis://`, `rediss://`, `unix://`, or `redis[s]+cluster://`.

    `timeout` bounds connecting and each exchange, in seconds. Raises `ConfigurationError` for an unusable
    URL, without repeating it: it may hold a password.
    """
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    try:
        if url.startswith((_CLUSTER, _CLUSTER_TLS)):
            return RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
        # Who comes when all connections are taken waits for one, where the default pool refuses.
        pool = BlockingConnectionPool.from_url(
            url, health_check_interval=15, max_connections=_CONNECTIONS, timeout=timeout, **options
        )
        return Redis.from_pool(pool)
    except ValueError:
        raise ConfigurationError(
            "config.file", setting="CDS_REDIS_URL", reason="redis://, rediss://, unix://, redis+cluster://"
        ) from None


@contextmanager
def store_errors() -> Iterator[None]:
    """Everything the store can do wrong, as one error: no answer, a refusal, a document that is none of ours.

    An unreadable document fails the whole read rather than being left out: a manager that silently is not
    there would silently not be asked.

    A cancellation that arrives as redis-py finishes sending is lost in `asyncio.wait_for` (Python 3.11), and whoever
    listens or polls would never end. It is raised here.
    """
    try:
        yield
    except (RedisError, OSError, msgspec.MsgspecError) as error:
        raise StoreError("federation.store") from error
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
