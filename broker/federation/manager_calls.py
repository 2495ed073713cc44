"""The exchanges with one manager that the use cases are made of: search, follow a link, read.

Statuses are judged here: what is no usable answer becomes a `ManagerError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urljoin

import msgspec

from broker.core.manager_failure import failed, kind_of_status
from broker.core.manager_query import Pairs, names_a_person
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.ports import ManagerAnswer, ManagerClient, ManagerRequest, OnBehalf
from registry.model import Gestionnaire, SearchMethod, Skills

_NO_POST = frozenset({404, 405, 415, 501})
"""What servers without `POST _search` answer to one."""

_JSON = re.compile(r"\s*(?:application|text)/(?:[\w.\-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
"""Content types that are read: FHIR's own, and those that servers put in its place."""


class ManagerCalls(msgspec.Struct, frozen=True):
    manager: Gestionnaire
    skills: Skills
    client: ManagerClient

    async def send(self, request: ManagerRequest, context: RequestContext) -> ManagerAnswer:
        """Any exchange, within what is left of the request's time. The status is the caller's to judge."""
        remaining = context.remaining()
        if remaining <= 0:
            raise failed(self.manager, FailureKind.TIMEOUT, sent=False)
        if self.manager.identity is not None:
            who = OnBehalf(context.principal, context.request_id)
            request = msgspec.structs.replace(request, on_behalf=who)
        if context.waits is None:
            return await self.client.send(self.manager, request, timeout=remaining)
        sent = context.clock.monotonic()
        try:
            return await self.client.send(self.manager, request, timeout=remaining)
        finally:
            context.waits.note(self.manager.id, sent, context.clock.monotonic())

    async def search(
        self,
        resource_type: str,
        pairs: Pairs,
        context: RequestContext,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """A searchset's bytes. By `POST _search` where the manager takes it, so that no INS is in a URL.

        `headers` are sent too. A manager not known to take it, or not, is tried by GET where nobody is named by the
        criteria.
        """
        sent = context.headers() if headers is None else {**context.headers(), **headers}
        if self._by_post():
            answer = await self.send(
                ManagerRequest("POST", f"{resource_type}/_search", form=pairs, headers=sent), context
            )
            if answer.status not in _NO_POST or self.skills.post_search or names_a_person(pairs):
                return self._body(answer)
        return self._body(
            await self.send(ManagerRequest("GET", resource_type, query=pairs, headers=sent), context)
        )

    def _by_post(self) -> bool:
        if self.manager.search_method is SearchMethod.AUTO:
            return self.skills.post_search is not False
        return self.manager.search_method is SearchMethod.POST

    async def follow(self, url: str, context: RequestContext) -> bytes:
        """The Bundle behind one of the manager's own page links."""
        return self._body(await self.send(ManagerRequest("GET", url, headers=context.headers()), context))

    async def get(
        self,
        target: str,
        context: RequestContext,
        *,
        query: Pairs | None = None,
        headers: Mapping[str, str] = {},
    ) -> ManagerAnswer:
        """A read of any kind. Statuses below 500 are answers, but for refusals; so is 501."""
        request = ManagerRequest("GET", target, query=query or (), headers={**context.headers(), **headers})
        answer = await self.send(request, context)
        kind = kind_of_status(answer.status)
        if kind not in (None, FailureKind.REJECTED, FailureKind.NOT_SUPPORTED):
            raise failed(self.manager, kind, status=answer.status)
        if answer.status == 200:
            self._body(answer)
        return answer

    def next_url(self, link: str | None) -> str | None:
        """A page link as the manager gave it, absolute. Relative ones stand below its base (FHIR R4, http.html)."""
        try:
            return link and urljoin(self.manager.base_url + "/", link)
        except ValueError:
            return link  # no address at all: the client refuses it, as it does one outside the base

    def _body(self, answer: ManagerAnswer) -> bytes:
        kind = kind_of_status(answer.status)
        if kind is FailureKind.NOT_SUPPORTED:
            kind = FailureKind.REJECTED  # of the whole request: that kind is about one criterion
        if kind is not None:
            raise self.failure(kind, answer.status)
        content_type = answer.headers.get("content-type")
        if content_type and _JSON.match(content_type) is None:
            raise self.failure(FailureKind.INVALID)
        return answer.body

    def failure(self, kind: FailureKind, status: int | None = None) -> ManagerError:
        return failed(self.manager, kind, status=status)
