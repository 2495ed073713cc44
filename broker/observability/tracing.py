"""A `ManagerClient` whose every exchange is a span, where it is a part of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.errors import ManagerError
from broker.ports import ManagerAnswer, ManagerClient, ManagerRequest
from broker.tracing import SPAN, Kind
from registry.model import Gestionnaire

_LINK: Final = "{link}"
_WORDS: Final = frozenset({"_search", "_history", "metadata"})
_TYPES: Final = frozenset(
    {
        "CareTeam",
        "Patient",
        "Practitioner",
        "PractitionerRole",
        "RelatedPerson",
        "Organization",
    }
)


@dataclass(frozen=True, slots=True)
class TracedManagers:
    """Around another. What is asked outside of any trace, as crawls are, stays outside."""

    client: ManagerClient

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        within = SPAN.get()
        if within is None:
            return await self.client.send(manager, request, timeout=timeout)
        template = target_template(request.target)
        with within.child(f"{request.method} {template}", Kind.CLIENT) as span:
            span.note("cds.manager", manager.id)
            span.note("http.request.method", request.method)
            span.note("url.template", template)
            try:
                answer = await self.client.send(manager, request, timeout=timeout)
            except ManagerError as error:
                if error.status is not None:
                    span.note("http.response.status_code", error.status)
                raise
            span.note("http.response.status_code", answer.status)
            span.note("http.response.body.size", len(answer.body))
            if answer.status >= 400:
                span.failed(str(answer.status))
            return answer


def target_template(target: str) -> str:
    """`CareTeam/{id}`: which interaction, and nothing of whom. `{link}` for one of a manager's own links."""
    path = target.partition("?")[0]
    if "://" in path:
        return _LINK
    kind, *rest = path.split("/")
    if not path:
        return "/"
    if kind not in _TYPES:
        return kind if kind in _WORDS and not rest else "{other}"
    return "/".join((kind, *(one if one in _WORDS else "{id}" for one in rest[:3])))
