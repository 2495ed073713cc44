"""A FHIR repository of AuditEvents, as a secure application sends them (IHE ITI-20, FHIR Feed): one by POST, several
in a batch."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from broker.errors import ConfigurationError

_log = logging.getLogger("broker.audit")
_MAX_ANSWER = 4 * 1024 * 1024
_HEADERS = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
_TRANSIENT = frozenset(
    {401, 403, 404, 405, 408, 425, 429}
)  # of one event: the repository's state, not the event's


class Fate(Enum):
    TAKEN = "taken"
    REJECTED = "rejected"  # this event, for good
    LATER = "later"


class TooMuchError(Exception):
    """The repository does not take a batch, or none of this size."""


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """`url`: its FHIR base. `token_file` holds a bearer token and is read again at each request. PEM files for TLS."""

    url: str
    timeout: float = 10.0
    token_file: Path | None = None
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None

    def tls(self) -> ssl.SSLContext | bool:
        """Blocking (reads files). Raises `ConfigurationError`."""
        if self.cafile is None and self.certfile is None:
            return True
        try:
            context = ssl.create_default_context(cafile=None if self.cafile is None else str(self.cafile))
            if self.certfile is not None:
                context.load_cert_chain(self.certfile, self.keyfile)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError("config.file", setting="CDS_AUDIT_TLS_*", reason=reason) from error
        return context


class AuditRepository:
    """Made and closed inside a running event loop."""

    def __init__(self, options: RepositoryOptions, tls: ssl.SSLContext | bool = True) -> None:
        self._options = options
        self._url = options.url.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=2, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=options.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "cds-broker"},
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def send(self, events: Sequence[dict[str, Any]]) -> list[Fate]:
        """What became of each; all `LATER` where nothing usable came back. Raises `TooMuchError`."""
        if len(events) == 1:
            status, _ = await self._posted(self._url + "/AuditEvent", events[0])
            return [_fate(status)]
        batch = {
            "resourceType": "Bundle",
            "type": "batch",
            "entry": [
                {"resource": event, "request": {"method": "POST", "url": "AuditEvent"}} for event in events
            ],
        }
        status, answer = await self._posted(self._url, batch)
        if status in (400, 405, 413, 422, 501):
            raise TooMuchError
        if not 200 <= status < 300:
            return [Fate.LATER] * len(events)
        return _fates(answer, len(events))

    async def _posted(self, url: str, resource: dict[str, Any]) -> tuple[int, bytes]:
        """Status 0 where no answer came. The texts of foreign errors hold URLs: only their kinds are told."""
        headers = dict(_HEADERS)
        try:
            if self._options.token_file is not None:
                token = await asyncio.to_thread(self._options.token_file.read_text)
                headers["Authorization"] = f"Bearer {token.strip()}"
            async with self._session.post(
                url, data=orjson.dumps(resource), headers=headers, allow_redirects=False
            ) as response:
                return response.status, await response.content.read(_MAX_ANSWER)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            _log.debug("audit repository: %s", type(error).__name__)
            return 0, b""


def _fate(status: int) -> Fate:
    if 200 <= status < 300:
        return Fate.TAKEN
    return Fate.REJECTED if 400 <= status < 500 and status not in _TRANSIENT else Fate.LATER


def _fates(answer: bytes, count: int) -> list[Fate]:
    """Of a batch's answer, entry by entry; one that cannot be read leaves all to be sent again."""
    try:
        entries = orjson.loads(answer)["entry"]
        statuses = [int(str(one["response"]["status"])[:3]) for one in entries]
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
        return [Fate.LATER] * count
    return [_fate(status) for status in statuses] if len(statuses) == count else [Fate.LATER] * count
