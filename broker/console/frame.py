"""What every page of the console stands in: language and theme, navigation, forms that are ours, messages, safe headers.

A page is a class with `routes()`; its handlers go by `Frame.render`, and those of forms begin with `Frame.form`:

    values = await frame.form(request)           # refuses a form that this console did not give
    …
    return frame.done(request, "/console/registry", "registry.done.suspended", slug=slug)
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from broker.console.assets import Assets
from broker.console.formats import Formats
from broker.console.session_cookie import BY_SESSION
from broker.console.signing import Signer
from broker.console.texts import text
from broker.core.access.policy import POLICY, check
from broker.core.access.principal import ANONYMOUS, Method, Principal
from broker.core.outcome import Language, language_of
from broker.errors import AccessError, RequestError
from broker.gateway.fhir_request import PRINCIPAL, REQUEST_ID
from broker.ports import Clock

TEMPLATES: Final = Path(__file__).parent / "templates"
LANGUAGES: Final[tuple[Language, ...]] = ("fr", "en")
THEMES: Final = ("auto", "light", "dark")
HOME: Final = "/console"

LANGUAGE, THEME, VISIT, FLASH = "cds_language", "cds_theme", "cds_visit", "cds_told"
"""Cookies: two of choice; the visit that forms belong to; what the last form did."""

CSRF: Final = "csrf"
"""Of every form: the hidden field that proves it is ours."""

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_YEAR = 365 * 86_400
_FORM_SECONDS = 12 * 3_600
_FLASH_SECONDS = 60
_MAX_FIELDS = 200


@dataclass(frozen=True, slots=True)
class NavItem:
    """An entry of the navigation. `key`: of its text. Shown to whoever may open `path`."""

    key: str
    path: str


@dataclass(frozen=True, slots=True)
class Flash:
    """What a form did, told on the page that follows. `problem`: it did not."""

    text: str
    problem: bool = False


class _Told(msgspec.Struct, frozen=True):
    key: str
    params: dict[str, str | int | float] = {}


def environment() -> Environment:
    """Of the templates: everything is escaped, and what is not given fails."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """`navigation`: in its order. `sign_in`: whether people can."""

    clock: Clock
    signer: Signer
    navigation: Sequence[NavItem]
    sign_in: bool = False
    assets: Assets = field(default_factory=Assets.read)
    templates: Environment = field(default_factory=environment)

    def routes(self) -> Sequence[web.RouteDef]:
        return [*self.assets.routes(), web.post("/console/preferences", self._prefer)]

    def render(
        self,
        request: web.Request,
        template: str,
        /,
        *,
        status: int = 200,
        principal: Principal | None = None,
        **values: Any,
    ) -> web.Response:
        """A page. In it, beside `values`: `t`, `language`, `theme`, `csrf`, `here`, `may`, `f` (see `Formats`).
        `principal`: for whom, where that is not who asked."""
        language, principal = language_of_request(request), principal or request.get(PRINCIPAL, ANONYMOUS)
        theme = request.cookies.get(THEME, "auto")
        visit = self._visit(request)
        flash = self._flash(request, language)
        page = self.templates.get_template(template).render(
            t=partial(text, language=language),
            f=Formats(language, self.clock.now()),
            language=language,
            languages=LANGUAGES,
            theme=theme if theme in THEMES else "auto",
            themes=THEMES,
            csrf=self._token(visit, principal),
            here=request.path,
            may=lambda method, route: may(principal, method, route),
            navigation=[one for one in self.navigation if may(principal, "GET", one.path)],
            asset=self.assets.url,
            client=principal.client,
            person=_name(principal),
            session=principal is not ANONYMOUS and request.get(BY_SESSION, False),
            sign_in=self.sign_in,
            local=principal.method is Method.NONE,
            known=principal is not ANONYMOUS,
            flash=flash,
            **values,
        )
        response = web.Response(
            status=status, body=page.encode(), headers={**HEADERS, "Content-Type": "text/html; charset=utf-8"}
        )
        if request.cookies.get(VISIT) != visit:
            self.keep(request, response, VISIT, visit, seconds=None)
        if FLASH in request.cookies:
            response.del_cookie(FLASH, path=HOME)
        return response

    async def form(self, request: web.Request) -> Mapping[str, str]:
        """The fields of a form of ours, the first of each name. Raises `RequestError` for any other."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise RequestError("request.content-type")
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise RequestError("console.form")
        given = await request.post()
        if len(given) > _MAX_FIELDS:
            raise RequestError("request.too-many-parameters", limit=_MAX_FIELDS)
        fields = {name: value for name in given if isinstance(value := given[name], str)}
        visit, token = request.cookies.get(VISIT, ""), fields.pop(CSRF, "")
        caller = request[PRINCIPAL].caller
        if not visit or self.signer.open(CSRF, token, f"{caller}\n{visit}") is None:
            raise RequestError("console.form")
        return fields

    def done(
        self, request: web.Request, path: str, key: str | None = None, **params: str | int | float
    ) -> web.Response:
        """Behind a form: to `path`, where the text of `key` is told."""
        response = web.Response(status=303, headers={**HEADERS, "Location": path})
        if key is not None:
            told = msgspec.json.encode(_Told(key, params))
            sealed = self.signer.seal(FLASH, told, request[PRINCIPAL].caller, seconds=_FLASH_SECONDS)
            self.keep(request, response, FLASH, sealed, seconds=_FLASH_SECONDS)
        return response

    def keep(
        self,
        request: web.Request,
        response: web.Response,
        name: str,
        value: str,
        *,
        seconds: int | None,
        samesite: Literal["Strict", "Lax"] = "Strict",
    ) -> None:
        """A cookie that scripts do not see and other sites do not send. `seconds`: None for this visit. `Lax`: it comes
        along where another site leads here, as the issuer does with those who sign in."""
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=HOME,
            httponly=True,
            samesite=samesite,
            secure=request.scheme == "https" or request.headers.get("X-Forwarded-Proto") == "https",
        )

    async def _prefer(self, request: web.Request) -> web.Response:
        """The switch of language and theme."""
        fields = await self.form(request)
        back = fields.get("back", HOME)
        ours = back == HOME or (back.startswith(HOME + "/") and "//" not in back and "\\" not in back)
        response = self.done(request, back if ours and back.isprintable() and back.isascii() else HOME)
        for name, cookie, allowed in (("language", LANGUAGE, LANGUAGES), ("theme", THEME, THEMES)):
            if fields.get(name) in allowed:
                self.keep(request, response, cookie, fields[name], seconds=_YEAR, samesite="Lax")
        return response

    def _visit(self, request: web.Request) -> str:
        given = request.cookies.get(VISIT, "")
        return given if 16 <= len(given) <= 64 and given.isascii() else secrets.token_urlsafe(24)

    def _token(self, visit: str, principal: Principal) -> str:
        return self.signer.seal(CSRF, b"", f"{principal.caller}\n{visit}", seconds=_FORM_SECONDS)

    def _flash(self, request: web.Request, language: Language) -> Flash | None:
        sealed = request.cookies.get(FLASH)
        principal = request.get(PRINCIPAL)
        if sealed is None or principal is None:
            return None
        content = self.signer.open(FLASH, sealed, principal.caller)
        if content is None:
            return None
        told = msgspec.json.decode(content, type=_Told)
        return Flash(text(told.key, language, **told.params))


def _name(principal: Principal) -> str | None:
    """Of the person, as they are shown to themselves."""
    user = principal.user
    return None if user is None else user.name or user.identifier or user.subject


def language_of_request(request: web.Request) -> Language:
    """The one chosen, else the one that the browser asks for."""
    chosen = request.cookies.get(LANGUAGE)
    for one in LANGUAGES:
        if chosen == one:
            return one
    return language_of(request.headers.get("Accept-Language"))


def may(principal: Principal, method: str, route: str) -> bool:
    """Whether who asks may take a route of the console: what they may not do is not offered."""
    interaction = POLICY.get((method, route))
    if interaction is None:
        return False
    try:
        check(principal, interaction.need)
    except AccessError:
        return False
    return True


def request_id(request: web.Request) -> str:
    return str(request.get(REQUEST_ID, ""))
