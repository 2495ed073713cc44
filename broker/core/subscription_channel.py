"""The channel of a Subscription, read and judged (FHIR R4, subscription.html; Subscriptions R5 Backport 1.1). Pure.

- `message`: the topic of a manager, by the topic's own name or as `kafka:{slug}`.
- `rest-hook`: an endpoint over https; over http only on this machine. Header lines are the subscriber's own, credentials for
  instance; those that the connection or the broker itself sets cannot be given.

How much is sent says the backport's extension on `channel.payload`; without it, a payload type means the whole circle, and
none means ids only. There is one payload type: FHIR's JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from broker.core.subscription import Channel, ChannelKind, ContentLevel
from broker.core.topics import owner_of
from broker.errors import Issue

BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
CONTENT: Final = BACKPORT + "backport-payload-content"
HEARTBEAT: Final = BACKPORT + "backport-heartbeat-period"
TIMEOUT: Final = BACKPORT + "backport-timeout"
MAX_COUNT: Final = BACKPORT + "backport-max-count"
SECRET: Final = "urn:cds-broker:subscription-secret"  # noqa: S105 - the address of an extension
"""Extension of `channel` (`valueString`): with what notifications are signed. Taken, and never shown again."""

JSON: Final = ("application/fhir+json", "application/json")
HIDDEN: Final = "***"
"""What is shown in place of a header's value; sent back in an update, the value stays as it was."""

MIN_SECRET, MAX_SECRET = 32, 256
MAX_HEADERS, MAX_HEADER = 20, 2000
LIMITS: Final[Mapping[str, int]] = {HEARTBEAT: 86_400, TIMEOUT: 60, MAX_COUNT: 100}
"""The most of each that is honoured; more is lowered to it, as the backport allows."""

_MIN_HEARTBEAT: Final = 10
_HEADER: Final = re.compile(
    r"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)"
)
_SECRET: Final = re.compile(rf"[\x21-\x7e]{{{MIN_SECRET},{MAX_SECRET}}}")
_RESERVED: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-cds-signature",
    }
)
_PATH: Final = "Subscription.channel"


@dataclass(slots=True)
class ChannelReading:
    """One channel while it is being read. `issues`: what is wrong with it, all of it. `secret`: see `SECRET`.

    `hidden`: header values of the version before, by lower-case name, for lines that come back as they were shown.
    """

    topic_prefix: str
    hidden: Mapping[str, str] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    secret: str | None = None

    def read(self, channel: Mapping[str, Any]) -> Channel | None:
        """None where it cannot be used: `issues` say why. `channel` keeps the structure of R4."""
        kind = channel.get("type")
        if kind not in list(ChannelKind):
            self._add("subscription.channel-type", "type", types=" | ".join(ChannelKind))
            return None
        kind = ChannelKind(kind)
        endpoint = channel.get("endpoint") or ""
        slug = self._topic(endpoint) if kind is ChannelKind.MESSAGE else None
        if kind is ChannelKind.REST_HOOK and not is_endpoint(endpoint):
            self._add("subscription.endpoint", "endpoint")
        content = self._content(channel, kind)
        header = tuple(self._headers(channel.get("header") or (), kind))
        self._read_secret(channel, kind)
        numbers = {url: self._number(channel, url) for url in LIMITS}
        if self.issues:
            return None
        return Channel(
            kind, endpoint, content, slug, header, numbers[HEARTBEAT], numbers[TIMEOUT], numbers[MAX_COUNT]
        )

    def _topic(self, endpoint: str) -> str | None:
        slug = owner_of(endpoint, self.topic_prefix)
        if slug is None:
            self._add("subscription.topic", "endpoint", prefix=self.topic_prefix)
        return slug

    def _content(self, channel: Mapping[str, Any], kind: ChannelKind) -> ContentLevel:
        payload = channel.get("payload")
        if payload is not None and payload.partition(";")[0].strip().lower() not in JSON:
            self._add("subscription.payload", "payload", expected=JSON[0])
        stated = extension_value(channel.get("_payload"), CONTENT)
        if stated is None:
            return ContentLevel.ID_ONLY if payload is None else ContentLevel.FULL
        if stated not in list(ContentLevel):
            self._add("subscription.content", "payload.extension", expected=" | ".join(ContentLevel))
            return ContentLevel.ID_ONLY
        if kind is ChannelKind.MESSAGE and stated == ContentLevel.EMPTY:
            # A record of the log has a key, and that is the circle's id: it cannot say nothing.
            self._add("subscription.content", "payload.extension", expected="id-only | full-resource")
        return ContentLevel(stated)

    def _headers(self, lines: Sequence[Any], kind: ChannelKind) -> Iterator[tuple[str, str]]:
        if lines and kind is not ChannelKind.REST_HOOK:
            self._add("subscription.header", "header")
            return
        for index, line in enumerate(lines):
            found = _HEADER.fullmatch(line) if isinstance(line, str) and len(line) <= MAX_HEADER else None
            name = found[1] if found is not None else ""
            value = found[2] if found is not None else ""
            if value == HIDDEN:
                value = self.hidden.get(name.lower(), "")
            if not value or name.lower() in _RESERVED or index >= MAX_HEADERS:
                self._add("subscription.header", f"header[{index}]")
            else:
                yield name, value

    def _read_secret(self, channel: Mapping[str, Any], kind: ChannelKind) -> None:
        stated = extension_value(channel, SECRET)
        if stated is None:
            return
        usable = isinstance(stated, str) and _SECRET.fullmatch(stated) is not None
        if not usable or kind is not ChannelKind.REST_HOOK:
            self._add("subscription.secret", "extension", least=MIN_SECRET, most=MAX_SECRET)
        else:
            self.secret = stated

    def _number(self, channel: Mapping[str, Any], url: str) -> int | None:
        stated = extension_value(channel, url)
        if stated is None:
            return None
        if not isinstance(stated, int) or isinstance(stated, bool) or stated < 0:
            self._add("subscription.number", "extension", extension=url.rpartition("/")[2])
            return None
        if stated == 0:
            return None
        least = _MIN_HEARTBEAT if url == HEARTBEAT else 1
        return max(min(stated, LIMITS[url]), least)

    def _add(self, key: str, element: str, **params: str | int | float) -> None:
        self.issues.append(Issue(key, params, expression=(f"{_PATH}.{element}",)))


def is_endpoint(text: str) -> bool:
    """Whether a rest-hook can go there: https, or http on this machine; without user, password and fragment."""
    if len(text) > 2000 or not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port  # a port that is none raises
    except ValueError:
        return False
    if not host or "@" in parts.netloc or "#" in text or "\\" in text:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def extension_value(element: object, url: str) -> Any:
    """The value of an element's first extension of that URL, of whatever type; None where there is none."""
    extensions = element.get("extension") if isinstance(element, Mapping) else None
    for one in extensions if isinstance(extensions, list) else ():
        if isinstance(one, Mapping) and one.get("url") == url:
            return next((value for name, value in one.items() if name.startswith("value")), None)
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
