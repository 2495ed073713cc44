"""The page *Registry*: managers listed, added, checked, suspended, resumed, removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from broker.console.errors import said
from broker.console.frame import Frame, NavItem, language_of_request
from broker.console.registry_form import AUTHS, HINTED, METHODS, Wrong, declared, wrongs
from broker.console.registry_view import line
from broker.core.outcome import status_of
from broker.errors import ManagerError, RequestError
from broker.federation.registry_service import RegistryService
from registry.model import REGIONS, Status
from registry.validation import InvalidDeclarationError

PATH: Final = "/console/registry"
NAV: Final = NavItem("registry.title", PATH)
_AT: Final = {"registry.exists": "id", "registry.same-address": "base_url"}
"""Refusals that concern a field of the form."""


@dataclass(frozen=True, slots=True)
class RegistryPage:
    """What the service refuses is told on the page; `StoreError` is the frame's."""

    frame: Frame
    service: RegistryService

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get(PATH, self._list)
        yield web.post(PATH, self._add)
        yield web.get(PATH + "/{id}/remove", self._ask_to_remove)
        yield web.post(PATH + "/{id}/remove", self._remove)
        yield web.post(PATH + "/{id}/check", self._check)
        yield web.post(PATH + "/{id}/suspend", self._suspend)
        yield web.post(PATH + "/{id}/resume", self._resume)

    async def _list(self, request: web.Request) -> web.Response:
        return await self._page(request)

    async def _add(self, request: web.Request) -> web.Response:
        fields = await self.frame.form(request)
        try:
            registered = await self.service.create(declared(fields))
        except InvalidDeclarationError as error:
            found = wrongs(error, language_of_request(request))
            return await self._page(request, fields, found, status=status_of(error))
        except RequestError as error:
            found = [Wrong(_AT.get(error.key, ""), said(request, error))]
            return await self._page(request, fields, found, status=status_of(error))
        return self.frame.done(request, PATH, "registry.done.added", slug=registered.gestionnaire.id)

    async def _check(self, request: web.Request) -> web.Response:
        await self.frame.form(request)
        slug = request.match_info["id"]
        try:
            await self.service.check(slug)
        except ManagerError as error:
            return await self._page(request, problem=said(request, error), status=status_of(error))
        return self.frame.done(request, PATH, "registry.done.checked", slug=slug)

    async def _suspend(self, request: web.Request) -> web.Response:
        return await self._set(request, Status.SUSPENDED, "registry.done.suspended")

    async def _resume(self, request: web.Request) -> web.Response:
        return await self._set(request, Status.ACTIVE, "registry.done.resumed")

    async def _set(self, request: web.Request, status: Status, told: str) -> web.Response:
        await self.frame.form(request)
        slug = request.match_info["id"]
        await self.service.set_status(slug, status)
        return self.frame.done(request, PATH, told, slug=slug)

    async def _ask_to_remove(self, request: web.Request) -> web.Response:
        registered = await self.service.get(request.match_info["id"])
        return self.frame.render(
            request, "registry_remove.html", line=line(registered, language_of_request(request))
        )

    async def _remove(self, request: web.Request) -> web.Response:
        await self.frame.form(request)
        slug = request.match_info["id"]
        await self.service.remove(slug)
        return self.frame.done(request, PATH, "registry.done.removed", slug=slug)

    async def _page(
        self,
        request: web.Request,
        values: Mapping[str, str] | None = None,
        wrong: Sequence[Wrong] = (),
        *,
        problem: str | None = None,
        status: int = 200,
    ) -> web.Response:
        """`values`: of a form that was not taken, `wrong` says why. `problem`: of an action."""
        language = language_of_request(request)
        return self.frame.render(
            request,
            "registry.html",
            status=status,
            lines=[line(one, language) for one in await self.service.list()],
            regions=REGIONS,
            auths=AUTHS,
            methods=METHODS,
            hinted=HINTED,
            values=values or {},
            wrong=wrong,
            theirs={},
            problem=problem,
        )
