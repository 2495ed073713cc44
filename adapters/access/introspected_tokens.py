"""Opaque tokens, about which the issuer is asked (RFC 7662).

One question at a time about one token, whoever waits for its answer. A refusal is kept for a moment, so that a client that
insists does not make the broker insist. What is good is kept by the authenticator.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote_plus

import msgspec

from adapters.access.issuer_http import IssuerError, IssuerHttp
from broker.core.access.challenge import refused
from broker.core.access.claims import Payload
from broker.errors import AccessError
from broker.ports import Clock

REFUSED_SECONDS: Final = 5.0
_KEPT = 10_000
_WAITING = 256  # questions on their way; more would only be given up after having waited

_log = logging.getLogger("broker.access")


class IntrospectedTokens:
    """`credentials`: the client id and secret that the issuer knows the broker by, read at each question."""

    def __init__(
        self, http: IssuerHttp, clock: Clock, url: str, credentials: Callable[[], tuple[str, str]]
    ) -> None:
        self._http = http
        self._clock = clock
        self._url = url
        self._credentials = credentials
        self._asking: dict[bytes, asyncio.Task[Payload | None]] = {}
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._failing = False

    async def payload(self, token: str) -> Payload:
        digest = hashlib.sha256(token.encode("ascii")).digest()
        if self._refused.get(digest, float("-inf")) > self._clock.monotonic():
            raise refused("access.inactive")
        asking = self._asking.get(digest)
        if asking is None:
            if len(self._asking) >= _WAITING:
                raise AccessError("access.introspection")
            asking = self._asking[digest] = asyncio.create_task(self._asked(token))
            asking.add_done_callback(lambda _: self._asking.pop(digest))
        await asyncio.wait([asking])
        payload = asking.result()
        if payload is None:
            raise AccessError("access.introspection")
        if payload.get("active") is not True:
            self._refused[digest] = self._clock.monotonic() + REFUSED_SECONDS
            if len(self._refused) > _KEPT:
                self._refused.popitem(last=False)
            raise refused("access.inactive")
        return payload

    async def aclose(self) -> None:
        for task in list(self._asking.values()):
            task.cancel()
            await asyncio.wait([task])

    async def _asked(self, token: str) -> Payload | None:
        """None where the issuer gave no usable answer."""
        try:
            form = {"token": token, "token_type_hint": "access_token"}
            body = await self._http.post(self._url, form, {"Authorization": _basic(*self._credentials())})
            payload: dict[str, object] = msgspec.json.decode(body, type=dict[str, Any])
        except (IssuerError, OSError, UnicodeDecodeError, msgspec.MsgspecError, RecursionError) as error:
            if not self._failing:
                reason = error.reason if isinstance(error, IssuerError) else type(error).__name__
                _log.warning("a token could not be introspected: %s", reason)
            self._failing = True
            return None
        self._failing = False
        return payload


def _basic(client: str, secret: str) -> str:
    """RFC 6749, section 2.3.1: both are form-encoded first."""
    pair = f"{quote_plus(client)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
