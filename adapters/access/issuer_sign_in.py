"""The issuer as who signs people in: its endpoints, found by discovery, and tokens for codes (RFC 6749, sections 4.1.3
and 6; RFC 7009)."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote_plus, urlsplit

import msgspec

from adapters.access.discovery import discovered
from adapters.access.issuer_http import Answer, IssuerError, IssuerHttp, is_this_machine
from broker.access.ports import Door, Granted
from broker.core.access.described import IssuerTold
from broker.core.access.sign_in import ERRORS, Registration, told
from broker.errors import AccessError
from broker.ports import Clock

FRESH_SECONDS: Final = 300.0
"""For so long what was discovered is not asked for again."""
PAUSE_SECONDS: Final = 5.0
"""Between two looks at an issuer that gives no usable answer."""
MAX_TOKEN: Final = 16_384

_TOKEN = re.compile(r"[\x21-\x7e]+")
_LONGEST = 30 * 86_400.0
_BASIC, _POST = "client_secret_basic", "client_secret_post"

_log = logging.getLogger("broker.access")


class _Answered(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str
    refresh_token: str | None = None
    id_token: str | None = None
    expires_in: float | None = None


class _Refused(msgspec.Struct, frozen=True):
    error: str = "?"


class IssuerSignIn:
    """`secret`: of the console, read at each use; None where it is a public client, which PKCE alone binds to its codes."""

    def __init__(
        self,
        http: IssuerHttp,
        clock: Clock,
        registration: Registration,
        secret: Callable[[], str] | None = None,
    ) -> None:
        self._http = http
        self._clock = clock
        self._registration = registration
        self._secret = secret
        self._told: IssuerTold | None = None
        self._asked = float("-inf")
        self._failed = False
        self._asking = asyncio.Lock()

    async def door(self) -> Door:
        known = await self._known()
        sign_in = known.authorization_endpoint
        if sign_in is None or known.token_endpoint is None or not _for_browsers(sign_in):
            _log.warning("nobody can sign in: the issuer names no endpoint to do so")
            raise AccessError("console.login-unavailable")
        out = known.end_session_endpoint
        return Door(sign_in, out if out is not None and _for_browsers(out) else None, known.names_itself)

    async def exchange(self, code: str, verifier: str) -> Granted:
        answer = await self._ask(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._registration.redirect_uri,
                "code_verifier": verifier,
            }
        )
        if answer[0] != 200:
            raise told(_refusal(answer))
        return _granted(answer)

    async def renew(self, refresh: str) -> Granted:
        answer = await self._ask({"grant_type": "refresh_token", "refresh_token": refresh})
        if answer[0] == 200:
            return _granted(answer)
        if _refusal(answer) == "invalid_grant":
            raise AccessError("console.session-over")
        raise AccessError("console.login-unavailable")

    async def revoke(self, refresh: str) -> None:
        known = await self._known()
        if known.revocation_endpoint is not None:
            await self._post(
                known.revocation_endpoint, known, {"token": refresh, "token_type_hint": "refresh_token"}
            )

    async def _ask(self, form: Mapping[str, str]) -> Answer:
        known = await self._known()
        if known.token_endpoint is None:
            raise AccessError("console.login-unavailable")
        return await self._post(known.token_endpoint, known, form)

    async def _post(self, url: str, known: IssuerTold, form: Mapping[str, str]) -> Answer:
        try:
            more, headers = self._proof(known)
            return await self._http.ask(url, {**form, **more}, headers)
        except (IssuerError, OSError, UnicodeDecodeError) as error:
            reason = error.reason if isinstance(error, IssuerError) else type(error).__name__
            _log.warning("the issuer did not answer about a sign-in: %s", reason)
            raise AccessError("console.login-unavailable") from None

    def _proof(self, known: IssuerTold) -> tuple[dict[str, str], dict[str, str]]:
        """Who asks, as fields and headers (RFC 6749, section 2.3.1)."""
        client = self._registration.client
        if self._secret is None:
            return {"client_id": client}, {}
        secret = self._secret()
        if _POST in known.client_methods and _BASIC not in known.client_methods:
            return {"client_id": client, "client_secret": secret}, {}
        pair = f"{quote_plus(client)}:{quote_plus(secret)}"
        return {}, {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}

    async def _known(self) -> IssuerTold:
        """One question at a time; what was known serves on while the issuer is away."""
        async with self._asking:
            pause = PAUSE_SECONDS if self._failed else FRESH_SECONDS
            if self._clock.monotonic() - self._asked >= pause:
                try:
                    self._told = await discovered(self._http, self._registration.issuer)
                    self._failed = False
                except IssuerError as error:
                    _log.warning("the issuer could not be asked how people sign in: %s", error.reason)
                    self._failed = True
                self._asked = self._clock.monotonic()
            if self._told is None:
                raise AccessError("console.login-unavailable")
            return self._told


def _granted(answer: Answer) -> Granted:
    try:
        found = msgspec.json.decode(answer[1], type=_Answered, strict=False)  # some give numbers as texts
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise _unusable("unreadable answer") from None
    if found.token_type.lower() != "bearer":
        raise _unusable("another type of token")
    if not all(map(_is_token, (found.access_token, found.refresh_token or "x", found.id_token or "x"))):
        raise _unusable("a token that cannot be sent")
    seconds = found.expires_in
    if seconds is not None and not 0 < seconds <= _LONGEST:
        seconds = None if seconds > _LONGEST else 0.0
    return Granted(found.access_token, found.refresh_token or None, found.id_token or None, seconds)


def _unusable(reason: str) -> AccessError:
    _log.warning("the issuer's tokens cannot be used: %s", reason)
    return AccessError("console.login-unavailable")


def _refusal(answer: Answer) -> str:
    """Its code, where it is one of those that are told."""
    try:
        error = msgspec.json.decode(answer[1], type=_Refused).error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        error = "?"
    reason = error if error in ERRORS else "unknown"
    _log.warning("the issuer refused tokens for the console: %s", reason)
    return reason


def _is_token(text: str) -> bool:
    return len(text) <= MAX_TOKEN and _TOKEN.fullmatch(text) is not None


def _for_browsers(address: str) -> bool:
    """An encrypted address, or one of this machine; without a fragment (RFC 6749, section 3.1)."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_this_machine(parts.hostname or ""))
    return secure and bool(parts.hostname) and not parts.fragment
