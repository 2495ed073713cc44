"""The page of one manager of the registry: its declaration is changed, unless somebody else did so meanwhile.

The form carries the revision that it was filled from. Where the registry holds another one by then, nothing is written:
the form comes back as it was sent, says at each field what stands there now, and carries the new revision, so that to
send it again is to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from broker.console.errors import said
from broker.console.frame import Frame, language_of_request
from broker.console.registry import PATH
from broker.console.registry_form import (
    EDITED,
    HINTED,
    METHODS,
    Wrong,
    differing,
    edited,
    values_of,
    wrongs,
)
from broker.console.registry_view import line
from broker.core.outcome import status_of
from broker.errors import RequestError
from broker.federation.registry_service import RegistryService
from registry.model import REGIONS, Registered
from registry.validation import InvalidDeclarationError

_EDIT: Final = PATH + "/{id}/edit"
_REVISION: Final = "revision"
_AT: Final = {"registry.same-address": "base_url"}
"""Refusals that concern a field."""


@dataclass(frozen=True, slots=True)
class RegistryEditPage:
    frame: Frame
    service: RegistryService

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get(_EDIT, self._show)
        yield web.post(_EDIT, self._change)

    async def _show(self, request: web.Request) -> web.Response:
        current = await self.service.get(request.match_info["id"])
        return self._page(request, current, values_of(current.gestionnaire))

    async def _change(self, request: web.Request) -> web.Response:
        fields = await self.frame.form(request)
        slug, revision = request.match_info["id"], fields.get(_REVISION, "")
        if not revision.isascii() or not revision.isdecimal() or len(revision) > 9:
            raise RequestError("console.form")
        current = await self.service.get(slug)
        try:
            changed = await self.service.replace(
                slug, edited(current.gestionnaire, fields), expected_revision=int(revision)
            )
        except InvalidDeclarationError as error:
            found = wrongs(error, language_of_request(request))
            # Its own revision stays: what is put right is still judged against what the form was filled from.
            return self._page(request, current, fields, found, revision=revision, status=status_of(error))
        except RequestError as error:
            if error.key == "registry.precondition":
                return await self._overtaken(request, fields, error)
            found = [Wrong(_AT.get(error.key, ""), said(request, error))]
            return self._page(request, current, fields, found, revision=revision, status=status_of(error))
        key = "registry.done.same" if changed.revision == int(revision) else "registry.done.changed"
        return self.frame.done(request, PATH, key, slug=slug, version=changed.revision)

    async def _overtaken(
        self, request: web.Request, fields: Mapping[str, str], error: RequestError
    ) -> web.Response:
        now = await self.service.get(request.match_info["id"])
        theirs = differing(now.gestionnaire, fields)
        return self._page(request, now, fields, theirs=theirs, overtaken=True, status=status_of(error))

    def _page(
        self,
        request: web.Request,
        current: Registered,
        values: Mapping[str, str],
        wrong: Sequence[Wrong] = (),
        *,
        theirs: Mapping[str, str] | None = None,
        overtaken: bool = False,
        revision: str | None = None,
        status: int = 200,
    ) -> web.Response:
        """`values`: that the form shows. `theirs`: what stands in the registry instead, by field."""
        return self.frame.render(
            request,
            "registry_edit.html",
            status=status,
            one=line(current, language_of_request(request)),
            revision=revision or str(current.revision),
            regions=REGIONS,
            methods=METHODS,
            hinted=tuple(name for name in HINTED if name in EDITED),
            values=values,
            wrong=wrong,
            theirs=theirs or {},
            overtaken=overtaken,
        )
