"""Which part of a write costs how much: CPU time of the worker, charged to the innermost part that is under way.

For one client at a time, so that there is never more than one write. What lies outside of all parts (the HTTP server, the
index's feed) is charged to `server`; what lies in a write and in no part to `rest`. Each part costs two readings of the
process's clock: the sum is a little over what the worker needs without them. Exchanges with Redis are counted by part too.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio.connection import AbstractConnection

from broker.federation.manager_calls import ManagerCalls
from broker.federation.writing import create, update
from broker.federation.writing.claims import Claims
from broker.federation.writing.desk import Desk
from broker.federation.writing.sending import Sending
from broker.federation.writing.uniqueness import Uniqueness
from broker.federation.writing.update import UpdateService
from broker.gateway import write_routes
from broker.gateway.write_routes import WriteRoutes

_PLACES: tuple[tuple[Any, str, str], ...] = (
    (WriteRoutes, "_written", "rest"),
    (write_routes, "read_resource_body", "validation"),
    (write_routes, "check_resource", "validation"),
    (Desk, "subject", "pre-read"),
    (UpdateService, "_before", "pre-read"),
    (Claims, "take", "claim"),
    (Uniqueness, "_check", "look-up"),
    (Desk, "prepared", "references"),
    (create, "localised", "references"),
    (update, "localised", "references"),
    (create, "content_digest", "intent"),
    (update, "content_digest", "intent"),
    (Sending, "send", "intent"),
    (ManagerCalls, "send", "upstream"),
    (Desk, "written_entry", "answer"),
    (Desk, "learnt", "index"),
    (Sending, "finish", "finish"),
    (create, "written", "rendering"),
    (update, "written", "rendering"),
    (WriteRoutes, "_answered", "rendering"),
)
"""Where a part begins and ends. What a pre-read or the look-up asks of managers is theirs."""

_WHOLE = frozenset({"pre-read", "look-up"})


class Parts:
    """`start` puts the clocks in place; `told` gives milliseconds of CPU and exchanges with Redis by part since then, and
    how many writes there were."""

    def __init__(self) -> None:
        self._exchanges: dict[str, int] = {}
        self._under_way: list[str] = ["server"]
        self._seconds: dict[str, float] = {}
        self._since = 0.0
        self._writes = 0

    def start(self, _: str) -> None:
        for owner, name, part in _PLACES:
            setattr(owner, name, self._clocked(getattr(owner, name), part))
        self._count_exchanges()
        self._since = time.process_time()

    def told(self, _: str) -> dict[str, Any]:
        self._charge()
        found = {
            "writes": self._writes,
            "milliseconds": {part: seconds * 1e3 for part, seconds in self._seconds.items()},
            "exchanges": self._exchanges,
        }
        self._seconds, self._exchanges, self._writes = {}, {}, 0
        return found

    def _count_exchanges(self) -> None:
        inner = AbstractConnection.send_packed_command

        async def counted(connection: Any, *args: Any, **named: Any) -> Any:
            part = self._under_way[-1]
            self._exchanges[part] = self._exchanges.get(part, 0) + 1
            return await inner(connection, *args, **named)

        AbstractConnection.send_packed_command = counted  # type: ignore[method-assign,assignment]  # only here

    def _charge(self) -> None:
        now = time.process_time()
        part = self._under_way[-1]
        self._seconds[part] = self._seconds.get(part, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def _within(self, part: str) -> Iterator[None]:
        self._charge()
        outer = self._under_way[-1]
        mine = outer if outer in _WHOLE else part
        self._under_way.append(mine)
        try:
            yield
        finally:
            self._charge()
            # Two pre-reads may run at once, and end in any order.
            self._under_way.reverse()
            self._under_way.remove(mine)
            self._under_way.reverse()
            self._writes += part == "rest"

    def _clocked(self, inner: Callable[..., Any], part: str) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(inner):

            @functools.wraps(inner)
            async def awaited(*args: Any, **named: Any) -> Any:
                with self._within(part):
                    return await inner(*args, **named)

            return awaited

        @functools.wraps(inner)
        def called(*args: Any, **named: Any) -> Any:
            with self._within(part):
                return inner(*args, **named)

        return called
