"""The conversation of one check with one manager: bounded, a few requests at a time, watching for loops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from broker.core.manager_failure import failed, kind_of_status
from broker.core.statement import pseudonym
from broker.errors import FailureKind, ManagerError
from broker.federation.probe_pages import Page, read_page
from broker.ports import Clock, ManagerAnswer, ManagerClient, ManagerRequest
from registry.model import Gestionnaire

MAX_REQUESTS: Final = 140  # a whole manager takes some ninety, one that fails many probes some more
MAX_BROKEN: Final = 6  # exchanges that break before the manager is held to be gone
MAX_SECONDS: Final = 240.0  # no probe is begun later: what was not asked by then stays unknown
CONCURRENCY: Final = 4

_PASSING = frozenset({FailureKind.BUSY, FailureKind.TIMEOUT})
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Found:
    """What one probing search came to: a page, a refusal, or (neither) nothing to learn from."""

    page: Page | None = None
    refused: bool = False
    status: int = 0


class CheckSession:
    """Sends probes to one manager. `post` is how searches go once that is known."""

    def __init__(
        self,
        client: ManagerClient,
        clock: Clock,
        manager: Gestionnaire,
        *,
        timeout: float,
        federation_id: str | None,
    ) -> None:
        self.manager = manager
        self.base = manager.base_url
        self.post = False
        self.requests = 0
        self.pages: list[Page] = []  # every searchset seen
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._end = clock.monotonic() + MAX_SECONDS
        # As the gateway names this federation to whom it passes requests on (RFC 9110, section 7.6.3).
        self._pseudonym = pseudonym(federation_id) if federation_id else None
        self._broken = 0
        self._slots = asyncio.Semaphore(min(CONCURRENCY, manager.max_connections))
        self._headers = {"Accept": "application/fhir+json"}
        if self._pseudonym:
            self._headers["Via"] = f"1.1 {self._pseudonym}"

    async def ask(
        self, method: str, target: str, query: Pairs = (), form: Pairs | None = None
    ) -> ManagerAnswer:
        """One exchange. Raises ManagerError: what the client raises, and `loop` where it leads back here."""
        request = ManagerRequest(method, target, query=query, form=form, headers=self._headers)
        self.requests += 1
        async with self._slots:
            answer = await self._client.send(self.manager, request, timeout=self._timeout)
        if answer.status == 508 or self._came_through_us(answer):
            raise failed(self.manager, FailureKind.LOOP, status=answer.status)
        return answer

    async def probe(
        self, method: str, target: str, query: Pairs = (), form: Pairs | None = None
    ) -> ManagerAnswer | None:
        """As `ask`; None where nothing can be learnt: the budget or the time is spent, or the exchange broke.

        Raises ManagerError on a loop, and once so many exchanges broke that the manager must be gone.
        """
        if self.requests >= MAX_REQUESTS or self._clock.monotonic() >= self._end:
            return None
        try:
            return await self.ask(method, target, query, form)
        except ManagerError as error:
            self._broken += 1
            if error.kind is FailureKind.LOOP or self._broken >= MAX_BROKEN:
                raise
            return None

    async def search(self, resource_type: str, pairs: Pairs, *, post: bool | None = None) -> Found:
        """A search of a type, by POST where that is known to work, or as told."""
        if self.post if post is None else post:
            answer = await self.probe("POST", f"{resource_type}/_search", form=pairs)
        else:
            answer = await self.probe("GET", resource_type, query=pairs)
        found = judged(answer, resource_type, asked=_asked(pairs))
        if found.page is not None:
            self.pages.append(found.page)
        return found

    def _came_through_us(self, answer: ManagerAnswer) -> bool:
        hops = answer.headers.get("via", "").split(",")
        return self._pseudonym is not None and any(self._pseudonym in hop.split()[1:2] for hop in hops)


def _asked(pairs: Pairs) -> int | None:
    return next((int(value) for name, value in pairs if name == "_count"), None)


def judged(answer: ManagerAnswer | None, resource_type: str, *, asked: int | None = None) -> Found:
    """A 4xx or 5xx that will not pass is a refusal; any other failure, or no Bundle, says nothing."""
    if answer is None:
        return Found()
    kind = kind_of_status(answer.status)
    if kind is not None:
        return Found(refused=kind not in _PASSING, status=answer.status)
    return Found(page=read_page(answer.body, resource_type, asked=asked), status=answer.status)


_T = TypeVar("_T")


async def together(*works: Coroutine[Any, Any, _T]) -> list[_T]:
    """Their results, in order; the first failure ends the others. Raises ManagerError as it was raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as failures:
        raise _innermost(failures) from failures
    return [task.result() for task in tasks]


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
