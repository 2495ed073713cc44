"""The one place where what aiokafka raises becomes ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from broker.errors import StoreError


@contextmanager
def log_errors(topic: str = "?") -> Iterator[None]:
    """No answer, a refusal, a bound passed: `StoreError`, of key `federation.log-topic` for a topic that is not there.

    A cancellation that arrives just as an awaited answer does is lost in `asyncio.wait_for` (Python 3.11), and whoever
    polls would never end. It is raised here.
    """
    try:
        yield
    except UnknownTopicOrPartitionError as error:
        raise StoreError("federation.log-topic", topic=topic) from error
    except (KafkaError, OSError) as error:  # a timeout is an OSError
        raise StoreError("federation.log") from error
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
