"""What a browser holds of somebody who signs in: the name of their session, and, until they are back from the issuer, what
they began with. Counted under `/console` alone: `/fhir` and `/registry` take no cookie, so that no other site can use one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from broker.access.authenticator import Presented
from broker.access.sessions import Sessions
from broker.access.sign_in import Begun
from broker.console.navigation import is_navigation
from broker.core.access.principal import Principal
from broker.core.access.sign_in import HOME, PENDING_SECONDS

BY_SESSION: Final = web.RequestKey("by_session", bool)
"""Whether who asks signed in here; a token or a certificate is no session to leave."""

_SESSION, _PENDING = "cds_session", "cds_sign_in"
_HOST: Final = "__Host-"
_NAME = range(32, 65)  # characters
_STATE = 12  # characters that tell one sign-in from another
_MOST_PENDING = 8


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """`secure`: whether browsers come by https; then no other host can set these cookies (`__Host-`, RFC 6265bis)."""

    sessions: Sessions
    secure: bool

    async def principal(self, request: web.Request, presented: Presented) -> Principal | None:
        name = self.name(request)
        if name is None or not under_console(request.path):
            return None
        used = request.method == "POST" or is_navigation(request)
        principal = await self.sessions.principal(name, presented, used=used)
        request[BY_SESSION] = True
        return principal

    def name(self, request: web.Request) -> str | None:
        """Of the session, as far as the browser says."""
        given = request.cookies.get(self._of(_SESSION), "")
        return given if len(given) in _NAME and given.isascii() else None

    def keep(self, response: web.Response, name: str) -> None:
        """For as long as the browser is open: how long a session lasts is the store's to say."""
        self._set(response, _SESSION, name, None)

    def drop(self, response: web.Response) -> None:
        self._delete(response, self._of(_SESSION))

    def begin(self, request: web.Request, response: web.Response, begun: Begun) -> None:
        """Several pages may begin at a time, as when a browser opens again with all of its tabs."""
        under_way = [name for name in request.cookies if name.startswith(self._of(_PENDING))]
        for name in under_way if len(under_way) >= _MOST_PENDING else ():
            self._delete(response, name)
        self._set(response, _pending(begun.state), begun.sealed, PENDING_SECONDS)

    def begun(self, request: web.Request, state: str) -> str | None:
        """What was kept of the sign-in of that name."""
        return request.cookies.get(self._of(_pending(state)))

    def end(self, response: web.Response, state: str) -> None:
        self._delete(response, self._of(_pending(state)))

    def _of(self, name: str) -> str:
        return _HOST + name if self.secure else name

    def _set(self, response: web.Response, name: str, value: str, seconds: int | None) -> None:
        response.set_cookie(
            self._of(name),
            value,
            max_age=seconds,
            path=self._path,
            httponly=True,
            samesite="Lax",  # Strict would keep them from whoever comes back from the issuer
            secure=self.secure,
        )

    def _delete(self, response: web.Response, name: str) -> None:
        response.del_cookie(name, path=self._path, secure=self.secure, httponly=True, samesite="Lax")

    @property
    def _path(self) -> str:
        return "/" if self.secure else HOME


def under_console(path: str) -> bool:
    return path == HOME or path.startswith(HOME + "/")


def _pending(state: str) -> str:
    """A name that may stand in a header, whatever came back as `state`."""
    kept = "".join(one for one in state[:_STATE] if one.isascii() and (one.isalnum() or one in "-_"))
    return f"{_PENDING}_{kept}"
