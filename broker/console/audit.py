"""`/console/audit`: who looked at what, when and why, on this node. By POST: a person's reference is in no address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import web

from broker.audit.sink import AuditReader
from broker.console.audit_view import Read, lines, read
from broker.console.frame import NavItem, language_of_request
from broker.console.gate import Gate
from broker.console.purpose import Purpose
from broker.console.shown_dates import shown_date
from broker.console.texts import TEXTS, text
from broker.core.outcome import Language

PATH: Final = "/console/audit"
NAV: Final = NavItem("audit.nav", PATH)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """`reader`: None where this node keeps no files of its trail."""

    gate: Gate
    reader: AuditReader | None
    public_base: str

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get(PATH, self._form), web.post(PATH, self._search)]

    async def _form(self, request: web.Request) -> web.Response:
        return self._page(request, self.gate.admitted(request), Read({}, None))

    async def _search(self, request: web.Request) -> web.Response:
        purpose = self.gate.admitted(request)
        given = read(await self.gate.frame.form(request))
        if given.query is None:
            return self._page(request, purpose, given, status=422)
        if self.reader is None:
            return self._page(request, purpose, given)
        page = await self.reader.page(given.query)
        return self._page(request, purpose, given, page=page, found=lines(page, self.public_base))

    def _page(
        self, request: web.Request, purpose: Purpose, given: Read, *, status: int = 200, **more: Any
    ) -> web.Response:
        values: dict[str, Any] = {"page": None, "found": (), **more}
        return self.gate.frame.render(
            request,
            "audit.html",
            status=status,
            purpose=purpose,
            given=given,
            code=partial(_code, language=language_of_request(request)),
            kept=self.reader is not None,
            day=partial(shown_date, language=language_of_request(request)),
            **values,
        )


def _code(code: str, language: Language) -> str:
    """An interaction in words; administration by its own name, `registry/gestionnaires/suspend`."""
    key = f"audit.code.{code}"
    return text(key, language) if key in TEXTS else code
