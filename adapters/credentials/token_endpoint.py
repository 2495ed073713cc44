"""One request for an access token (RFC 6749, section 4.4), to an endpoint that is not trusted more than its manager.

Bounded in size here and in time by who asks; never redirected; to permitted addresses only. Of what it answers nothing is
repeated but the error codes that the RFCs define.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote_plus

import aiohttp
import msgspec
from yarl import URL

from adapters.checked_resolver import CheckedResolver, ForbiddenAddressError
from adapters.credentials.errors import CredentialsError, TokenAddressError
from adapters.credentials.material import Material
from adapters.credentials.signing import token_id
from broker.core.hook_address import AddressRules
from broker.ports import Clock
from registry.model import Auth, TokenAuth

FIELD: Final = "auth.token_url"
MAX_BYTES: Final = 65_536

_UNKNOWN_LIFETIME = 300.0  # seconds, where the endpoint does not say (RFC 6749, 5.1: it should)
_LONGEST_LIFETIME = 86_400.0
_ASSERTION_SECONDS = 60
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]{1,16384}=*")  # RFC 6750, section 2.1
_CODES = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",  # RFC 8707
        "server_error",
        "temporarily_unavailable",
    }
)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """`seconds`: how long it is good, from when it was asked for."""

    value: str = field(repr=False)
    seconds: float


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str
    expires_in: float | str | None = None


class _Refused(msgspec.Struct, frozen=True):
    error: str = ""


class TokenEndpoints:
    """The connections to every manager's token endpoint. Made and closed inside a running event loop. `rules`: where they
    may lead; None: anywhere."""

    def __init__(self, clock: Clock, rules: AddressRules | None, user_agent: str) -> None:
        self._clock = clock
        self._rules = rules
        self._user_agent = user_agent
        self._made: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made.close()

    async def token(self, auth: Auth, material: Callable[[], Material]) -> AccessToken:
        """Raises `CredentialsError`."""
        now = material()
        form, headers = await self._asked(auth, now)
        # The boundary at which foreign errors become ours. Their texts hold URLs: only their names are kept.
        try:
            status, body = await self._exchanged(auth.token_url or "", form, headers, now.token_tls)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddressError):
                raise TokenAddressError(FIELD, "address") from None
            raise CredentialsError(FIELD, f"unreachable ({type(error.os_error).__name__})") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CredentialsError(FIELD, f"unreachable ({type(error).__name__})") from None
        if status != 200:
            raise CredentialsError(FIELD, _refusal(status, body))
        return _token(body)

    async def _asked(self, auth: Auth, material: Material) -> tuple[dict[str, str], dict[str, str]]:
        form = {"grant_type": "client_credentials"}
        optional = {"scope": auth.scope, "resource": auth.resource}
        form |= {name: value for name, value in optional.items() if value}
        client, secret = auth.client_id or "", material.client_secret or ""
        match auth.at_token_endpoint:
            case TokenAuth.BASIC:
                # RFC 6749, 2.3.1: each part is form-encoded before they are joined.
                pair = f"{quote_plus(client)}:{quote_plus(secret)}"
                return form, {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}
            case TokenAuth.POST:
                form |= {"client_id": client, "client_secret": secret}
            case TokenAuth.TLS:
                form["client_id"] = client
            case TokenAuth.PRIVATE_KEY_JWT:
                form |= {"client_id": client, "client_assertion_type": _ASSERTION_TYPE}
                form["client_assertion"] = await self._assertion(auth, material)
        return form, {}

    async def _assertion(self, auth: Auth, material: Material) -> str:
        """RFC 7523, section 3: made anew for each request, good for a minute."""
        assert material.assertion_key is not None  # noqa: S101 - read with the rest, or nothing was
        now = int(self._clock.now().timestamp())
        return await material.assertion_key.signed(
            {
                "iss": auth.client_id or "",
                "sub": auth.client_id or "",
                "aud": auth.assertion_audience or auth.token_url or "",
                "iat": now,
                "exp": now + _ASSERTION_SECONDS,
                "jti": token_id(),
            }
        )

    async def _exchanged(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str], tls: ssl.SSLContext | bool
    ) -> tuple[int, bytes]:
        address = URL(url)
        if address.host is None or (self._rules is not None and not self._rules.permits_host(address.host)):
            raise TokenAddressError(FIELD, "address")
        async with self._session().post(
            address, data=form, headers=headers, ssl=tls, allow_redirects=False
        ) as response:
            try:
                return response.status, await _body(response)
            except BaseException:
                response.close()
                raise

    def _session(self) -> aiohttp.ClientSession:
        if self._made is None:
            resolver = None if self._rules is None else CheckedResolver(self._rules)
            self._made = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, keepalive_timeout=15.0, ttl_dns_cache=60),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "User-Agent": self._user_agent,
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
                auto_decompress=False,
                trust_env=False,
            )
        return self._made


async def _body(response: aiohttp.ClientResponse) -> bytes:
    if 300 <= response.status < 400:
        raise CredentialsError(FIELD, f"redirect ({response.status})")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise CredentialsError(FIELD, "content coding")
    parts = bytearray()
    async for part in response.content.iter_any():
        parts += part
        if len(parts) > MAX_BYTES:
            raise CredentialsError(FIELD, "too large")
    return bytes(parts)


def _refusal(status: int, body: bytes) -> str:
    try:
        code = msgspec.json.decode(body, type=_Refused).error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        code = ""
    return f"{code if code in _CODES else 'refused'} ({status})"


def _token(body: bytes) -> AccessToken:
    """RFC 6749, section 5.1. Raises `CredentialsError`."""
    try:
        granted = msgspec.json.decode(body, type=_Granted)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise CredentialsError(FIELD, "no token in its answer") from None
    if granted.token_type.lower() != "bearer":
        raise CredentialsError(FIELD, "not a bearer token")
    if _TOKEN.fullmatch(granted.access_token) is None:
        raise CredentialsError(FIELD, "a token that cannot be sent")
    return AccessToken(granted.access_token, _seconds(granted.expires_in))


def _seconds(stated: float | str | None) -> float:
    if stated is None:
        return _UNKNOWN_LIFETIME
    try:
        seconds = float(stated)  # some write the number as a text
    except ValueError:
        seconds = 0.0
    if not seconds >= 1.0:
        raise CredentialsError(FIELD, "a token that has expired")
    return min(seconds, _LONGEST_LIFETIME)
